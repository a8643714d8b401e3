package auth

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// How guessing is slowed down. Each failure beyond the free ones doubles the wait for the next try, from a second on.
const (
	freePerPair    = 5  // failures of one address at one account
	freePerAddress = 20 // failures of one address at all accounts
	hotAccount     = 50 // failures at an account from which on an address has one free failure there: many addresses guess together
	longestWait    = 15 * time.Minute
	longestLocal   = 10 * time.Second // for whoever sits at the machine itself, and must not be locked out of it
	forgetAfter    = time.Hour        // without a failure
	mostCounted    = 50_000
)

// pace counts failed attempts, and says how long the next one has to wait. It is kept in memory: a wait is short, and whoever could end
// it by restarting the program has no need to guess.
//
// An attempt counts as failed when it begins, and is taken back when it succeeds: so a thousand at once are not a thousand free ones.
// An address waits for what it did itself. Others who fail at an account take away the free failures there, but not the right password.
type pace struct {
	now    func() time.Time
	mu     sync.Mutex
	counts map[string]count // guarded by mu
}

type count struct {
	failures int
	last     time.Time
}

func newPace(now func() time.Time) *pace { return &pace{now: now, counts: map[string]count{}} }

// attempt is one try to prove something.
type attempt struct {
	pace                   *pace
	pair, address, account string
}

// begin counts an attempt from an address at an account. The error says how long to wait where it comes too early.
func (p *pace) begin(from, account string) (*attempt, error) {
	source, local := sourceOf(from)
	account = pbx.FoldEmail(account) // as accounts are looked up: one account is not several, spelled otherwise
	try := &attempt{p, "pair " + source + " " + account, "address " + source, "account " + account}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	free, longest := freePerPair, longestWait
	if local {
		longest = longestLocal
	} else if p.failuresLocked(try.account, now) >= hotAccount {
		free = 1
	}
	wait := max(p.waitLocked(try.pair, free, longest, now), p.waitLocked(try.address, freePerAddress, longest, now))
	if wait > 0 {
		return nil, tooMany(wait, "too many attempts failed")
	}
	p.makeRoomLocked(now)
	for _, key := range []string{try.pair, try.address, try.account} {
		p.counts[key] = count{p.failuresLocked(key, now) + 1, now}
	}
	return try, nil
}

// takeBack forgets the attempt: it was no guess.
func (t *attempt) takeBack() {
	t.pace.mu.Lock()
	defer t.pace.mu.Unlock()
	for _, key := range []string{t.pair, t.address, t.account} {
		c, counted := t.pace.counts[key]
		switch c.failures--; {
		case counted && c.failures > 0:
			t.pace.counts[key] = c
		case counted:
			delete(t.pace.counts, key)
		}
	}
}

// succeeded forgets the attempt, and what failed before it from the same address at the same account.
func (t *attempt) succeeded() {
	t.takeBack()
	t.pace.mu.Lock()
	defer t.pace.mu.Unlock()
	delete(t.pace.counts, t.pair)
}

// failuresLocked gives the failures that are not forgotten.
func (p *pace) failuresLocked(key string, now time.Time) int {
	if c := p.counts[key]; now.Sub(c.last) < forgetAfter {
		return c.failures
	}
	return 0
}

// waitLocked says how long the next attempt has to wait, 0 for not at all.
func (p *pace) waitLocked(key string, free int, longest time.Duration, now time.Time) time.Duration {
	failures := p.failuresLocked(key, now)
	if failures < free {
		return 0
	}
	wait := longest
	if over := failures - free; over < 20 {
		wait = min(longest, time.Second<<over)
	}
	c := p.counts[key]
	if c.last.After(now) { // the clock was put back: the wait begins now, else it would begin anew until then
		c.last = now
		p.counts[key] = c
	}
	return min(longest, wait-now.Sub(c.last))
}

// makeRoomLocked keeps the table from growing without end: it drops what is forgotten and then what slows nobody down yet.
func (p *pace) makeRoomLocked(now time.Time) {
	for _, least := range []int{1, freePerPair, math.MaxInt} {
		if len(p.counts)+3 <= mostCounted {
			return
		}
		maps.DeleteFunc(p.counts, func(key string, _ count) bool { return p.failuresLocked(key, now) < least })
	}
}

// sourceOf gives the source that an address counts as, and whether it is this machine. A network of IPv6 is one source: everybody has
// as many addresses in it as he wants.
func sourceOf(from string) (source string, local bool) {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		return from, false
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		if network, err := addr.Prefix(64); err == nil {
			return network.String(), false
		}
	}
	return addr.String(), addr.IsLoopback()
}

// tooMany is the answer to what comes too early.
func tooMany(wait time.Duration, why string) error {
	wait = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return &pbx.Error{
		Kind: pbx.KindTooMany, Code: pbx.CodeTooMany, RetryAfter: wait,
		Msg: fmt.Sprintf("%s: wait %s before the next one, which then counts; whoever runs the machine can help with pbxportal admin reset", why, wait),
	}
}
