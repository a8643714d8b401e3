package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// creation is one call of Create on its way.
type creation struct {
	actor  pbx.Actor
	tenant pbx.TenantID
	wanted pbx.NewUser
	result
}

// result is what came of a creation.
type result struct {
	user pbx.User
	err  error
}

// Create adds a user with the lowest free extension number and a new secret, in a transaction that it shares with those who wait at the same
// time. Errors: KindInvalid for the input, KindConflict for a taken address (which uses up no number) and for an exhausted pool,
// KindUnavailable for the database.
func (d *Directory) Create(ctx context.Context, tenant pbx.TenantID, n pbx.NewUser) (pbx.User, error) {
	n, err := n.Clean()
	if err != nil {
		return pbx.User{}, err
	}
	if d.look != nil {
		d.look(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, store.Patience)
	defer cancel()
	c := &creation{actor: pbx.ActorOf(ctx), tenant: tenant, wanted: n, result: result{err: errBrokenOff}}
	if err = d.creates.join(waiting, c, func(all []*creation) { d.createAll(ctx, all) }); err != nil {
		return pbx.User{}, fmt.Errorf("cannot wait for other writers: %w", err)
	}
	return c.user, c.err
}

// errBrokenOff is what the others hear when whoever wrote for them panicked.
var errBrokenOff = errors.New("the transaction that this user shared with others was broken off")

// createAll creates all, or says to each why not. It goes on when its caller is gone, for the others are not.
func (d *Directory) createAll(ctx context.Context, all []*creation) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), store.Patience)
	defer cancel()
	together := d.createIn(ctx, all)
	if together == nil {
		return
	}
	away := pbx.KindOf(together) == pbx.KindUnavailable && pbx.CodeOf(together) != pbx.CodeRetryExhausted
	for i, c := range all {
		err := together
		if len(all) > 1 && !away { // it may lie with one of them, for whom the others shall not pay
			err = d.createIn(ctx, all[i:i+1])
		}
		if err != nil {
			c.result = result{err: err}
		}
	}
}

// createIn creates all in one transaction, but for those who cannot be, and says so to them. An error means that nobody was created.
func (d *Directory) createIn(ctx context.Context, all []*creation) error {
	emails := make([]string, len(all))
	for i, c := range all {
		emails[i] = c.wanted.Email
	}
	var results []result // known to nobody before they are committed
	err := d.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now := d.now().UTC().Truncate(time.Microsecond) // what both databases keep
		places, err := tx.Places(ctx, emails, pbx.FirstNumber, pbx.LastNumber, now.Add(-d.quarantine))
		if err != nil {
			return err
		}
		results = make([]result, len(all))
		var added []store.Addition
		var left []int
		here := map[string]bool{} // the addresses of those who are added
		for i, c := range all {
			at := places.Addresses[i]
			switch {
			case at.Taken || here[at.Key]:
				results[i].err = emailTaken(c.wanted.Email)
				continue
			case len(added) == len(places.Free):
				left = append(left, i)
				continue
			}
			a, err := d.addition(pbx.WithActor(ctx, c.actor), now, c, places.Free[len(added)])
			if err != nil {
				return err
			}
			here[at.Key], results[i].user, added = true, a.User, append(added, a)
		}
		if err := tx.InsertUsers(ctx, added...); err != nil || left == nil {
			return err
		}
		used, host, err := tx.InUse(ctx, pbx.FirstNumber, pbx.LastNumber)
		for _, i := range left {
			results[i].err = d.exhausted(used, host)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, c := range all {
		c.result = results[i]
	}
	return nil
}

// addition gives the user that a creation makes, with its event.
func (d *Directory) addition(ctx context.Context, now time.Time, c *creation, n pbx.Number) (store.Addition, error) {
	u := pbx.User{
		ID: pbx.UserID(uuid.NewString()), TenantID: c.tenant, Name: c.wanted.Name, Email: c.wanted.Email, CreatedAt: now,
		Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: n, Secret: pbx.NewSecret(), CreatedAt: now},
	}
	event, facts, err := d.event(ctx, now, pbx.ActionUserCreate, u)
	event.After = facts
	return store.Addition{User: u, Event: event}, err
}

// exhausted says why no number can be given out.
func (d *Directory) exhausted(used, host int) error {
	if host > 0 {
		return &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodePoolExhausted,
			Msg: fmt.Sprintf("no extension number from %d to %d can be given out: %d of %d are in use by users, and Asterisk's own configuration has %d of the rest: "+
				"see with pbxportal plan which they are and rename or remove some of them there, or delete a user who is no longer needed",
				pbx.FirstNumber, pbx.LastNumber, used, pbx.PoolSize, host),
		}
	}
	if used < pbx.PoolSize {
		return &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodePoolExhausted,
			Msg: fmt.Sprintf("no extension number from %d to %d can be given out: %d of %d are in use, and the rest was freed less than %s ago and is kept "+
				"back (NUMBER_QUARANTINE): wait, or shorten that time", pbx.FirstNumber, pbx.LastNumber, used, pbx.PoolSize, d.quarantine),
		}
	}
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodePoolExhausted,
		Msg: fmt.Sprintf("all extension numbers %d–%d are in use (%d of %d): delete a user who is no longer needed, and create this one again",
			pbx.FirstNumber, pbx.LastNumber, used, pbx.PoolSize),
	}
}

func emailTaken(email string) error {
	const cure = "another user has this address: use a different one, or delete that user first"
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeEmailTaken, Msg: "the e-mail address " + email + " is taken",
		Fields: []pbx.FieldError{{Field: "email", Code: pbx.FieldTaken, Message: cure}},
	}
}
