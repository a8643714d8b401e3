package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type userCommands struct {
	Add     userAddCommand     `cmd:"" creates:"" help:"Create a user; prints the extension number and the secret for the phone."`
	List    userListCommand    `cmd:"" help:"List users by extension number."`
	Show    userShowCommand    `cmd:"" help:"Show one user with the secret for the phone."`
	Set     userSetCommand     `cmd:"" help:"Change name, e-mail address, number or state of a user; what is not given stays."`
	Enable  userEnableCommand  `cmd:"" help:"Let the phone of a user register and be called again."`
	Disable userDisableCommand `cmd:"" help:"Keep the phone of a user from registering; the number stays reserved."`
	Secret  userSecretCommand  `cmd:"" name:"new-secret" help:"Give a user a new secret for the phone, and print it."`
	Delete  userDeleteCommand  `cmd:"" help:"Delete a user and free the number."`

	Leave    userLeaveCommand    `cmd:"" help:"A user leaves the organisation: delete the user, and put a successor in the place of the user."`
	HandOver userHandOverCommand `cmd:"" name:"hand-over" help:"Give the number of a user to another at once."`

	Switches userSwitchesCommand `cmd:"" help:"Show or change what acts at once: do not disturb and forwards."`

	Restore userRestoreCommand `cmd:"" help:"Make the users those of a revision: create deleted ones again, delete later ones."`
}

type userAddCommand struct {
	Name  string  `arg:"" help:"The person's name, as shown on other phones."`
	Email *string `arg:"" optional:"" help:"The person's e-mail address. Default: none."`

	Pool   *string `help:"The pool that the number is assigned from." placeholder:"POOL"`
	Number *string `help:"A number of a pool of users." placeholder:"NUMBER"`
}

// Run creates the user.
func (c *userAddCommand) Run(ctx context.Context, a *app, p *portal) error {
	n := pbx.NewUser{Name: c.Name, EmailOptional: c.Email == nil}
	set(&n.Email, c.Email)
	if c.Pool != nil {
		pool, err := p.item(ctx, pbx.KindPool, *c.Pool)
		if err != nil {
			return err
		}
		n.Pool = pool.ID
	}
	if c.Number != nil {
		var err error
		if n.Number, err = numberFlag(*c.Number); err != nil {
			return err
		}
	}
	added, err := p.directory.Add(ctx, pbx.DefaultTenant, n)
	if err != nil {
		return err
	}
	if added.Warning != "" {
		fmt.Fprintln(a.stderr, "warning:", added.Warning)
	}
	return a.printUser(added.User, "Not applied yet: run pbxportal apply to configure it in Asterisk.")
}

// numberFlag returns the number that --number gives.
func numberFlag(text string) (pbx.Number, error) {
	n, ok := pbx.ParseNumber(pbx.Fold(text))
	if !ok {
		return 0, usage(fmt.Errorf("--number must be a number of %d to %d", pbx.MinNumber, pbx.MaxNumber))
	}
	return n, nil
}

type userListCommand struct {
	Find string `help:"Only users whose name, e-mail address or number contains this." placeholder:"TEXT"`
}

// Run lists the users.
func (c *userListCommand) Run(ctx context.Context, a *app, p *portal) error {
	page, err := p.directory.List(ctx, pbx.DefaultTenant, directory.Query{Text: c.Find})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.RootUsersJSON(page))
	}
	if len(page.Users) == 0 {
		fmt.Fprintln(a.stdout, "No users. Create one: pbxportal user add NAME EMAIL")
		return nil
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "NUMBER\tNAME\tE-MAIL\tCREATED\tID")
	for _, u := range page.Users {
		name := oneLine(u.Name)
		if u.Disabled {
			name += " (disabled)"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", u.Extension.Number, name, oneLine(u.Email), u.CreatedAt.Format(time.DateOnly), u.ID)
	}
	return w.Flush()
}

type userShowCommand struct {
	User string `arg:"" help:"The user's id or extension number."`
}

// Run shows the user.
func (c *userShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	if err := a.printUser(u, ""); err != nil || a.json {
		return err
	}
	w := newTable(a.stdout)
	if err := p.writeCalls(ctx, w, u); err != nil {
		return err
	}
	return w.Flush()
}

