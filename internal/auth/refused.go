package auth

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// What was refused leaves at most one event a minute for each thing to tell: who has a token, or nothing at all, must not be able to fill the
// audit trail. The event says how many there were since the one before.
const refusalsEvery = time.Minute

// mostRefusals is how many things to tell are remembered at once.
const mostRefusals = 4096

// refusals counts what was refused.
type refusals struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[string]refusal // guarded by mu
}

type refusal struct {
	untold int
	told   time.Time
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, seen: map[string]refusal{}}
}

// count counts one more. It gives how many are to be told of now, 0 for none yet.
func (r *refusals) count(what string) (tell int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, at := r.now(), r.seen[what]
	if at.untold++; at.told.IsZero() || now.Sub(at.told) >= refusalsEvery {
		tell, at = at.untold, refusal{told: now}
	}
	if _, known := r.seen[what]; !known && len(r.seen) >= mostRefusals {
		maps.DeleteFunc(r.seen, func(_ string, old refusal) bool { return now.Sub(old.told) >= refusalsEvery })
		if len(r.seen) >= mostRefusals {
			return 0 // so many in a minute: the metric counts them
		}
	}
	r.seen[what] = at
	return tell
}

// Refused notes that the caller of ctx asked for what he may not. Route is the operation, as the contract has it.
func (a *Auth) Refused(ctx context.Context, route string, lacks pbx.Permission) error {
	actor := pbx.ActorOf(ctx)
	n := a.refusals.count(string(actor.Kind) + " " + actor.ID + " " + route)
	if n == 0 {
		return nil
	}
	return a.deny(ctx, ActionRequestRefused, pbx.AuditObject{Type: "operation", ID: route, Name: route}, pbx.Facts{"permission": string(lacks), "times": strconv.Itoa(n)})
}

// linkRefused notes that a one-time code was no good, and gives noGood.
func (a *Auth) linkRefused(ctx context.Context, noGood *pbx.Error) error {
	n := a.refusals.count(noGood.Code)
	if n == 0 {
		return noGood
	}
	if err := a.deny(ctx, ActionLinkRefused, pbx.AuditObject{Type: "link", Name: noGood.Code}, pbx.Facts{"times": strconv.Itoa(n)}); err != nil {
		return err
	}
	return noGood
}
