package directory

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Consequences lists what changes when a user leaves, or hands over the number.
type Consequences struct {
	People   []Moved     // the user first, then who else gets another number or is created
	Released []Released  // the numbers that no user has any more
	Replaced []Replaced  // where something referred to a user who leaves
	Account  pbx.Account // which is linked to a user who leaves, and should be disabled; zero: none
}

// Moved is a user before and after. Was is zero for a user who is created, and Now for one who leaves. The switches of a user who leaves are cleared with
// the next apply, and those of the others follow them to their numbers.
type Moved struct{ Was, Now pbx.User }

// Released is a number that no user has any more.
type Released struct {
	Number pbx.Number
	FreeAt time.Time // when it can be assigned again; zero: never automatically
}

// Replaced is a field that referred to a user who leaves.
type Replaced struct {
	pbx.Use

	By pbx.UserID // who is there now; "": the user is no longer listed, or the setting is inherited
}

// Leaving says how a user leaves.
type Leaving struct {
	Successor pbx.UserID // is put in the place of the user where something refers to the user; "": none
	IfMatch   int64      // the version that the caller read; 0 matches any
	DryRun    bool       // return the consequences, and change nothing
}

// Leave deletes a user who leaves the organisation, and puts the successor in the place of the user, in one transaction. Errors: as DeleteVersion; KindInvalid for
// a successor who does not exist, or through whom calls would go in a circle.
func (d *Directory) Leave(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, l Leaving) (Consequences, error) {
	return d.withLife(ctx, tenant, id, pbx.ActionUserLeave, l.IfMatch, l.DryRun, func(ctx context.Context, c *life) error {
		successor, err := c.another(ctx, "successor", l.Successor)
		if err != nil {
			return err
		}
		if err := c.begin(ctx, nil, pbx.Facts{"number": numberText(c.user), "successor": string(successor.ID)}); err != nil {
			return err
		}
		return c.leave(ctx, successor.ID, "successor")
	})
}

// HandOver says to whom the number of a user goes, and what becomes of the user.
type HandOver struct {
	To      pbx.UserID   // an existing user; "": New
	New     *pbx.NewUser // without a number
	Number  pbx.Number   // the number that the user gets, which can be that of To; 0: one that the pool of the number assigns
	Leaves  bool         // the user leaves instead, and the user who gets the number is the successor
	IfMatch int64        // as Leaving
	DryRun  bool
}

// HandOver gives the number of a user to another, existing or new, at once, in one transaction. Secrets, phones, call settings and switches stay with their
// users. Errors: as Leave, Change and Add.
func (d *Directory) HandOver(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, h HandOver) (Consequences, error) {
	if h.Leaves && h.Number != 0 {
		return Consequences{}, pbx.Invalid(pbx.FieldError{Field: "number", Code: pbx.FieldUnknown, Message: "must be left out if the user leaves"})
	}
	if (h.To == "") == (h.New == nil) {
		return Consequences{}, pbx.Invalid(pbx.FieldError{Field: "to", Code: pbx.FieldMissing, Message: "give either an existing user, or the name of a new one"})
	}
	if h.New != nil {
		clean, err := h.New.Clean()
		if err != nil {
			return Consequences{}, err
		}
		h.New = &clean
	}
	if d.look != nil {
		d.look(ctx)
	}
	return d.withLife(ctx, tenant, id, pbx.ActionUserHandOver, h.IfMatch, h.DryRun, func(ctx context.Context, c *life) error {
		to, created, err := c.receiver(ctx, h)
		if err != nil {
			return err
		}
		then, number := c.user, ""
		if !h.Leaves {
			if then, err = c.elsewhere(ctx, h.Number, to); err != nil {
				return err
			}
			number = numberText(then)
		}
		if err := c.begin(ctx, pbx.Facts{"number": numberText(c.user)}, pbx.Facts{"number": number, "receiver": string(to.ID)}); err != nil {
			return err
		}
		if !h.Leaves {
			if created != nil {
				if err := c.renumber(ctx, [2]pbx.User{c.user, then}); err != nil {
					return err
				}
				return c.insert(ctx, *created)
			}
			return c.renumber(ctx, [2]pbx.User{c.user, then}, [2]pbx.User{to, withNumber(to, c.user.Extension.Number)})
		}
		if created != nil { // the successor must be there before the user is gone
			if err := c.tx.Vacate(ctx, c.user.Extension); err != nil {
				return err
			}
			if err := c.insert(ctx, *created); err != nil {
				return err
			}
			return c.leave(ctx, to.ID, "to")
		}
		if err := c.leave(ctx, to.ID, "to"); err != nil {
			return err
		}
		if to, err = c.another(ctx, "to", to.ID); err != nil { // whose calls may have gone on to the user
			return err
		}
		return c.renumber(ctx, [2]pbx.User{to, withNumber(to, c.user.Extension.Number)})
	})
}

