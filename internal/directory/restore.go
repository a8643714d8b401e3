package directory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Restored is the result of restoring the users of a revision.
type Restored struct {
	Deleted    []pbx.User
	Created    []pbx.User
	Changed    []pbx.User   // with another number or state: as they are now
	NewSecrets []pbx.Number // of Created: the revision does not contain their secrets, so that their phones must be set up again
	Unknown    []pbx.Number // of the revision, in order: the audit trail does not say which users these were
}

// Restore makes the users those of a revision, in one transaction: it deletes users that were created since, creates deleted ones again, with the
// id, name, address, number, phones, secrets and call settings that they had, and gives others the number and call settings back that they had, and enables or disables
// them again. Calls no longer go on to what no longer exists. KindConflict if
// another user has one of the addresses (CodeEmailTaken), something else one of the numbers (CodeNumberTaken), or a thing needs a user that was created
// since (CodeInUse).
func (d *Directory) Restore(ctx context.Context, tenant pbx.TenantID, r pbx.RevisionUsers) (Restored, error) {
	changes, err := d.changes(ctx, r.At)
	if err != nil {
		return Restored{}, err
	}
	deletions, complete, err := d.deletions(ctx, tenant, r.At, changes)
	if err != nil {
		return Restored{}, err
	}
	var done Restored
	err = d.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		done = Restored{}
		now := d.now().UTC().Truncate(time.Microsecond)
		users, err := tx.Users(ctx, tenant)
		if err != nil {
			return err
		}
		missing := maps.Clone(r.Secrets)
		former := map[pbx.Number]pbx.UserID{} // who had a number that another may have now
		for _, u := range users {
			if then := changes.before(u); then.Extension.Number != u.Extension.Number && !u.CreatedAt.After(r.At) {
				former[then.Extension.Number] = u.ID
			}
		}
		var moved []pbx.User
		for _, u := range users {
			then := changes.before(u)
			n := then.Extension.Number
			secret, wanted := missing[n]
			if had, ok := former[n]; then.Disabled || ok && had != u.ID {
				wanted = false
			}
			deletion, deleted := deletions[n]
			switch known := complete || deleted && d.had(deletion, secret); {
			case !wanted && then.Disabled && !u.CreatedAt.After(r.At): // it had no phone in the revision
				if !then.Same(u) {
					moved = append(moved, then)
				}
				continue
			case !wanted:
			case known && (!deleted || deletion.Object.ID == string(u.ID)), !known && (!u.CreatedAt.After(r.At) || u.Extension.Secret == secret):
				delete(missing, n)
				if !then.Same(u) {
					moved = append(moved, then)
				}
				continue
			case !known: // this user, or one who got the number later
				delete(missing, n)
				done.Unknown = append(done.Unknown, n)
				continue
			}
			done.Deleted = append(done.Deleted, u)
		}
		if err := d.deleteLater(ctx, tx, done.Deleted, moved, now, r.Revision); err != nil {
			return err
		}
		if err := d.putBack(ctx, tx, tenant, moved, now, r.Revision); err != nil {
			return err
		}
		done.Changed = moved
		version, err := tx.UnusedUserVersion(ctx) // the id was in use: what a client read of the user then must not match again
		if err != nil {
			return err
		}
		coming := map[string]bool{} // the users who are created again
		for n, secret := range missing {
			if deletion, known := deletions[n]; known && (complete || d.had(deletion, secret)) {
				coming[deletion.Object.ID] = true
			}
		}
		var added []store.NewUser
		for _, n := range slices.Sorted(maps.Keys(missing)) {
			deletion, known := deletions[n]
			if !known || !complete && !d.had(deletion, missing[n]) {
				done.Unknown = append(done.Unknown, n)
				continue
			}
			if missing[n].Reveal() == "" {
				missing[n] = pbx.NewSecret()
				done.NewSecrets = append(done.NewSecrets, n)
			}
			then := changes.before(pbx.User{
				ID: pbx.UserID(deletion.Object.ID), TenantID: tenant, Disabled: deletion.Before["enabled"] == "false", Calls: callsOf(deletion.Before),
			})
			if then, err = goingOn(ctx, tx, then, coming); err != nil {
				return err
			}
			then.Version, then.Extension.Number, then.Extension.Secret = version, n, missing[n]
			u, err := d.deletedUser(ctx, now, deletion, then, r.Revision)
			if err == nil {
				err = numberBack(ctx, tx, u.User)
			}
			if err != nil {
				return err
			}
			added, done.Created = append(added, u), append(done.Created, u.User)
		}
		slices.Sort(done.Unknown)
		if err := addressesFree(ctx, tx, done.Created); err != nil {
			return err
		}
		if err := tx.InsertUsers(ctx, added...); err != nil {
			return err
		}
		for i, u := range done.Created {
			n := u.Extension.Number
			var renewed bool
			if done.Created[i], renewed, err = d.phonesBack(ctx, tx, u, deletions[n], r.Phones[n], now, r.Revision); err != nil {
				return err
			}
			if renewed && !slices.Contains(done.NewSecrets, n) {
				done.NewSecrets = append(done.NewSecrets, n)
			}
		}
		slices.Sort(done.NewSecrets)
		back := slices.Clone(done.Created)
		for _, then := range moved { // now that everyone is there whom calls go on to
			u, err := d.putCallsBack(ctx, tx, then, now, r.Revision)
			if err != nil {
				return err
			}
			back = append(back, u)
		}
		return noCircle(ctx, tx, tenant, back...)
	})
	if err != nil {
		return Restored{}, err
	}
	return done, nil
}

