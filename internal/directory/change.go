package directory

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Change changes the name, the e-mail address, the extension number and the call settings of a user, and whether the user is disabled, in one transaction: patch gets the user
// as stored, and may be called again. ifMatch is the version that the caller read; 0 matches any. A change that leaves everything as it is does nothing.
// A number is released as that of a deleted user is, and one that waits for its cool-down can be given explicitly.
// Errors: KindNotFound if the tenant has no user with that id; KindInvalid for the input, and for calls that would go on to what does not exist or in a circle;
// KindConflict if the user was changed meanwhile, or the address or
// the number is taken.
func (d *Directory) Change(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, ifMatch int64, patch func(*pbx.User) error) (pbx.User, error) {
	if d.look != nil {
		d.look(ctx)
	}
	return d.change(ctx, tenant, id, ifMatch, pbx.ActionUserChange, func(ctx context.Context, tx *store.Tx, was pbx.User) (pbx.User, error) {
		patched := was
		if err := patch(&patched); err != nil {
			return was, err
		}
		now := was
		now.Name, now.Email, now.Disabled, now.Calls, now.Extension.Number = patched.Name, patched.Email, patched.Disabled, patched.Calls, patched.Extension.Number
		now, err := now.CleanChange(was)
		if err == nil && now.Email != was.Email && now.Email != "" {
			err = addressFree(ctx, tx, now)
		}
		if err == nil && now.Extension.Number != was.Extension.Number {
			err = numberFree(ctx, tx, tenant, now.Extension.Number)
		}
		if err == nil && (now.Calls != was.Calls || now.Extension.Number != was.Extension.Number) {
			err = goOn(ctx, tx, now, was)
		}
		return now, err
	})
}

// NewSecret gives a user a new SIP secret: the phone must be set up with it before the next apply. ifMatch is the version that the caller read; 0 matches
// any. Errors: KindNotFound if the tenant has no user with that id; KindConflict if the user was changed meanwhile.
func (d *Directory) NewSecret(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, ifMatch int64) (pbx.User, error) {
	return d.change(ctx, tenant, id, ifMatch, pbx.ActionUserSecret, func(_ context.Context, _ *store.Tx, u pbx.User) (pbx.User, error) {
		u.Extension.Secret = pbx.NewSecret()
		return u, nil
	})
}

// change stores what the function makes of a user, with the event of an action that has only the facts that differ.
func (d *Directory) change(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, ifMatch int64, action string,
	make func(ctx context.Context, tx *store.Tx, was pbx.User) (pbx.User, error),
) (changed pbx.User, err error) {
	err = d.withUser(ctx, tenant, id, action, func(ctx context.Context, tx *store.Tx, was pbx.User, at time.Time, _ pbx.AuditEvent, _ pbx.Facts) error {
		if ifMatch != 0 && ifMatch != was.Version {
			return pbx.ChangedMeanwhile(pbx.KindUser)
		}
		now, err := make(ctx, tx, was)
		if err != nil {
			return err
		}
		if changed = was; now.Same(was) {
			return nil
		}
		event, err := d.changeEvent(ctx, at, action, was, now)
		if err != nil {
			return err
		}
		changed, err = tx.UpdateUser(ctx, was, now, at, event)
		return err
	})
	return changed, err
}

// changeEvent returns the event of an action that changes a user, with the facts that differ.
func (d *Directory) changeEvent(ctx context.Context, at time.Time, action string, was, now pbx.User) (pbx.AuditEvent, error) {
	event, before, err := d.event(ctx, at, action, was)
	if err != nil {
		return event, err
	}
	_, after, err := d.event(ctx, at, action, now)
	if err != nil {
		return event, err
	}
	before["enabled"], after["enabled"] = strconv.FormatBool(!was.Disabled), strconv.FormatBool(!now.Disabled)
	pbx.CallFacts(was.Calls, now.Calls, before, after)
	event.Before, event.After = pbx.Differing(before, after)
	return event, nil
}

// goOn returns the error if calls to a user would go on to something that does not exist, in a circle, or to more than they can come to.
func goOn(ctx context.Context, tx *store.Tx, u, was pbx.User) error {
	err := pbx.CheckReferences(u.Calls.References(), was.Calls.References(), func(to pbx.Ref) (bool, error) { return tx.Exists(ctx, u.TenantID, to) })
	if err != nil {
		return err
	}
	return noCircle(ctx, tx, u.TenantID, u)
}

// noCircle returns the error if calls to some users, as given, would go on in a circle, or to more than they can come to.
func noCircle(ctx context.Context, tx *store.Tx, tenant pbx.TenantID, users ...pbx.User) error {
	settings, err := tx.Settings(ctx, tenant)
	if err != nil {
		return err
	}
	levels := settings.Levels()
	users = slices.DeleteFunc(slices.Clone(users), func(u pbx.User) bool { return len(levels.GoesOn(u)) == 0 })
	if len(users) == 0 {
		return nil
	}
	m, err := tx.CallModel(ctx, tenant, settings)
	if err != nil {
		return err
	}
	given := make(map[pbx.UserID]bool, len(users))
	for _, u := range users {
		given[u.ID] = true
	}
	m.Users = append(slices.DeleteFunc(slices.Clone(m.Users), func(u pbx.User) bool { return given[u.ID] }), users...)
	faults := callflow.Check(m)
	for _, u := range users {
		if err := callflow.ThroughOf(faults, pbx.Ref{Kind: pbx.KindUser, ID: string(u.ID)}, levels.GoesOn(u)); err != nil {
			return err
		}
	}
	return nil
}

// addressFree returns the error if another user has the address of one.
func addressFree(ctx context.Context, tx *store.Tx, u pbx.User) error {
	has, err := tx.AddressOf(ctx, u.Email)
	if err == nil && has != "" && has != u.ID {
		err = emailTaken(u.Email)
	}
	return err
}

// numberFree returns the error if a user, an item or the host has the number, or it is an emergency number.
func numberFree(ctx context.Context, tx *store.Tx, tenant pbx.TenantID, n pbx.Number) error {
	settings, err := tx.Settings(ctx, tenant)
	if err != nil {
		return err
	}
	number := strconv.Itoa(int(n))
	if settings.Reserved(n) {
		return pbx.NumberReserved("number", number)
	}
	has, taken, err := tx.Holder(ctx, tenant, number)
	if err == nil && taken {
		err = pbx.NumberTaken("number", number, has)
	}
	return err
}