// life is a change of the life cycle of a user.
type life struct {
	*Directory

	tx       *store.Tx
	user     pbx.User // before
	now      time.Time
	event    pbx.AuditEvent // of the whole, without Before and After
	done     Consequences
	settings pbx.Settings
}

// withLife runs do, which changes the life cycle of a user, in a transaction, and returns the consequences. A dry run is rolled back.
func (d *Directory) withLife(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, action string, ifMatch int64, dryRun bool,
	do func(context.Context, *life) error,
) (done Consequences, err error) {
	run := d.store.InTx
	if dryRun {
		run = d.store.Try
	}
	err = d.withUserIn(ctx, run, tenant, id, action, func(ctx context.Context, tx *store.Tx, u pbx.User, now time.Time, event pbx.AuditEvent, _ pbx.Facts) error {
		if ifMatch != 0 && ifMatch != u.Version {
			return pbx.ChangedMeanwhile(pbx.KindUser)
		}
		settings, err := tx.Settings(ctx, tenant)
		if err != nil {
			return err
		}
		c := &life{Directory: d, tx: tx, user: u, now: now, event: event, settings: settings}
		if err = do(ctx, c); err != nil {
			return err
		}
		c.released()
		done = c.done
		return nil
	})
	if err != nil {
		return Consequences{}, err
	}
	return done, nil
}

// begin records the change as a whole; the events of its parts follow.
func (c *life) begin(ctx context.Context, before, after pbx.Facts) error {
	c.event.Before, c.event.After = before, after
	return c.tx.AppendEvent(ctx, c.event)
}

// another returns a user whom a field names, the zero User for "". The error is one of KindInvalid if there is none, or it is the user.
func (c *life) another(ctx context.Context, field string, id pbx.UserID) (u pbx.User, err error) {
	if id == "" {
		return u, nil
	}
	ok := false
	if canonical, valid := pbx.CanonicalID(id); valid {
		u, ok, err = c.tx.User(ctx, c.user.TenantID, canonical)
	}
	switch {
	case err != nil:
		return u, err
	case !ok:
		return u, pbx.Invalid(pbx.FieldError{Field: field, Code: pbx.FieldChoice, Message: "there is no such user: list the users to see which there are"})
	case u.ID == c.user.ID:
		return u, pbx.Invalid(pbx.FieldError{Field: field, Code: pbx.FieldChoice, Message: "must be another user"})
	}
	return u, nil
}

// leave deletes the user. field is that of the successor in the request.
func (c *life) leave(ctx context.Context, successor pbx.UserID, field string) error {
	account, _, err := c.tx.AccountOfUser(ctx, c.user.ID)
	if err != nil {
		return err
	}
	event, facts, err := c.Directory.event(ctx, c.now, pbx.ActionUserDelete, c.user)
	if err != nil {
		return err
	}
	event.Before = facts
	if c.done.Replaced, err = c.remove(ctx, c.tx, c.user, successor, c.now, event); err != nil {
		if pbx.CodeOf(err) == pbx.CodeInUse {
			return needsSuccessor(err)
		}
		return err
	}
	c.done.People, c.done.Account = slices.Insert(c.done.People, 0, Moved{Was: c.user}), account
	if successor == "" || c.done.Replaced == nil {
		return nil
	}
	if c.settings, err = c.tx.Settings(ctx, c.user.TenantID); err != nil { // calls of all users may go on to the successor now
		return err
	}
	m, err := c.tx.CallModel(ctx, c.user.TenantID, c.settings)
	if err != nil {
		return err
	}
	for _, f := range callflow.Check(m) {
		if (f.Code == callflow.Circular || f.Code == callflow.TooLong) && slices.Contains(f.Things, pbx.Ref{Kind: pbx.KindUser, ID: string(successor)}) {
			return pbx.Invalid(pbx.FieldError{Field: field, Code: pbx.FieldCircular, Message: "must be another user: " + f.Text})
		}
	}
	return nil
}

