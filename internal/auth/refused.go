package auth

import (
	"context"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// What is refused is counted, so that neither a stranger nor a caller who is signed in can fill the audit trail: for each account and network
// and minute there is one event with the number of times, beside the first refusal, which is told at once. What is told apart has a bound:
// beyond it one event a minute tells of all others of an action together.
const (
	tellEvery      = time.Minute
	mostApart      = 32 // of all networks and callers
	mostPerNetwork = 4  // of one network or caller; the fifth account and all further ones are counted together
)

// tally counts what was refused since it was last told.
type tally struct {
	mu      sync.Mutex
	entries map[entryKey]*entry // guarded by mu
	apart   map[string]int      // guarded by mu: how many entries a network or caller has
}

// entryKey is what is told apart. The rest of a network is in an entry of its own, and so is, without a network, the rest of an action.
type entryKey struct {
	action, network, what string
	rest                  bool
}

// entry is what was counted of a kind.
type entry struct {
	event       pbx.AuditEvent // the newest, to be told with its number
	times       int            // since the last event that told of it
	first, last time.Time
}

func newTally() *tally { return &tally{entries: map[entryKey]*entry{}, apart: map[string]int{}} }

// count counts one refusal from a network or a caller. It reports whether the event is to be told at once, as the first of its kind.
func (t *tally) count(network, what string, e pbx.AuditEvent) (key entryKey, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key = entryKey{e.Action, network, what, false}
	if n := t.entries[key]; n != nil {
		n.add(e, 1, e.At, e.At)
		return key, false
	}
	rest, room := entryKey{e.Action, network, "", true}, len(t.entries) < mostApart
	if room && t.apart[network] < mostPerNetwork {
		t.apart[network]++
		t.entries[key] = &entry{}
		return key, true
	}
	if e.Object = (pbx.AuditObject{Type: e.Object.Type, Name: "several"}); !room && t.entries[rest] == nil {
		rest.network = ""
		e.Actor = pbx.Actor{Kind: e.Actor.Kind, Name: "several"}
	}
	if t.entries[rest] == nil {
		t.entries[rest] = &entry{}
	}
	t.entries[rest].add(e, 1, e.At, e.At)
	return rest, false
}

func (n *entry) add(e pbx.AuditEvent, times int, first, last time.Time) {
	if n.times == 0 {
		n.first = first
	}
	n.event, n.last = e, last
	n.times += times
}

// take gives what is to be told, and forgets of what nothing came since it was last taken.
func (t *tally) take() map[entryKey]entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	due := map[entryKey]entry{}
	t.apart = map[string]int{}
	for key, n := range t.entries {
		if n.times == 0 {
			delete(t.entries, key)
			continue
		}
		due[key] = *n
		if n.times = 0; !key.rest {
			t.apart[key.network]++
		}
	}
	return due
}

// giveBack takes in again what could not be told.
func (t *tally) giveBack(due map[entryKey]entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, n := range due {
		if t.entries[key] == nil {
			t.entries[key] = &entry{}
		}
		t.entries[key].add(n.event, n.times, n.first, n.last)
		t.entries[key].first = n.first
	}
}

// TellRefused writes down what was refused since the last time: one event for each kind. What cannot be written is kept for the next time.
func (a *Auth) TellRefused(ctx context.Context) error {
	due := a.refused.take()
	if len(due) == 0 {
		return nil
	}
	err := a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, n := range due {
			e := n.event
			e.At = a.time()
			e.After = counted(e.After, n.times)
			e.After["first"], e.After["last"] = n.first.UTC().Format(time.RFC3339), n.last.UTC().Format(time.RFC3339)
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.refused.giveBack(due)
	}
	return err
}

// counted gives facts with how often it happened.
func counted(facts pbx.Facts, times int) pbx.Facts {
	all := pbx.Facts{"times": strconv.Itoa(times)}
	maps.Copy(all, facts)
	return all
}

// Run tells once a minute what was refused, until ctx ends, and reports what went wrong. What is left then the caller has told.
func (a *Auth) Run(ctx context.Context, report func(error)) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.TellRefused(ctx); err != nil {
				report(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// refusal notes that something was refused: at once where it is the first of its kind, with the others of its minute otherwise. The kind is
// the action, the network or the signed-in caller, and what tells further apart.
func (a *Auth) refusal(ctx context.Context, action, what string, object pbx.AuditObject, facts pbx.Facts) error {
	e := pbx.NewAuditEvent(ctx, a.now(), action, object)
	e.Result, e.After = pbx.AuditDenied, facts
	network := networkOf(e.Actor.From)
	if e.Actor.ID != "" {
		network = string(e.Actor.Kind) + " " + e.Actor.ID
	}
	key, first := a.refused.count(network, what, e)
	if !first {
		return nil
	}
	told := e
	told.After = counted(facts, 1)
	err := a.store.AppendEvent(ctx, told)
	if err != nil {
		a.refused.giveBack(map[entryKey]entry{key: {e, 1, e.At, e.At}})
	}
	return err
}

// networkOf gives the network an address counts to: /24 of IPv4, /64 of IPv6.
func networkOf(from string) string {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		return from
	}
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 24
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return from
	}
	return network.String()
}

// Refused notes that the caller of ctx asked for something it has no permission for. Route is the operation, as the contract has it.
func (a *Auth) Refused(ctx context.Context, route string, lacks pbx.Permission) error {
	return a.refusal(ctx, ActionRequestRefused, route, pbx.AuditObject{Type: "operation", ID: route, Name: route}, pbx.Facts{"permission": string(lacks)})
}

// linkRefused notes that a one-time code was no good, and gives noGood.
func (a *Auth) linkRefused(ctx context.Context, noGood *pbx.Error) error {
	if err := a.refusal(ctx, ActionLinkRefused, noGood.Code, pbx.AuditObject{Type: "link", Name: noGood.Code}, nil); err != nil {
		return err
	}
	return noGood
}
