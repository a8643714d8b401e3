// Package directory is about users and their extensions: who there is, and which number everyone has. It holds the rules of
// allocation; it knows nothing of HTTP, of SQL, or of Asterisk, and never applies anything.
package directory

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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
	creates     *line[*creation]
}

// Fingerprint names a secret without telling it, so that the audit trail can say which it was.
type Fingerprint func(pbx.Secret) (string, error)

// New makes the service over a store; now tells the time.
func New(s *store.Store, now func() time.Time) *Directory {
	return &Directory{store: s, now: now, creates: newLine[*creation]()}
}

// WithQuarantine gives a Directory that lets a freed number rest that long before it is given out again. New's gives it out at once.
func (d *Directory) WithQuarantine(rest time.Duration) *Directory {
	with := *d
	with.quarantine, with.creates = rest, newLine[*creation]()
	return &with
}

// WithHost returns a Directory that calls look before it gives out a number. look makes sure that the store knows which numbers the Asterisk
// host uses itself; it is called often, and must return soon.
func (d *Directory) WithHost(look func(context.Context)) *Directory {
	with := *d
	with.look, with.creates = look, newLine[*creation]()
	return &with
}

// WithFingerprints gives a Directory whose audit events name secrets by their fingerprint. New's leave secrets out.
func (d *Directory) WithFingerprints(of Fingerprint) *Directory {
	with := *d
	with.fingerprint, with.creates = of, newLine[*creation]()
	return &with
}

// Query selects users. The zero Query selects all.
type Query struct {
	Text  string     // part of the name, the e-mail address or the number, without regard to case and accents
	After pbx.Number // only numbers above it
	Limit int        // how many at the most; 0: all
}

// Page is one page of a listing, ordered by extension number.
type Page struct {
	Users []pbx.User
	Next  pbx.Number // the After of the next page; 0 when this is the last
}

// event begins the event of a change of a user, and gives what the audit trail keeps of the user.
func (d *Directory) event(ctx context.Context, now time.Time, action string, u pbx.User) (pbx.AuditEvent, pbx.Facts, error) {
	facts := pbx.Facts{"tenant_id": string(u.TenantID), "name": u.Name, "email": u.Email, "number": strconv.Itoa(int(u.Extension.Number))}
	if d.fingerprint != nil {
		name, err := d.fingerprint(u.Extension.Secret)
		if err != nil {
			return pbx.AuditEvent{}, nil, fmt.Errorf("cannot take the fingerprint of a secret: %w", err)
		}
		facts["secret"] = name
	}
	return pbx.NewAuditEvent(ctx, now, action, pbx.AuditObject{Type: "user", ID: string(u.ID), Name: u.Name}), facts, nil
}

// Get gives one user; KindNotFound when the tenant has none of that id.
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

// List gives the tenant's users that the query selects. Others get the same slice: whoever wants to change something in it takes a copy.
func (d *Directory) List(ctx context.Context, tenant pbx.TenantID, q Query) (Page, error) {
	users, err := d.store.Users(ctx, tenant)
	if err != nil {
		return Page{}, err
	}
	if q == (Query{}) {
		return Page{Users: users}, nil
	}
	// Selecting here and not in SQL: the pool is small, and both engines fold the case of ASCII letters only.
	page := Page{Users: []pbx.User{}}
	text := pbx.Fold(q.Text)
	for _, u := range users {
		switch {
		case u.Extension.Number <= q.After || !matches(u, text):
		case q.Limit > 0 && len(page.Users) == q.Limit:
			page.Next = page.Users[q.Limit-1].Extension.Number
			return page, nil
		default:
			page.Users = append(page.Users, u)
		}
	}
	return page, nil
}

// matches reports whether the folded text is part of what a person would look for.
func matches(u pbx.User, text string) bool {
	return text == "" || strings.Contains(pbx.Fold(u.Name), text) || strings.Contains(pbx.Fold(u.Email), text) ||
		strings.Contains(fmt.Sprint(u.Extension.Number), text)
}

// Delete removes a user and frees the number; it returns the user as it was. KindNotFound when the tenant has none of that id.
func (d *Directory) Delete(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (deleted pbx.User, err error) {
	id, ok := pbx.CanonicalID(id)
	if !ok {
		return pbx.User{}, noUser(id)
	}
	err = d.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		u, ok, err := tx.User(ctx, tenant, id)
		if err != nil {
			return err
		}
		if !ok {
			return noUser(id)
		}
		deleted = u
		now := d.now().UTC().Truncate(time.Microsecond)
		event, facts, err := d.event(ctx, now, pbx.ActionUserDelete, u)
		if err != nil {
			return err
		}
		event.Before = facts
		return tx.DeleteUser(ctx, u, now, event)
	})
	return deleted, err
}

func noUser(id pbx.UserID) error {
	return &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeUserNotFound,
		Msg: fmt.Sprintf("there is no user %q: list the users to see who there is", string(id)),
	}
}
