package directory

import (
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
	NewSecrets []pbx.Number // of Created: the revision does not contain their secrets, so that their phones must be set up again
	Unknown    []pbx.Number // of the revision, in order: the audit trail does not say which users these were
}

// Restore makes the users those of a revision, in one transaction: it deletes users that were created since, and creates deleted ones again, with the
// id, name, address, number and secret that they had. KindConflict if another user has one of the addresses (CodeEmailTaken).
func (d *Directory) Restore(ctx context.Context, tenant pbx.TenantID, r pbx.RevisionUsers) (Restored, error) {
	deletions, complete, err := d.deletions(ctx, tenant, r.At)
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
		for _, u := range users {
			n := u.Extension.Number
			secret, wanted := missing[n]
			deletion, deleted := deletions[n]
			switch known := complete || deleted && d.had(deletion, secret); {
			case !wanted:
			case known && (!deleted || deletion.Object.ID == string(u.ID)), !known && (!u.CreatedAt.After(r.At) || u.Extension.Secret == secret):
				delete(missing, n)
				continue
			case !known: // this user, or one who got the number later
				delete(missing, n)
				done.Unknown = append(done.Unknown, n)
				continue
			}
			event, facts, err := d.event(ctx, now, pbx.ActionUserDelete, u)
			if err != nil {
				return err
			}
			facts["revision"] = strconv.Itoa(r.Revision)
			event.Before = facts
			if err := tx.DeleteUser(ctx, u, now, event); err != nil {
				return err
			}
			done.Deleted = append(done.Deleted, u)
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
			u, err := d.deletedUser(ctx, now, deletion, n, missing[n], r.Revision)
			if err != nil {
				return err
			}
			added, done.Created = append(added, u), append(done.Created, u.User)
		}
		slices.Sort(done.Unknown)
		if err := addressesFree(ctx, tx, done.Created); err != nil {
			return err
		}
		return tx.InsertUsers(ctx, added...)
	})
	if err != nil {
		return Restored{}, err
	}
	return done, nil
}

// deletedUser returns the user of the event of a deletion, to be created again with this number and secret.
func (d *Directory) deletedUser(ctx context.Context, now time.Time, deletion pbx.AuditEvent, n pbx.Number, secret pbx.Secret, revision int) (store.NewUser, error) {
	u := pbx.User{
		ID: pbx.UserID(deletion.Object.ID), TenantID: pbx.TenantID(deletion.Before["tenant_id"]), Name: deletion.Before["name"], Email: deletion.Before["email"], CreatedAt: now,
		Version: 1, UpdatedAt: now,
		Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: n, Secret: secret, CreatedAt: now},
	}
	event, facts, err := d.event(ctx, now, pbx.ActionUserCreate, u)
	if err != nil {
		return store.NewUser{}, err
	}
	facts["revision"] = strconv.Itoa(revision)
	event.After = facts
	return store.NewUser{User: u, Event: event}, nil
}

// had reports whether the user of the event of a deletion had a secret.
func (d *Directory) had(deletion pbx.AuditEvent, secret pbx.Secret) bool {
	if d.fingerprint == nil || secret.Reveal() == "" {
		return false
	}
	name, err := d.fingerprint(secret)
	return err == nil && name == deletion.Before["secret"]
}

// deletions returns, by number, the event of the first deletion of a user with that number since then; complete is false if it may be a later one, because
// events since then were archived.
func (d *Directory) deletions(ctx context.Context, tenant pbx.TenantID, since time.Time) (first map[pbx.Number]pbx.AuditEvent, complete bool, err error) {
	const atOnce = 1000
	first = map[pbx.Number]pbx.AuditEvent{}
	for seq := int64(0); ; {
		some, err := d.store.EventsAfter(ctx, store.EventQuery{Action: pbx.ActionUserDelete, Since: since}, seq, atOnce)
		if err != nil {
			return nil, false, err
		}
		for _, e := range some {
			seq = e.Event.Seq
			n, ok := pbx.ParseNumber(e.Event.Before["number"])
			if _, earlier := first[n]; ok && !earlier && e.Event.Before["tenant_id"] == string(tenant) {
				first[n] = e.Event
			}
		}
		if len(some) < atOnce {
			break
		}
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
