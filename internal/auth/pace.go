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

// Limits on guessing. Each failure beyond the free ones doubles the delay before the next attempt, starting at one second.
const (
	freePerPair    = 5  // failures of one address at one account
	freePerAddress = 20 // failures of one address at all accounts
	hotAccount     = 50 // failures at an account that indicate guessing from many addresses: each then has one free failure there
	longestWait    = 15 * time.Minute
	longestLocal   = 10 * time.Second // for the host itself, which must not be locked out
	forgetAfter    = time.Hour        // without a failure
	mostCounted    = 50_000
)

// pace rate-limits failed attempts. Its state is kept in memory: delays are short, and an attacker who can restart the program has no need to
// guess.
//
// An attempt counts as failed when it begins, and is taken back when it succeeds, so that a thousand concurrent attempts are not free. An address
// waits only for its own attempts. Failures of other addresses at an account remove the free failures there, but never block the right password.
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

// attempt is one attempt to authenticate.
type attempt struct {
	pace                   *pace
	pair, address, account string
}

// begin counts an attempt from an address at an account. If it comes too early, the error contains the delay.
func (p *pace) begin(from, account string) (*attempt, error) {
	source, local := sourceOf(from)
	account = pbx.FoldEmail(account) // as in account lookups, so that different spellings are one account
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
		return nil, tooMany(wait, "too many failed attempts")
	}
	p.makeRoomLocked(now)
	for _, key := range []string{try.pair, try.address, try.account} {
		p.counts[key] = count{p.failuresLocked(key, now) + 1, now}
	}
	return try, nil
}

// takeBack uncounts the attempt: it was not a guess.
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

// succeeded uncounts the attempt and earlier failures of the same address at the same account.
func (t *attempt) succeeded() {
	t.takeBack()
	t.pace.mu.Lock()
	defer t.pace.mu.Unlock()
	delete(t.pace.counts, t.pair)
}

// failuresLocked returns the number of failures that have not expired.
func (p *pace) failuresLocked(key string, now time.Time) int {
	if c := p.counts[key]; now.Sub(c.last) < forgetAfter {
		return c.failures
	}
	return 0
}

// waitLocked returns the delay before the next attempt; 0 for none.
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
	if c.last.After(now) { // the clock was set back: restart the delay now, otherwise it would restart until then
		c.last = now
		p.counts[key] = c
	}
	return min(longest, wait-now.Sub(c.last))
}

// makeRoomLocked bounds the table: it drops expired entries, then those that cause no delay yet.
func (p *pace) makeRoomLocked(now time.Time) {
	for _, least := range []int{1, freePerPair, math.MaxInt} {
		if len(p.counts)+3 <= mostCounted {
			return
		}
		maps.DeleteFunc(p.counts, func(key string, _ count) bool { return p.failuresLocked(key, now) < least })
	}
}

// sourceOf returns the source that an address counts as, and whether it is this host. An IPv6 /64 is one source, as a client can use any address in
// it.
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

// tooMany returns the error for an early attempt.
func tooMany(wait time.Duration, why string) error {
	wait = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return &pbx.Error{
		Kind: pbx.KindTooMany, Code: pbx.CodeTooMany, RetryAfter: wait,
		Msg: fmt.Sprintf("%s: wait %s before the next attempt; the host's administrator can help with pbxportal admin reset", why, wait),
	}
}