// deleteLater deletes users who were created since the revision. Calls to them and to the users of the revision, as then, no longer go on to them.
func (d *Directory) deleteLater(ctx context.Context, tx *store.Tx, later, then []pbx.User, now time.Time, revision int) error {
	for _, u := range slices.Concat(then, later) {
		if slices.ContainsFunc(later, func(l pbx.User) bool { return l.ID == u.ID }) {
			for _, r := range u.Calls.References() {
				u.Calls = u.Calls.Without(r.Field)
			}
		}
		if _, err := d.putCallsBack(ctx, tx, u, now, revision); err != nil {
			return err
		}
	}
	for _, u := range later {
		event, facts, err := d.event(ctx, now, pbx.ActionUserDelete, u)
		if err != nil {
			return err
		}
		facts["revision"] = strconv.Itoa(revision)
		event.Before = facts
		if _, err := d.remove(ctx, tx, u, "", now, event); err != nil {
			return err
		}
	}
	return nil
}

// putBack gives users the numbers that they had, each of which can be that of another of them now, and enables or disables them as then.
func (d *Directory) putBack(ctx context.Context, tx *store.Tx, tenant pbx.TenantID, users []pbx.User, now time.Time, revision int) error {
	var updates []store.UserUpdate
	vacant := map[pbx.Number]bool{}
	for _, then := range users {
		u, ok, err := tx.User(ctx, tenant, then.ID)
		if err != nil {
			return err
		}
		if then.Calls = u.Calls; !ok || maps.Equal(stateOf(then), stateOf(u)) {
			continue
		}
		event, _, err := d.event(ctx, now, pbx.ActionUserChange, u)
		if err != nil {
			return err
		}
		event.Before, event.After = pbx.Differing(stateOf(u), stateOf(then))
		event.After["revision"] = strconv.Itoa(revision)
		updates = append(updates, store.UserUpdate{Was: u, Now: then, Event: event})
		vacant[u.Extension.Number] = u.Extension.Number != then.Extension.Number
	}
	for _, u := range updates {
		if n := u.Now.Extension.Number; n != u.Was.Extension.Number && !vacant[n] {
			if err := numberBack(ctx, tx, u.Now); err != nil {
				return err
			}
		}
	}
	_, err := tx.UpdateUsers(ctx, updates, now)
	return err
}

// numberBack returns the error if a user cannot have the number of the revision again.
func numberBack(ctx context.Context, tx *store.Tx, u pbx.User) error {
	err := numberFree(ctx, tx, u.TenantID, u.Extension.Number)
	if pbx.CodeOf(err) != pbx.CodeNumberTaken {
		return err
	}
	has, _, err := tx.Holder(ctx, u.TenantID, strconv.Itoa(int(u.Extension.Number)))
	if err != nil {
		return err
	}
	return pbx.NumberTakenSince(u, has)
}

