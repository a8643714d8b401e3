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

// Refused requests are counted, so that neither anonymous nor signed-in callers can fill the audit trail: for each account and network there is at
// most one event a minute with the number of refusals, beside the first one, which is recorded at once. The number of separate entries is bounded:
// beyond it, one event a minute covers the rest of an action.
const (
	recordEvery    = time.Minute
	mostApart      = 32 // over all networks and callers
	mostPerNetwork = 4  // per network or caller; the fifth account and all further ones are counted together
)

// tally counts refusals since they were last recorded.
type tally struct {
	mu      sync.Mutex
	entries map[entryKey]*entry // guarded by mu
	apart   map[string]int      // guarded by mu: the number of entries of a network or caller
}

// entryKey identifies an entry. The rest of a network has an entry of its own, and so, without a network, has the rest of an action.
type entryKey struct {
	action, network, what string
	rest                  bool
}

// entry is the count of one kind of refusal.
type entry struct {
	event       pbx.AuditEvent // the newest, to be recorded with its count
	times       int            // since the last event that was recorded
	first, last time.Time
}

func newTally() *tally { return &tally{entries: map[entryKey]*entry{}, apart: map[string]int{}} }

// count counts one refusal of a network or caller. first reports whether the event is the first of its kind, to be recorded at once.
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

// take returns the entries to record, and drops those without refusals since they were last taken.
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

// restore adds entries back that could not be recorded.
func (t *tally) restore(due map[entryKey]entry) {
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

// RecordRefused records the refusals since the last call: one event for each kind. Those that cannot be written are kept for the next call.
func (a *Auth) RecordRefused(ctx context.Context) error {
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
		a.refused.restore(due)
	}
	return err
}

// counted adds a count to facts.
func counted(facts pbx.Facts, times int) pbx.Facts {
	all := pbx.Facts{"times": strconv.Itoa(times)}
	maps.Copy(all, facts)
	return all
}

// Run calls RecordRefused once a minute until ctx ends, and reports errors. The caller records the remainder.
func (a *Auth) Run(ctx context.Context, report func(error)) {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.RecordRefused(ctx); err != nil {
				report(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// refusal records a refusal: at once if it is the first of its kind, with the others of its minute otherwise. The kind is the action, the network
// or the signed-in caller, and what.
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
	single := e
	single.After = counted(facts, 1)
	err := a.store.AppendEvent(ctx, single)
	if err != nil {
		a.refused.restore(map[entryKey]entry{key: {e, 1, e.At, e.At}})
	}
	return err
}

// networkOf returns the network of an address: /24 of IPv4, /64 of IPv6.
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

// Refused records that the caller of ctx lacked the permission for an operation. Route is the operation as in the contract.
func (a *Auth) Refused(ctx context.Context, route string, lacks pbx.Permission) error {
	return a.refusal(ctx, ActionRequestRefused, route, pbx.AuditObject{Type: "operation", ID: route, Name: route}, pbx.Facts{"permission": string(lacks)})
}

// linkRefused records an invalid one-time code, and returns noGood.
func (a *Auth) linkRefused(ctx context.Context, noGood *pbx.Error) error {
	if err := a.refusal(ctx, ActionLinkRefused, noGood.Code, pbx.AuditObject{Type: "link", Name: noGood.Code}, nil); err != nil {
		return err
	}
	return noGood
}
