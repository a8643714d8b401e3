package apply

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// Switches returns the switches of a user, which Asterisk holds. KindConflict with CodeNotDeployed if Asterisk does not run the user as the database has it,
// or no dialplan that looks at switches; KindUnavailable if Asterisk does not answer.
func (e *Engine) Switches(ctx context.Context, u pbx.User) (pbx.Switches, error) {
	number := strconv.Itoa(int(u.Extension.Number))
	auth, object := "auth/"+number, number+"@sc-user"
	live, err := e.target.Live(ctx, pbx.LiveQuery{Contents: []string{auth}, Extens: []string{object}})
	if err != nil {
		return pbx.Switches{}, switchesAway(err)
	}
	switch {
	case u.Disabled:
		return pbx.Switches{}, notDeployed(u, "is disabled", "enable the user, and apply")
	case live.Hashes[auth] != e.options.AuthHash(u):
		return pbx.Switches{}, notDeployed(u, "is not in Asterisk as in the portal yet", "apply")
	case len(live.Steps) == 0:
		return pbx.Switches{}, notDeployed(u, "is called by a dialplan that looks at no switches", "set FEATURE_CODES=on, restart the portal, and apply")
	}
	all, err := e.target.Switches(ctx)
	if err != nil {
		return pbx.Switches{}, switchesAway(err)
	}
	return all[u.Extension.Number], nil
}

func notDeployed(u pbx.User, why, fix string) error {
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeNotDeployed,
		Msg: fmt.Sprintf("%s (%d) %s, and has no switches: %s", u.Name, u.Extension.Number, why, fix),
	}
}

func switchesAway(err error) error {
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeAsteriskAway,
		Msg: "Asterisk does not answer, and it alone has the switches of users: check with pbxportal doctor whether it runs, and try again", Err: err,
	}
}

// ChangeSwitches changes the switches of a user at once, and records that before. It returns them as they are then, and as they were. Errors are those of
// Switches, and of KindInvalid for a forward.
func (e *Engine) ChangeSwitches(ctx context.Context, u pbx.User, change func(*pbx.Switches) error) (to, from pbx.Switches, err error) {
	if from, err = e.Switches(ctx, u); err != nil {
		return to, from, err
	}
	to = from
	if err = change(&to); err == nil {
		err = to.Check(u.Extension.Number)
	}
	if err != nil || to == from {
		return to, from, err
	}
	event := e.switchEvent(ctx, u, from, to)
	if err = e.store.AppendEvent(ctx, event); err != nil {
		return to, from, err
	}
	if err = e.target.SetSwitches(ctx, u.Extension.Number, from, to); err != nil {
		event.Result = pbx.AuditFailed
		_ = e.store.AppendEvent(ctx, event) // the caller gets the error in any case
		return to, from, switchesAway(err)
	}
	return to, from, nil
}

// Switched records that a phone of a user changed a switch with a feature code.
func (e *Engine) Switched(ctx context.Context, u pbx.User, from, to pbx.Switches) error {
	ctx = pbx.WithActor(ctx, pbx.Actor{Kind: pbx.ActorExtension, Name: strconv.Itoa(int(u.Extension.Number))})
	return e.store.AppendEvent(ctx, e.switchEvent(ctx, u, from, to))
}

// switchEvent returns the event of a change of switches.
func (e *Engine) switchEvent(ctx context.Context, u pbx.User, from, to pbx.Switches) pbx.AuditEvent {
	event := pbx.NewAuditEvent(ctx, e.now(), pbx.ActionUserSwitch, pbx.AuditObject{Type: "user", ID: string(u.ID), Name: u.Name})
	event.Before, event.After = pbx.Differing(from.Facts(), to.Facts())
	return event
}

// switchesOf returns the switches that the users of a model have once Asterisk runs files with this inventory, by id; none if Asterisk does not answer, or calls
// look at none.
func (e *Engine) switchesOf(ctx context.Context, m pbx.Model, inventory render.Inventory) map[pbx.UserID]pbx.Switches {
	if !inventory.LooksAtSwitches() {
		return nil
	}
	all, err := e.target.Switches(ctx)
	if err != nil || len(all) == 0 {
		return nil
	}
	site, err := e.target.Inspect()
	if err != nil {
		return nil
	}
	if seen, _ := e.parse(site.Seen); seen.LooksAtSwitches() {
		came := e.cameLater(ctx, func() time.Time { return e.seenAt(ctx, site) })
		then := pbx.SwitchesAfter(all, render.SwitchEffects(seen, inventory, m.Users, came))
		all = maps.Clone(all)
		maps.Copy(all, then)
	}
	byID := map[pbx.UserID]pbx.Switches{}
	for _, u := range m.Users {
		if s := all[u.Extension.Number]; s != (pbx.Switches{}) {
			byID[u.ID] = s
		}
	}
	return byID
}

// seenAt returns when the revision that Asterisk was last seen to run was deployed.
func (e *Engine) seenAt(ctx context.Context, site pbx.HostState) time.Time {
	runs, _ := e.store.Revisions(ctx, site.LastVerified+1, 1)
	if len(runs) == 0 || runs[0].Revision != site.LastVerified {
		return time.Time{} // it is not known: every user counts as created later, and inherits no switch
	}
	return runs[0].Log.TriggeredAt
}

// cameLater returns a function that reports whether a user got the number after the revision that Asterisk was last seen to run was deployed, whether created
// since or with another number before.
func (e *Engine) cameLater(ctx context.Context, seenAt func() time.Time) func(pbx.User) bool {
	seenAt = sync.OnceValue(seenAt)
	released := sync.OnceValues(func() (store.Taken, error) { return e.store.ReleasedSince(ctx, seenAt()) })
	return func(u pbx.User) bool {
		if u.CreatedAt.After(seenAt()) {
			return true
		}
		numbers, err := released()
		return err != nil || numbers.Has(u.Extension.Number) // if it is not known, as in seenAt
	}
}

// prepareSwitches records in Asterisk how switches move once it was seen to run a revision. It reports whether anything is to be moved or cleared. What an
// earlier apply has left must be settled before.
func (e *Engine) prepareSwitches(ctx context.Context, a *attempt, revision int, effects []pbx.Effect) bool {
	if len(effects) == 0 {
		return false
	}
	if err := e.target.PrepareSwitches(ctx, revision, effects); err != nil {
		a.switchesStay(err)
		return false
	}
	return true
}

// settleSwitches carries out what was prepared, also by an apply that was interrupted.
func (e *Engine) settleSwitches(ctx context.Context, a *attempt) {
	e.beginSettling(ctx, a)()
}

// beginSettling is settleSwitches in the background; settled waits for it and notes the result.
func (e *Engine) beginSettling(ctx context.Context, a *attempt) (settled func()) {
	var changed []pbx.Number
	wait := a.async(func() (err error) {
		changed, err = e.target.SettleSwitches(ctx)
		return err
	})
	return func() {
		if err := wait(); err != nil {
			a.switchesStay(err)
		} else if len(changed) > 0 {
			a.note(pbx.Event{Stage: "switches", Code: pbx.EventSwitches, Detail: fmt.Sprint(changed)}, fmt.Sprintf("moved or cleared the switches of %v", changed))
		}
	}
}

// switchesStay notes that switches could not be moved.
func (a *attempt) switchesStay(err error) {
	a.note(pbx.Event{Stage: "switches", Code: pbx.EventNoSwitches, Detail: err.Error()},
		"the switches of users with another number, or of deleted ones, could not be moved or cleared; the next apply tries again: "+err.Error())
}