// stateOf returns the facts of a user that Restore puts back.
func stateOf(u pbx.User) pbx.Facts {
	return pbx.Facts{"number": strconv.Itoa(int(u.Extension.Number)), "enabled": strconv.FormatBool(!u.Disabled)}
}

// goingOn returns a user whose calls do not go on to what does not exist, unless it is coming.
func goingOn(ctx context.Context, tx *store.Tx, u pbx.User, coming map[string]bool) (pbx.User, error) {
	for _, r := range u.Calls.References() {
		exists, err := tx.Exists(ctx, u.TenantID, r.To)
		if err != nil {
			return u, err
		}
		if !exists && !coming[r.To.ID] {
			u.Calls = u.Calls.Without(r.Field)
		}
	}
	return u, nil
}

// putCallsBack gives a user the call settings of then, except those that refer to what does not exist, and returns the user. The caller checks that calls do
// not go in a circle.
func (d *Directory) putCallsBack(ctx context.Context, tx *store.Tx, then pbx.User, at time.Time, revision int) (pbx.User, error) {
	u, ok, err := tx.User(ctx, then.TenantID, then.ID)
	if err != nil || !ok {
		return u, err
	}
	was, err := goingOn(ctx, tx, then, nil)
	if err != nil || was.Calls == u.Calls {
		return u, err
	}
	then = u
	then.Calls = was.Calls
	event, _, err := d.event(ctx, at, pbx.ActionUserChange, u)
	if err != nil {
		return u, err
	}
	before, after := pbx.Facts{}, pbx.Facts{}
	pbx.CallFacts(u.Calls, then.Calls, before, after)
	event.Before, event.After = pbx.Differing(before, after)
	event.After["revision"] = strconv.Itoa(revision)
	_, err = tx.UpdateUser(ctx, u, then, at, event)
	return then, err
}

// userChanges has for each user the facts of stateOf and of the call settings at a time, as far as they were changed since.
type userChanges map[pbx.UserID]pbx.Facts

// before returns the user as of then.
func (c userChanges) before(u pbx.User) pbx.User {
	if n, ok := pbx.ParseNumber(c[u.ID]["number"]); ok {
		u.Extension.Number = n
	}
	if enabled, ok := c[u.ID]["enabled"]; ok {
		u.Disabled = enabled == "false"
	}
	facts := pbx.Facts{}
	u.Calls.AddTo(facts)
	maps.Copy(facts, c[u.ID])
	u.Calls = callsOf(facts)
	return u
}

// changes returns what was changed since a time.
func (d *Directory) changes(ctx context.Context, since time.Time) (userChanges, error) {
	all := userChanges{}
	err := d.each(ctx, pbx.ActionUserChange, since, func(e pbx.AuditEvent) {
		id := pbx.UserID(e.Object.ID)
		for name, value := range e.Before {
			if _, earlier := all[id][name]; earlier {
				continue
			}
			if all[id] == nil {
				all[id] = pbx.Facts{}
			}
			all[id][name] = value
		}
	})
	return all, err
}

// each calls take with the events of an action since a time, the oldest first.
func (d *Directory) each(ctx context.Context, action string, since time.Time, take func(pbx.AuditEvent)) error {
	const atOnce = 1000
	for seq := int64(0); ; {
		some, err := d.store.EventsAfter(ctx, store.EventQuery{Action: action, Since: since}, seq, atOnce)
		if err != nil {
			return err
		}
		for _, e := range some {
			seq = e.Event.Seq
			take(e.Event)
		}
		if len(some) < atOnce {
			return nil
		}
	}
}

// deletedUser returns the user of the event of a deletion, to be created again with the version, number, secret, state and call settings of then.
func (d *Directory) deletedUser(ctx context.Context, now time.Time, deletion pbx.AuditEvent, then pbx.User, revision int) (store.NewUser, error) {
	u := pbx.User{
		ID: pbx.UserID(deletion.Object.ID), TenantID: pbx.TenantID(deletion.Before["tenant_id"]), Name: deletion.Before["name"], Email: deletion.Before["email"], CreatedAt: now,
		Version: then.Version, UpdatedAt: now, Disabled: then.Disabled, Calls: then.Calls,
		Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: then.Extension.Number, Secret: then.Extension.Secret, CreatedAt: now},
	}
	event, facts, err := d.event(ctx, now, pbx.ActionUserCreate, u)
	if err != nil {
		return store.NewUser{}, err
	}
	facts["revision"] = strconv.Itoa(revision)
	event.After = facts
	return store.NewUser{User: u, Event: event}, nil
}

