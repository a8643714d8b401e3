// Package directory manages users and allocates their extension numbers. It does not deal with HTTP, SQL or Asterisk, and never applies
// anything.
package directory

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Directory is the service. It is safe for concurrent use.
type Directory struct {
	store       *store.Store
	now         func() time.Time
	quarantine  time.Duration
	fingerprint Fingerprint           // may be nil
	look        func(context.Context) // may be nil
	creates     *batcher[*createRequest]
	views       *views
}

// Fingerprint returns an identifier of a secret that does not reveal it, for the audit trail.
type Fingerprint func(pbx.Secret) (string, error)

// New returns a Directory over a store; now returns the current time.
func New(s *store.Store, now func() time.Time) *Directory {
	return &Directory{store: s, now: now, creates: newBatcher[*createRequest](), views: &views{}}
}

// WithQuarantine returns a copy of d that reuses a released number only after the given cool-down. The default is zero.
func (d *Directory) WithQuarantine(coolDown time.Duration) *Directory {
	with := *d
	with.quarantine, with.creates = coolDown, newBatcher[*createRequest]()
	return &with
}

// WithHost returns a copy of d that calls look before it allocates a number. look records in the store which numbers the Asterisk host itself uses; it
// is called for every new user and must return soon.
func (d *Directory) WithHost(look func(context.Context)) *Directory {
	with := *d
	with.look, with.creates = look, newBatcher[*createRequest]()
	return &with
}

// WithFingerprints returns a copy of d whose audit events identify secrets by their fingerprint. By default they omit secrets.
func (d *Directory) WithFingerprints(of Fingerprint) *Directory {
	with := *d
	with.fingerprint, with.creates = of, newBatcher[*createRequest]()
	return &with
}

// Query selects users. The zero Query selects all.
type Query struct {
	Text  string     // part of the name, the e-mail address or the number, ignoring case and accents
	After pbx.Number // only numbers above
	Limit int        // maximum number of users; 0: all
}

// Page is one page of a listing, ordered by extension number.
type Page struct {
	Users []pbx.User
	Next  pbx.Number // the After of the next page; 0 when this is the last
}

// event returns the audit event of a change to a user, without Before and After, and the facts of the user for these.
func (d *Directory) event(ctx context.Context, now time.Time, action string, u pbx.User) (pbx.AuditEvent, pbx.Facts, error) {
	facts := pbx.Facts{"tenant_id": string(u.TenantID), "name": u.Name, "email": u.Email, "number": strconv.Itoa(int(u.Extension.Number))}
	if u.Disabled {
		facts["enabled"] = "false"
	}
	u.Calls.AddTo(facts)
	for _, phone := range DevicesOf(u) {
		if phone.Suffix != pbx.FirstDevice {
			facts[deviceFact("phone", phone.Suffix)] = phone.Name
		}
		if d.fingerprint == nil {
			continue
		}
		name, err := d.fingerprint(phone.Secret)
		if err != nil {
			return pbx.AuditEvent{}, nil, fmt.Errorf("cannot take the fingerprint of a secret: %w", err)
		}
		facts[deviceFact("secret", phone.Suffix)] = name
	}
	return pbx.NewAuditEvent(ctx, now, action, pbx.AuditObject{Type: "user", ID: string(u.ID), Name: u.Name}), facts, nil
}

