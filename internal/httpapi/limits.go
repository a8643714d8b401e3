package httpapi

import (
	"cmp"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits say how much one address, and all together, may ask for. What is zero has its default.
type Limits struct {
	InFlight     int  // requests worked on at the same time, of each kind, and streams
	InFlightEach int  // … from one address that is not this machine
	Requests     Pace // of an address, without those from this machine
	SignIns      Pace // tries of an address to sign in, with a password or a code
}

// Pace is how often something may happen: at first Burst times in a row, then PerSecond.
type Pace struct {
	PerSecond float64
	Burst     int
}

func (l Limits) orDefault() Limits {
	l.InFlight = cmp.Or(l.InFlight, 512)
	l.InFlightEach = cmp.Or(l.InFlightEach, l.InFlight/4)
	l.Requests = cmp.Or(l.Requests, Pace{PerSecond: 100, Burst: 1000})
	l.SignIns = cmp.Or(l.SignIns, Pace{PerSecond: 1. / 3, Burst: 20})
	return l
}

// mostAddresses is how many addresses the portal remembers at once for a limit. An attacker who has more than these gains what he has
// anyway, an allowance for each.
const mostAddresses = 8192

// buckets give every address its own allowance. They remember the addresses seen last, in two generations: when the young one is full it
// becomes the old one, and the one before is forgotten. So memory has a bound, and nobody has to tidy up.
type buckets struct {
	pace Pace
	now  func() time.Time

	mu         sync.Mutex // guards what follows
	young, old map[netip.Addr]*rate.Limiter
}

func newBuckets(pace Pace, now func() time.Time) *buckets {
	return &buckets{pace: pace, now: now, young: map[netip.Addr]*rate.Limiter{}}
}

// take takes one from the allowance of an address, or says how long it has to wait for one.
func (b *buckets) take(from netip.Addr) (wait time.Duration) {
	now := b.now()
	taken := b.of(network(from)).ReserveN(now, 1)
	if wait = taken.DelayFrom(now); wait > 0 {
		taken.CancelAt(now)
	}
	return wait
}

// of gives the allowance of an address.
func (b *buckets) of(from netip.Addr) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.young[from]
	if l != nil {
		return l
	}
	if l = b.old[from]; l == nil {
		l = rate.NewLimiter(rate.Limit(b.pace.PerSecond), b.pace.Burst)
	}
	if len(b.young) >= mostAddresses/2 {
		b.young, b.old = map[netip.Addr]*rate.Limiter{}, b.young
	}
	b.young[from] = l
	return l
}

// network gives what counts as one address: in IPv6 everybody has 2⁶⁴ of them.
func network(addr netip.Addr) netip.Addr {
	if !addr.Is6() || addr.IsLoopback() {
		return addr
	}
	p, _ := addr.Prefix(64) // every address of this kind has one
	return p.Addr()
}

// kind is what a place is for. Each has places of its own, so that none waits for another: guessing passwords keeps both cores busy, and
// neither those who are signed in nor health notice.
type kind int

const (
	forPages   kind = iota // what is open to anyone and quick
	forHealth              // how the portal is
	forDoors               // tries to sign in
	forGate                // finding out who is calling
	forCallers             // what admitted callers ask for
	forStreams             // answers that go on, which keep their place while they do
	kinds
)

// flying counts the requests that are being worked on. None of them waits for its client: a place is taken when all that is needed has
// arrived, and given back before the answer is sent.
type flying struct {
	most, each int

	mu    sync.Mutex // guards what follows
	total int
	of    map[netip.Addr]int // those of addresses that are not this machine
}

func newFlying(most, each int) *flying {
	return &flying{most: most, each: each, of: map[netip.Addr]int{}}
}

// enter reports whether one more request may be answered; leave must follow if so.
func (f *flying) enter(from netip.Addr) bool {
	from = network(from)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= f.most || !from.IsLoopback() && f.of[from] >= f.each {
		return false
	}
	f.total++
	if !from.IsLoopback() {
		f.of[from]++
	}
	return true
}

// used returns how many requests are worked on.
func (f *flying) used() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

func (f *flying) leave(from netip.Addr) {
	from = network(from)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if from.IsLoopback() {
		return
	}
	if f.of[from]--; f.of[from] <= 0 {
		delete(f.of, from)
	}
}