type userSetCommand struct {
	User    string  `arg:"" help:"The user's id or extension number."`
	Name    *string `help:"The person's name." placeholder:"NAME"`
	Email   *string `help:"The e-mail address; empty for none." placeholder:"EMAIL"`
	Number  *string `help:"The extension number, 10 to 999999." placeholder:"NUMBER"`
	Enabled *bool   `negatable:"" help:"Whether the phone can register and be called."`

	callFields `embed:""`
}

// Help returns what is common to the flags of call settings.
func (*userSetCommand) Help() string { return callsHelp }

// Run changes the user.
func (c *userSetCommand) Run(ctx context.Context, a *app, p *portal) error {
	calls, err := c.setter(ctx, p)
	if err != nil {
		return err
	}
	return a.changeUser(ctx, p, c.User, func(u *pbx.User) error {
		calls(&u.Calls)
		set(&u.Name, c.Name)
		set(&u.Email, c.Email)
		if c.Enabled != nil {
			u.Disabled = !*c.Enabled
		}
		if c.Number == nil {
			return nil
		}
		n, ok := pbx.ParseNumber(pbx.Fold(*c.Number))
		if !ok {
			return pbx.Invalid(pbx.FieldError{Field: "number", Code: pbx.FieldMalformed, Message: "must be a number from 10 to 999999 without leading zeros"})
		}
		u.Extension.Number = n
		return nil
	})
}

// set sets a field to a value, if there is one.
func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// setNonZero does what set does. The error is one of KindInvalid if the value is 0 or empty, which would set the field to its default.
func setNonZero[T comparable](name string, field, value *T) error {
	var zero T
	if set(field, value); value != nil && *value == zero {
		return pbx.Invalid(pbx.FieldError{Field: name, Code: pbx.FieldMissing, Message: "must not be empty: give a value, or leave the flag out"})
	}
	return nil
}

type userEnableCommand struct {
	User string `arg:"" help:"The user's id or extension number."`
}

// Run enables the user.
func (c *userEnableCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.changeUser(ctx, p, c.User, func(u *pbx.User) error { u.Disabled = false; return nil })
}

type userDisableCommand struct {
	User string `arg:"" help:"The user's id or extension number."`
}

// Run disables the user.
func (c *userDisableCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.changeUser(ctx, p, c.User, func(u *pbx.User) error { u.Disabled = true; return nil })
}

// changeUser changes a user, and prints the user as changed.
func (a *app) changeUser(ctx context.Context, p *portal, key string, change func(*pbx.User) error) error {
	was, err := p.user(ctx, key)
	if err != nil {
		return err
	}
	u, err := p.directory.Change(ctx, pbx.DefaultTenant, was.ID, 0, change)
	if err != nil {
		return err
	}
	if a.json {
		settings, err := p.routing.Settings(ctx, pbx.DefaultTenant)
		return a.printJSONOf(httpapi.UserJSON(u, settings, p.engine.Calls()), err)
	}
	w := newTable(a.stdout)
	fmt.Fprintf(w, "Name\t%s\nE-mail\t%s\nExtension\t%d\nState\t%s\nID\t%s\n", oneLine(u.Name), oneLine(u.Email), u.Extension.Number, stateOf(u), u.ID)
	if err := p.writeCalls(ctx, w, u); err != nil {
		return err
	}
	switch {
	case u.Version == was.Version:
		fmt.Fprintln(w, "Nothing changed.")
	case u.Extension.Number != was.Extension.Number:
		fmt.Fprintf(w, "Not applied yet: run pbxportal apply. From then on the phone must register as %d instead of %d, with the same secret.\n", u.Extension.Number, was.Extension.Number)
	default:
		fmt.Fprintln(w, "Not applied yet: run pbxportal apply.")
	}
	return w.Flush()
}

func stateOf(u pbx.User) string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

type userSecretCommand struct {
	User string `arg:"" help:"The user's id or extension number."`
}

// Run replaces the secret.
func (c *userSecretCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	if u, err = p.directory.NewSecret(ctx, pbx.DefaultTenant, u.ID, 0); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.UserWithSecretJSON(u))
	}
	return a.printUser(u, "Not applied yet: run pbxportal apply. From then on the phone needs this secret.")
}

type userDeleteCommand struct {
	User string `arg:"" help:"The user's id or extension number."`
}