// Get returns a user; KindNotFound if the tenant has none with that id.
func (d *Directory) Get(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (pbx.User, error) {
	id, ok := pbx.CanonicalID(id)
	if !ok {
		return pbx.User{}, noUser(id)
	}
	u, ok, err := d.store.User(ctx, tenant, id)
	if err == nil && !ok {
		err = noUser(id)
	}
	return u, err
}

// withUser calls do with a user and the event of an action on it, as event returns it, in one transaction. KindNotFound if the tenant has no user
// with that id.
func (d *Directory) withUser(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, action string, do doUser) error {
	return d.withUserIn(ctx, d.store.InTx, tenant, id, action, do)
}

// doUser does something with a user.
type doUser func(ctx context.Context, tx *store.Tx, u pbx.User, now time.Time, event pbx.AuditEvent, facts pbx.Facts) error

// withUserIn does what withUser does, in a transaction that run runs.
func (d *Directory) withUserIn(ctx context.Context, run func(context.Context, func(context.Context, *store.Tx) error) error, tenant pbx.TenantID, id pbx.UserID, action string, do doUser) error {
	id, ok := pbx.CanonicalID(id)
	if !ok {
		return noUser(id)
	}
	return run(ctx, func(ctx context.Context, tx *store.Tx) error {
		u, ok, err := tx.User(ctx, tenant, id)
		if err != nil {
			return err
		}
		if !ok {
			return noUser(id)
		}
		now := d.now().UTC().Truncate(time.Microsecond)
		event, facts, err := d.event(ctx, now, action, u)
		if err != nil {
			return err
		}
		return do(ctx, tx, u, now, event, facts)
	})
}

// Reveal returns the SIP secret of a user, and records in the same transaction that it was shown. KindNotFound if the tenant has no user with that id.
func (d *Directory) Reveal(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (pbx.Secret, error) {
	var shown pbx.Secret
	err := d.withUser(ctx, tenant, id, pbx.ActionUserReveal, func(ctx context.Context, tx *store.Tx, u pbx.User, _ time.Time, event pbx.AuditEvent, facts pbx.Facts) error {
		event.After = pbx.Facts{"number": facts["number"]}
		if name, ok := facts["secret"]; ok {
			event.After["secret"] = name
		}
		shown = u.Extension.Secret
		return tx.AppendEvent(ctx, event)
	})
	if err != nil { // a secret is shown only if that is recorded
		return pbx.Secret{}, err
	}
	return shown, nil
}

// List returns the tenant's users that match the query. The slice is shared; callers must not modify it.
func (d *Directory) List(ctx context.Context, tenant pbx.TenantID, q Query) (Page, error) {
	if q == (Query{}) {
		users, err := d.store.Users(ctx, tenant)
		return Page{Users: users}, err
	}
	found, err := d.Select(ctx, tenant, Selection{Text: q.Text, Order: ByNumber, After: Position{Number: q.After}, Limit: q.Limit})
	return Page{Users: found.Users, Next: found.Next.Number}, err
}

// Deleted is a user who was deleted, as the user was.
type Deleted struct {
	pbx.User
	Left []pbx.Use // the fields that listed the user as one of several, and no longer do
}

// Delete deletes a user and releases the number. Things that list the user as one of several no longer do, with an event each. KindNotFound if the tenant has none with that id; KindConflict with CodeInUse if a thing needs the user.
func (d *Directory) Delete(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (Deleted, error) {
	return d.DeleteVersion(ctx, tenant, id, 0)
}

// DeleteVersion does what Delete does if the user is at the version ifMatch, which the caller read; 0 matches any. KindConflict with CodeChangedMeanwhile if
// the user is at another one.
func (d *Directory) DeleteVersion(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, ifMatch int64) (deleted Deleted, err error) {
	err = d.withUser(ctx, tenant, id, pbx.ActionUserDelete, func(ctx context.Context, tx *store.Tx, u pbx.User, now time.Time, event pbx.AuditEvent, facts pbx.Facts) error {
		if ifMatch != 0 && ifMatch != u.Version {
			return pbx.ChangedMeanwhile(pbx.KindUser)
		}
		event.Before = facts
		left, err := d.remove(ctx, tx, u, "", now, event)
		deleted = Deleted{User: u}
		for _, r := range left {
			deleted.Left = append(deleted.Left, r.Use)
		}
		return err
	})
	return deleted, err
}

// remove deletes a user, puts another in the place of the user where something refers to the user, and returns where it did. If by is "", things no longer list
// the user as one of several, and KindConflict with CodeInUse if something needs the user.
func (d *Directory) remove(ctx context.Context, tx *store.Tx, u pbx.User, by pbx.UserID, now time.Time, event pbx.AuditEvent) (replaced []Replaced, err error) {
	uses, err := tx.UsedBy(ctx, pbx.Ref{Kind: pbx.KindUser, ID: string(u.ID)})
	if err != nil {
		return nil, err
	}
	var needed []pbx.Use
	done := map[pbx.ThingID]map[string]bool{} // the fields from which the user was removed, by what has the field
	for _, use := range uses {
		removed, ok := done[use.ID]
		if !ok {
			if removed, ok, err = d.replace(ctx, tx, u, by, use, now); err != nil {
				return nil, err
			}
			if !ok {
				needed = append(needed, use)
				continue
			}
			done[use.ID] = removed
		}
		r := Replaced{use, by}
		if removed[use.Field] {
			r.By = ""
		}
		replaced = append(replaced, r)
	}
	if needed != nil { // undoes the rest
		return nil, pbx.InUse(pbx.KindUser, u.Name, needed)
	}
	return replaced, tx.DeleteUser(ctx, u, now, event)
}

// replace puts another user in the place of one in everything of a thing or a user that refers to that one, and returns the fields from which the user is only
// removed: if by is "", is in a list already, or would be where the own calls go on to. ok is false if that is not possible.
func (d *Directory) replace(ctx context.Context, tx *store.Tx, u pbx.User, by pbx.UserID, use pbx.Use, now time.Time) (removed map[string]bool, ok bool, err error) {
	removed = map[string]bool{}
	note := func(references []pbx.Reference, to pbx.UserID) {
		for _, r := range references {
			if by == "" || r.To.ID == string(to) {
				removed[r.Field] = true
			}
		}
	}
	if use.Kind != pbx.KindUser {
		i, ok, err := tx.Item(ctx, u.TenantID, use.Kind, use.ID)
		if err != nil || !ok {
			return nil, false, err
		}
		with := i
		if with.Body, ok = i.Body.Replace(u.ID, by); !ok {
			return nil, false, nil
		}
		note(i.Body.References(), by)
		_, err = tx.PutItem(ctx, with, now, pbx.ItemEvent(ctx, now, i, i.Facts(), with.Facts()))
		return removed, true, err
	}
	other, ok, err := tx.User(ctx, u.TenantID, pbx.UserID(use.ID))
	if err != nil || !ok || by == "" {
		return nil, false, err
	}
	with := other
	if with.Calls = other.Calls.Replace(u.ID, by); other.ID == by {
		with.Calls = other.Calls.Replace(u.ID, "")
		note(other.Calls.References(), u.ID)
	}
	event, err := d.changeEvent(ctx, now, pbx.ActionUserChange, other, with)
	if err == nil {
		_, err = tx.UpdateUser(ctx, other, with, now, event)
	}
	return removed, true, err
}

func noUser(id pbx.UserID) error {
	return &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeUserNotFound,
		Msg: fmt.Sprintf("there is no user %q: list the users to see who there is", string(id)),
	}
}