// needsSuccessor adds to the error of a user who is in use that a successor can be named.
func needsSuccessor(err error) error {
	var e *pbx.Error
	if !errors.As(err, &e) {
		return err
	}
	with := *e
	with.Msg += ", or name a successor, who takes the place of the user"
	return &with
}

// elsewhere returns the user with the number that the user gets: the given one, or one that the pool assigns.
func (c *life) elsewhere(ctx context.Context, number pbx.Number, to pbx.User) (pbx.User, error) {
	then := c.user
	if number == 0 {
		n := &numbers{directory: c.Directory, tx: c.tx, now: c.now, assigned: map[pbx.Number]bool{}}
		wanted := pbx.NewUser{}
		if pool, ok := c.settings.PoolOf(c.user.Extension.Number); ok && pool.Use == pbx.ForUsers {
			wanted.Pool = pool.ID
		}
		assigned, _, err := n.next(ctx, &createRequest{tenant: c.user.TenantID, wanted: wanted})
		if err != nil {
			return then, err
		}
		then.Extension.Number = assigned
		return then, n.end(ctx)
	}
	then.Extension.Number = number
	switch _, err := then.CleanChange(c.user); {
	case err != nil:
		return then, err
	case number == c.user.Extension.Number:
		return then, pbx.Invalid(pbx.FieldError{Field: "number", Code: pbx.FieldChoice, Message: "must be another number: the present one goes to the other user"})
	case number == to.Extension.Number:
		return then, nil
	}
	return then, numberFree(ctx, c.tx, c.user.TenantID, number)
}

// receiver returns the user who gets the number, and if that is a new one what is to be inserted.
func (c *life) receiver(ctx context.Context, h HandOver) (to pbx.User, created *store.NewUser, err error) {
	if h.New == nil {
		to, err = c.another(ctx, "to", h.To)
		return to, nil, err
	}
	n, err := c.newUser(ctx, c.now, &createRequest{tenant: c.user.TenantID, wanted: *h.New}, c.user.Extension.Number)
	if err == nil && n.User.Email != "" {
		err = addressFree(ctx, c.tx, n.User)
	}
	return n.User, &n, err
}

// insert adds the user who is created.
func (c *life) insert(ctx context.Context, n store.NewUser) error {
	c.done.People = append(c.done.People, Moved{Now: n.User})
	return c.tx.InsertUsers(ctx, n)
}

// renumber gives users, each as before and as then, other numbers, each of which can be that of another.
func (c *life) renumber(ctx context.Context, changes ...[2]pbx.User) error {
	updates := make([]store.UserUpdate, len(changes))
	for i, u := range changes {
		event, err := c.changeEvent(ctx, c.now, pbx.ActionUserChange, u[0], u[1])
		if err != nil {
			return err
		}
		updates[i] = store.UserUpdate{Was: u[0], Now: u[1], Event: event}
	}
	all, err := c.tx.UpdateUsers(ctx, updates, c.now)
	if err != nil {
		return err
	}
	for i, u := range updates {
		c.done.People = append(c.done.People, Moved{u.Was, all[i]})
	}
	return noCircle(ctx, c.tx, c.user.TenantID, all...) // the pool of a number has call settings
}

// released completes the consequences by the numbers that no user has any more.
func (c *life) released() {
	for _, m := range c.done.People {
		n := m.Was.Extension.Number
		if n == 0 || slices.ContainsFunc(c.done.People, func(other Moved) bool { return other.Now.Extension.Number == n }) {
			continue
		}
		r := Released{Number: n}
		if pool, ok := c.settings.PoolOf(n); ok {
			r.FreeAt = c.now.Add(c.settings.CoolDown(pool, c.quarantine))
		}
		c.done.Released = append(c.done.Released, r)
	}
}

func numberText(u pbx.User) string { return strconv.Itoa(int(u.Extension.Number)) }

func withNumber(u pbx.User, n pbx.Number) pbx.User {
	u.Extension.Number = n
	return u
}
