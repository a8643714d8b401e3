package httpapi

import (
	"cmp"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bounds the load by one address and in total. Zero fields have defaults.
type Limits struct {
	InFlight     int  // concurrent requests of each kind, and streams
	InFlightEach int  // … from one address other than this host
	Requests     Pace // of an address, except those of this host
	SignIns      Pace // sign-in attempts of an address, with a password or a code
}

// Pace is a rate limit: a burst, then a number per second.
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

// mostAddresses is the number of addresses remembered for a limit. An attacker with more addresses gains only their separate allowances.
const mostAddresses = 8192

// buckets is a rate limiter by address. It remembers the most recent addresses in two generations: when the young one is full it becomes the old
// one, and the previous old one is dropped. This bounds memory without a clean-up task.
type buckets struct {
	pace Pace
	now  func() time.Time

	mu         sync.Mutex // guards the fields below
	young, old map[netip.Addr]*rate.Limiter
}

func newBuckets(pace Pace, now func() time.Time) *buckets {
	return &buckets{pace: pace, now: now, young: map[netip.Addr]*rate.Limiter{}}
}

// take takes one from the allowance of an address, or returns how long to wait for one.
func (b *buckets) take(from netip.Addr) (wait time.Duration) {
	now := b.now()
	taken := b.of(network(from)).ReserveN(now, 1)
	if wait = taken.DelayFrom(now); wait > 0 {
		taken.CancelAt(now)
	}
	return wait
}

// of returns the allowance of an address.
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

// network returns what counts as one address: a /64 in IPv6, as a client can use all of it.
func network(addr netip.Addr) netip.Addr {
	if !addr.Is6() || addr.IsLoopback() {
		return addr
	}
	p, _ := addr.Prefix(64) // valid for every IPv6 address
	return p.Addr()
}

// kind is the purpose of a slot. Kinds have separate slots, so that none starves another: password guessing can keep both cores busy without
// affecting signed-in users or health checks.
type kind int

const (
	forPages    kind = iota // public and quick
	forHealth               // health checks
	forDoors                // sign-in attempts
	forProvider             // sign-in attempts that wait for the OpenID provider
	forGate                 // authentication of the caller
	forCallers              // requests of admitted callers
	forStreams              // streams, which keep their slot
	kinds
)

// flying counts requests in progress. None of them waits for its client: a slot is taken when the request has arrived completely, and released
// before the response is sent.
type flying struct {
	most, each int

	mu    sync.Mutex // guards the fields below
	total int
	of    map[netip.Addr]int // of addresses other than this host
}

func newFlying(most, each int) *flying {
	return &flying{most: most, each: each, of: map[netip.Addr]int{}}
}

// enter reports whether another request may proceed; if so, the caller calls leave later.
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

// used returns the number of requests in progress.
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
