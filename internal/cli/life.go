package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// asking is the flags of commands that show their consequences first.
type asking struct {
	Yes    bool `help:"Do not ask for a confirmation."`
	DryRun bool `help:"Show the consequences, and change nothing."`
}

type userLeaveCommand struct {
	ofUser `embed:""`

	Successor *string `help:"The user who takes the place of this one in ring groups and as a fallback destination." placeholder:"USER"`

	asking `embed:""`
}

// Run deletes the user.
func (c *userLeaveCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	l := directory.Leaving{IfMatch: u.Version}
	if c.Successor != nil {
		successor, err := p.user(ctx, *c.Successor)
		if err != nil {
			return err
		}
		l.Successor = successor.ID
	}
	return c.run(ctx, a, fmt.Sprintf("Delete %s, who leaves?", oneLine(u.Name)), func(dryRun bool) (directory.Consequences, error) {
		l.DryRun = dryRun
		return p.directory.Leave(ctx, pbx.DefaultTenant, u.ID, l)
	})
}

type userHandOverCommand struct {
	ofUser `embed:""`

	To     *string `xor:"to" required:"" help:"The user who gets the number." placeholder:"USER"`
	ToNew  *string `xor:"to" required:"" help:"The name of a new user who gets the number." placeholder:"NAME"`
	Email  *string `help:"The e-mail address of the new user. Default: none." placeholder:"EMAIL"`
	Number *string `xor:"then" help:"The number that the user gets instead, which can be that of the other user. Default: one that the pool assigns." placeholder:"NUMBER"`
	Leaves bool    `xor:"then" help:"The user leaves, and the other is the successor."`

	asking `embed:""`
}

// Run gives the number to the other user.
func (c *userHandOverCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	h := directory.HandOver{Leaves: c.Leaves, IfMatch: u.Version}
	if c.To != nil {
		if c.Email != nil {
			return usage(errors.New("--email is of a new user: give --to-new, or leave it out"))
		}
		to, err := p.user(ctx, *c.To)
		if err != nil {
			return err
		}
		h.To = to.ID
	} else {
		h.New = &pbx.NewUser{Name: *c.ToNew, EmailOptional: true}
		set(&h.New.Email, c.Email)
	}
	if c.Number != nil {
		if h.Number, err = numberFlag(*c.Number); err != nil {
			return err
		}
	}
	return c.run(ctx, a, fmt.Sprintf("Hand over %d?", u.Extension.Number), func(dryRun bool) (directory.Consequences, error) {
		h.DryRun = dryRun
		done, err := p.directory.HandOver(ctx, pbx.DefaultTenant, u.ID, h)
		if err == nil && !h.Leaves {
			h.Number = done.People[0].Now.Extension.Number // the one that is announced
		}
		return done, err
	})
}

// run prints the consequences of a change, asks for a confirmation, and makes the change.
func (c asking) run(ctx context.Context, a *app, question string, change func(dryRun bool) (directory.Consequences, error)) error {
	if !c.Yes || c.DryRun {
		would, err := change(true)
		if err != nil {
			return err
		}
		if !a.json || c.DryRun {
			if err := a.printConsequences(would, true); err != nil || c.DryRun {
				return err
			}
		}
	}
	if err := a.confirm(ctx, c.Yes, question); err != nil {
		return err
	}
	done, err := change(false)
	if err != nil {
		return err
	}
	if a.json || c.Yes {
		if err := a.printConsequences(done, false); err != nil || a.json {
			return err
		}
	}
	fmt.Fprintln(a.stdout, "Not applied yet: run pbxportal apply. Until then all phones work as before.")
	return nil
}

// printConsequences prints what a change in the life cycle of a user changes.
func (a *app) printConsequences(done directory.Consequences, dryRun bool) error {
	if a.json {
		return a.printJSON(httpapi.ConsequencesJSON(done, dryRun))
	}
	for _, m := range done.People {
		was, now := m.Was.Extension.Number, m.Now.Extension.Number
		switch {
		case now == 0:
			fmt.Fprintf(a.stdout, "%s (%d) leaves and is deleted, with these phones: %s. Do not disturb and forwards are cleared.\n", oneLine(m.Was.Name), was, phonesText(m.Was))
		case was == 0:
			fmt.Fprintf(a.stdout, "%s is created with %d: pbxportal user show %[2]d shows the secret for the phone.\n", oneLine(m.Now.Name), now)
		default:
			fmt.Fprintf(a.stdout, "%s has %d instead of %d. These phones must be set up again, with the same secrets: %s. Do not disturb and forwards stay with the user.\n",
				oneLine(m.Now.Name), now, was, phonesText(m.Now))
		}
	}
	for _, r := range done.Released {
		when := "can be assigned again at once"
		switch {
		case r.FreeAt.IsZero():
			when = "is in no pool, and is assigned only explicitly"
		case r.FreeAt.After(time.Now()):
			when = "can be assigned again automatically from " + r.FreeAt.Format(time.DateOnly)
		}
		fmt.Fprintf(a.stdout, "%d is free: it %s.\n", r.Number, when)
	}
	for _, r := range done.Replaced {
		what := "has the successor"
		switch {
		case r.By == "" && r.Field == "members":
			what = "no longer lists the user"
		case r.By == "":
			what = "is inherited"
		}
		fmt.Fprintf(a.stdout, "%s: %s.\n", pbx.UseText([]pbx.Use{r.Use}), what)
	}
	if done.Account.ID != "" {
		fmt.Fprintf(a.stdout, "The account %s can still sign in: pbxportal admin disable %[1]s\n", oneLine(done.Account.Email))
	}
	return nil
}

// phonesText returns the phones of a user as text.
func phonesText(u pbx.User) string {
	var all []string
	for _, d := range directory.DevicesOf(u) {
		text := pbx.DeviceName(u.Extension.Number, d.Suffix)
		if d.Name != "" {
			text += " (" + oneLine(d.Name) + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}