// phonesBack gives a user who was created again the further phones that the revision has, with new secrets for those that it does not contain, which it reports
// as renewed. The event of the deletion has their names.
func (d *Directory) phonesBack(ctx context.Context, tx *store.Tx, u pbx.User, deletion pbx.AuditEvent, secrets map[int]pbx.Secret, now time.Time, revision int) (
	_ pbx.User, renewed bool, err error,
) {
	if len(secrets) == 0 {
		return u, false, nil
	}
	if u, _, err = tx.User(ctx, u.TenantID, u.ID); err != nil {
		return u, false, err
	}
	then := u
	for _, suffix := range slices.Sorted(maps.Keys(secrets)) {
		phone := pbx.Device{ID: pbx.DeviceID(uuid.NewString()), Suffix: suffix, Secret: secrets[suffix], CreatedAt: now}
		phone.Name = cmp.Or(deletion.Before[deviceFact("phone", suffix)], pbx.DeviceName(u.Extension.Number, suffix))
		if phone.Secret.Reveal() == "" {
			phone.Secret, renewed = pbx.NewSecret(), true
		}
		then.Devices = append(then.Devices, phone)
	}
	event, err := d.changeEvent(ctx, now, pbx.ActionDeviceCreate, u, then)
	if err != nil {
		return u, false, err
	}
	event.After["revision"] = strconv.Itoa(revision)
	u, err = tx.UpdateUser(ctx, u, then, now, event)
	return u, renewed, err
}

// callsOf returns the call settings in the facts of an event.
func callsOf(facts pbx.Facts) pbx.CallSettings {
	calls, err := pbx.CallSettingsOf(facts)
	if err != nil { // of a version that has other settings
		return pbx.CallSettings{}
	}
	return calls
}

// had reports whether the user of the event of a deletion had a secret.
func (d *Directory) had(deletion pbx.AuditEvent, secret pbx.Secret) bool {
	if d.fingerprint == nil || secret.Reveal() == "" {
		return false
	}
	name, err := d.fingerprint(secret)
	return err == nil && name == deletion.Before["secret"]
}

// deletions returns, by the number at that time, the event of the first deletion of a user with that number since then; complete is false if it may be a
// later one, because events since then were archived.
func (d *Directory) deletions(ctx context.Context, tenant pbx.TenantID, since time.Time, changes userChanges) (first map[pbx.Number]pbx.AuditEvent, complete bool, err error) {
	first = map[pbx.Number]pbx.AuditEvent{}
	err = d.each(ctx, pbx.ActionUserDelete, since, func(e pbx.AuditEvent) {
		n, ok := pbx.ParseNumber(cmp.Or(changes[pbx.UserID(e.Object.ID)]["number"], e.Before["number"]))
		if _, earlier := first[n]; ok && !earlier && e.Before["tenant_id"] == string(tenant) {
			first[n] = e
		}
	})
	if err != nil {
		return nil, false, err
	}
	oldest, err := d.store.EventsAfter(ctx, store.EventQuery{}, 0, 1) // read last: events may be archived meanwhile
	return first, err == nil && (len(oldest) == 0 || oldest[0].Event.Seq == 1 || !oldest[0].Event.At.After(since)), err
}

// addressesFree returns the error if another user has the address of one that is to be created again.
func addressesFree(ctx context.Context, tx *store.Tx, users []pbx.User) error {
	emails := make([]string, len(users))
	for i, u := range users {
		emails[i] = u.Email
	}
	allocation, err := tx.Allocate(ctx, emails, pbx.FirstNumber, pbx.LastNumber, time.Time{})
	if err != nil {
		return err
	}
	var taken []string
	for i, address := range allocation.Addresses {
		if address.Taken {
			taken = append(taken, fmt.Sprintf("%s (%d)", emails[i], users[i].Extension.Number))
		}
	}
	if taken == nil {
		return nil
	}
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeEmailTaken,
		Msg: "other users have the addresses of users who are to be created again: " + strings.Join(taken, ", ") + "; nothing was changed. Delete those users, or create the others by hand",
	}
}