// Run deletes the user.
func (c *userDeleteCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	deleted, err := p.directory.Delete(ctx, pbx.DefaultTenant, u.ID)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.DeletedUserJSON(deleted))
	}
	u = deleted.User
	address := ""
	if u.Email != "" {
		address = " <" + oneLine(u.Email) + ">"
	}
	fmt.Fprintf(a.stdout, "Deleted %s%s; extension %d is free.\n", oneLine(u.Name), address, u.Extension.Number)
	if deleted.Left != nil {
		fmt.Fprintf(a.stdout, "No longer listed in %s.\n", pbx.UseText(deleted.Left))
	}
	fmt.Fprintln(a.stdout, "The phone works until the next apply: run pbxportal apply.")
	return nil
}

type userRestoreCommand struct {
	Revision int `arg:"" help:"The revision, as listed by pbxportal revision list."`
}

// Run restores the users of the revision.
func (c *userRestoreCommand) Run(ctx context.Context, a *app, p *portal) error {
	users, err := p.engine.RevisionUsers(ctx, c.Revision)
	if err != nil {
		return err
	}
	done, err := p.directory.Restore(ctx, pbx.DefaultTenant, users)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.RestoredUsersJSON(done))
	}
	w := newTable(a.stdout)
	for _, u := range done.Deleted {
		fmt.Fprintf(w, "-\t%d\t%s\t%s\tdeleted\n", u.Extension.Number, oneLine(u.Name), oneLine(u.Email))
	}
	for _, u := range done.Created {
		said := "created again"
		if slices.Contains(done.NewSecrets, u.Extension.Number) {
			said += "; the phone needs the new secret"
		}
		fmt.Fprintf(w, "+\t%d\t%s\t%s\t%s\n", u.Extension.Number, oneLine(u.Name), oneLine(u.Email), said)
	}
	for _, u := range done.Changed {
		fmt.Fprintf(w, "~\t%d\t%s\t%s\tnumber, state and calls as then: %s\n", u.Extension.Number, oneLine(u.Name), oneLine(u.Email), stateOf(u))
	}
	for _, n := range done.Unknown {
		fmt.Fprintf(w, "?\t%d\t\t\tnot created: the audit trail does not say who it was\n", n)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	except := ""
	if done.Unknown != nil {
		except = ", except the numbers marked with ?"
	}
	fmt.Fprintf(a.stdout, "The users are those of revision %d%s. Names, e-mail addresses and everything besides users stay as they are. Next: pbxportal plan shows what an apply would change.\n", c.Revision, except)
	return nil
}

// user finds a user by id or by extension number, as typed by people: full-width digits are accepted.
func (p *portal) user(ctx context.Context, key string) (pbx.User, error) {
	given := key
	key = pbx.Fold(key)
	if key == "" || strings.Trim(key, "0123456789") != "" {
		u, err := p.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(key))
		if pbx.KindOf(err) == pbx.KindNotFound {
			err = &pbx.Error{
				Kind: pbx.KindNotFound, Code: pbx.CodeUserNotFound,
				Msg: fmt.Sprintf("there is no user %q: give the extension number or the id, as pbxportal user list shows them", given),
			}
		}
		return u, err
	}
	page, err := p.directory.List(ctx, pbx.DefaultTenant, directory.Query{})
	if err != nil {
		return pbx.User{}, err
	}
	for _, u := range page.Users {
		if fmt.Sprint(u.Extension.Number) == key {
			return u, nil
		}
	}
	return pbx.User{}, &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeUserNotFound,
		Msg: "no user has extension " + key + ": run pbxportal user list to see who has which",
	}
}

// printUser prints one user, with the secret, and in text form a last line that says what to do next.
func (a *app) printUser(u pbx.User, next string) error {
	if a.json {
		return a.printJSON(httpapi.RootUserJSON(u))
	}
	w := newTable(a.stdout)
	fmt.Fprintf(w, "Name\t%s\nE-mail\t%s\nExtension\t%d\nState\t%s\nSecret\t%s\nCreated\t%s\nID\t%s\n",
		oneLine(u.Name), oneLine(u.Email), u.Extension.Number, stateOf(u), u.Extension.Secret.Reveal(), u.CreatedAt.Format(time.RFC3339), u.ID)
	if next != "" {
		fmt.Fprintln(w, next)
	}
	return w.Flush()
}
