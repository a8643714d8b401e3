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

// createRequest is a call of Create in progress.
type createRequest struct {
	actor  pbx.Actor
	tenant pbx.TenantID
	wanted pbx.NewUser
	claim  *store.Claim // nil: none
	result
}

// result is the result of a createRequest.
type result struct {
	Added

	err error
}

// Added is a user who was created.
type Added struct {
	pbx.User
	Warning string // a sentence if the pool of the number is nearly exhausted
}

// Create does what Add does, and returns the user alone.
func (d *Directory) Create(ctx context.Context, tenant pbx.TenantID, n pbx.NewUser) (pbx.User, error) {
	added, err := d.Add(ctx, tenant, n)
	return added.User, err
}

// Add creates a user with a new secret, and with the number that is given or else one that the pool assigns. Concurrent calls share a transaction (group
// commit). A number that waits for its cool-down can be given explicitly. Errors: KindInvalid for the input; KindConflict for an address in use (which
// consumes no number), for a number that is taken, and for an exhausted pool; KindUnavailable for the database.
func (d *Directory) Add(ctx context.Context, tenant pbx.TenantID, n pbx.NewUser) (Added, error) {
	n, err := n.Clean()
	if err != nil {
		return Added{}, err
	}
	if d.look != nil {
		d.look(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, store.QueryTimeout)
	defer cancel()
	c := &createRequest{actor: pbx.ActorOf(ctx), tenant: tenant, wanted: n, claim: store.ClaimOf(ctx), result: result{err: errAborted}}
	if err = d.creates.do(waiting, c, func(batch []*createRequest) { d.createBatch(ctx, batch) }); err != nil {
		return Added{}, fmt.Errorf("cannot wait for other writers: %w", err)
	}
	return c.Added, c.err
}

// errAborted is the result of the other requests of a batch whose leader panicked.
var errAborted = errors.New("the transaction of this batch of users was aborted")

// createBatch creates the users of a batch, or sets the error of each. The end of ctx does not cancel it, because other callers wait for the
// batch, too.
func (d *Directory) createBatch(ctx context.Context, batch []*createRequest) {
	ctx, cancel := context.WithTimeout(store.WithClaim(context.WithoutCancel(ctx), nil), store.QueryTimeout) // each request has its own claim
	defer cancel()
	batchErr := d.createTogether(ctx, batch)
	if batchErr == nil {
		return
	}
	unavailable := pbx.KindOf(batchErr) == pbx.KindUnavailable && pbx.CodeOf(batchErr) != pbx.CodeRetryExhausted
	for i, c := range batch {
		err := batchErr
		if len(batch) > 1 && !unavailable { // one request may be the cause: the others must not fail with it
			err = d.createTogether(ctx, batch[i:i+1])
		}
		if err != nil {
			c.result = result{err: err}
		}
	}
}

// createTogether creates the users of a batch in one transaction. Requests that cannot be fulfilled get an error of their own; a returned error
// means that no user was created.
func (d *Directory) createTogether(ctx context.Context, batch []*createRequest) error {
	emails := make([]string, len(batch))
	for i, c := range batch {
		emails[i] = c.wanted.Email
	}
	var results []result // published after the commit
	err := d.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now := d.now().UTC().Truncate(time.Microsecond) // the precision of both databases
		numbers := &numbers{directory: d, tx: tx, now: now, assigned: map[pbx.Number]bool{}}
		addresses, err := numbers.begin(ctx, emails, batch[0])
		if err != nil {
			return err
		}
		results = make([]result, len(batch))
		var added []store.NewUser
		given := map[string]bool{} // the addresses of the users in added
		for i, c := range batch {
			if c.claim != nil {
				claimed, err := tx.Claimed(ctx, c.claim)
				if err != nil {
					return err
				}
				if claimed {
					results[i].err = store.ErrClaimed
					continue
				}
			}
			address := addresses[i]
			if address.Taken || address.Key != "" && given[address.Key] {
				results[i].err = emailTaken(c.wanted.Email)
				continue
			}
			number, warning, err := numbers.next(ctx, c)
			if pbx.KindOf(err) == pbx.KindConflict || pbx.KindOf(err) == pbx.KindInvalid {
				results[i].err = err
				continue
			}
			if err != nil {
				return err
			}
			n, err := d.newUser(pbx.WithActor(ctx, c.actor), now, c, number)
			if err != nil {
				return err
			}
			if c.claim != nil {
				if err := tx.Claim(ctx, c.claim, n.Event.Object); err != nil {
					return err
				}
			}
			given[address.Key], results[i].Added, added = true, Added{n.User, warning}, append(added, n)
		}
		if err := tx.InsertUsers(ctx, added...); err != nil {
			return err
		}
		return numbers.end(ctx)
	})
	if err != nil {
		return err
	}
	for i, c := range batch {
		if c.result = results[i]; c.claim != nil && c.err == nil {
			c.claim.Committed()
		}
	}
	return nil
}

// newUser returns the user that a request creates with the number n, and its audit event.
func (d *Directory) newUser(ctx context.Context, now time.Time, c *createRequest, n pbx.Number) (store.NewUser, error) {
	u := pbx.User{
		ID: pbx.UserID(uuid.NewString()), TenantID: c.tenant, Name: c.wanted.Name, Email: c.wanted.Email, CreatedAt: now,
		Version: 1, UpdatedAt: now,
		Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: n, Secret: pbx.NewSecret(), CreatedAt: now},
	}
	event, facts, err := d.event(ctx, now, pbx.ActionUserCreate, u)
	event.After = facts
	return store.NewUser{User: u, Event: event}, err
}

func emailTaken(email string) error {
	const fix = "another user has this address: use a different one, or delete that user first"
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeEmailTaken, Msg: "the e-mail address " + email + " is taken",
		Fields: []pbx.FieldError{{Field: "email", Code: pbx.FieldTaken, Message: fix}},
	}
}
