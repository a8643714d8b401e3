package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type adminCommands struct {
	Create       adminCreateCommand       `cmd:"" creates:"" help:"Create an account with a password."`
	List         adminListCommand         `cmd:"" help:"List the accounts."`
	Reset        adminResetCommand        `cmd:"" help:"Remove an account's password, second factor and sessions, and print a one-time link to set a new password."`
	Disable      adminDisableCommand      `cmd:"" help:"Disable an account at once: sign-ins are refused, and the tokens it created are revoked."`
	Enable       adminEnableCommand       `cmd:"" help:"Enable a disabled account."`
	Unlink       adminUnlinkCommand       `cmd:"" help:"Unlink an account from its identity at the OpenID provider: the next person who signs in there with its address is linked to it."`
	LinkUser     adminLinkUserCommand     `cmd:"" name:"link-user" help:"Link an account to the user who is the same person. It changes no permissions."`
	UnlinkUser   adminUnlinkUserCommand   `cmd:"" name:"unlink-user" help:"Unlink an account from its user."`
	AfterRestore adminAfterRestoreCommand `cmd:"" name:"after-restore" help:"After a backup was restored: end all sessions, links and tokens, because those that ended since the backup are valid again."`
	SetupLink    adminSetupLinkCommand    `cmd:"" creates:"" name:"setup-link" help:"Print a new one-time link to create the first account (serve does so too)."`
}

type adminCreateCommand struct {
	Name          string   `arg:"" help:"The person's name."`
	Email         string   `arg:"" help:"The e-mail address for signing in."`
	Role          pbx.Role `help:"owner, admin, operator, applier or auditor." default:"owner"`
	PasswordStdin bool     `name:"password-stdin" help:"Read the password from standard input instead of prompting for it."`
}

// Run creates the account.
func (c *adminCreateCommand) Run(ctx context.Context, a *app, p *portal) error {
	password, err := a.password(ctx, c.PasswordStdin)
	if err != nil {
		return err
	}
	account, err := p.auth.Create(ctx, pbx.NewAccount{Name: c.Name, Email: c.Email, Role: c.Role}, password)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.AccountJSON(account))
	}
	fmt.Fprintf(a.stdout, "%s <%s> can sign in as %s.\n", account.Name, account.Email, account.Role)
	return nil
}

type adminListCommand struct {
	Limit int           `help:"Maximum number of accounts, from 1 to 500." default:"200"`
	After pbx.AccountID `help:"Start after the account with this id, the last one of the previous page." placeholder:"ID"`
}

// Run lists the accounts.
func (c *adminListCommand) Run(ctx context.Context, a *app, p *portal) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	accounts, next, err := p.auth.AccountPage(ctx, c.After, c.Limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.AccountsJSON(accounts, next))
	}
	if len(accounts) == 0 {
		fmt.Fprintln(a.stdout, "No accounts. Create one: pbxportal admin create NAME EMAIL")
		return nil
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "NAME\tE-MAIL\tROLE\tSTATE\tLAST SIGN-IN\tPROVIDER\tID")
	for _, account := range accounts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", account.Name, account.Email, account.Role, accountState(account),
			orNever(account.LastSignIn), cmp.Or(account.Identity.Issuer, "-"), account.ID)
	}
	if next != "" {
		fmt.Fprintf(w, "\nThere are more: pbxportal admin list --limit %d --after %s\n", c.Limit, next)
	}
	return w.Flush()
}

// accountState returns the state of an account, in a word or two.
func accountState(a pbx.Account) string {
	switch {
	case a.Disabled:
		return "disabled"
	case a.Invited:
		return "no password yet"
	case a.TOTP:
		return "second factor"
	}
	return "ok"
}

// orNever returns a time as text, or "never" for the zero time.
func orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

type adminResetCommand struct {
	Email string `arg:"" help:"The account's e-mail address."`
}

// Run resets the account.
func (c *adminResetCommand) Run(ctx context.Context, a *app, p *portal) error {
	account, err := p.auth.AccountByEmail(ctx, c.Email)
	if err != nil {
		return err
	}
	link, err := p.auth.Reset(ctx, account.ID)
	if err != nil {
		return err
	}
	return a.printLink(link, pageURL(p.address(), "invite", link), "set a new password for "+account.Email)
}

type adminDisableCommand struct {
	Email string `arg:"" help:"The account's e-mail address."`
}

// Run disables the account.
func (c *adminDisableCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.setDisabled(ctx, p, c.Email, true)
}

type adminEnableCommand struct {
	Email string `arg:"" help:"The account's e-mail address."`
}

// Run enables the account.
func (c *adminEnableCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.setDisabled(ctx, p, c.Email, false)
}

func (a *app) setDisabled(ctx context.Context, p *portal, email string, disabled bool) error {
	account, err := p.auth.AccountByEmail(ctx, email)
	if err != nil {
		return err
	}
	if account, err = p.auth.Update(ctx, account.ID, auth.AccountChange{Disabled: &disabled}); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.AccountJSON(account))
	}
	verb := "can sign in again"
	if disabled {
		verb = "cannot sign in any more; all sessions have ended, and the tokens this account created are revoked"
	}
	fmt.Fprintf(a.stdout, "%s <%s> %s.\n", account.Name, account.Email, verb)
	return nil
}

type adminUnlinkCommand struct {
	Email string `arg:"" help:"The account's e-mail address."`
}

// Run unlinks the account.
func (c *adminUnlinkCommand) Run(ctx context.Context, a *app, p *portal) error {
	account, err := p.auth.AccountByEmail(ctx, c.Email)
	if err != nil {
		return err
	}
	had, err := p.auth.Unlink(ctx, account.ID)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.UnlinkReport{ID: string(account.ID), Email: account.Email, Unlinked: had})
	}
	if !had {
		fmt.Fprintf(a.stdout, "%s <%s> is not linked to a provider.\n", account.Name, account.Email)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s <%s> is no longer linked to the provider; all sessions have ended. The next person who signs in there with this address is linked to it.\n",
		account.Name, account.Email)
	return nil
}

type adminLinkUserCommand struct {
	Email string `arg:"" help:"The account's e-mail address."`
	User  string `arg:"" help:"The user's id or extension number."`
}

// Run links the account to the user.
func (c *adminLinkUserCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	return a.linkUser(ctx, p, c.Email, u.ID, fmt.Sprintf("is linked to the user %s (%d)", oneLine(u.Name), u.Extension.Number))
}

type adminUnlinkUserCommand struct {
	Email string `arg:"" help:"The account's e-mail address."`
}

// Run unlinks the account from its user.
func (c *adminUnlinkUserCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.linkUser(ctx, p, c.Email, "", "is linked to no user")
}

// linkUser links an account to a user, or to none for "", and says what it is then.
func (a *app) linkUser(ctx context.Context, p *portal, email string, user pbx.UserID, says string) error {
	account, err := p.auth.AccountByEmail(ctx, email)
	if err != nil {
		return err
	}
	if account, err = p.auth.Update(ctx, account.ID, auth.AccountChange{User: &user}); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.AccountJSON(account))
	}
	fmt.Fprintf(a.stdout, "%s <%s> %s.\n", account.Name, account.Email, says)
	return nil
}

type adminAfterRestoreCommand struct{}

// Run ends sessions, links and tokens that a restored backup has made valid again.
func (*adminAfterRestoreCommand) Run(ctx context.Context, a *app, p *portal) error {
	ended, err := p.auth.RevokeAll(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.RevocationReport{Sessions: ended.Sessions, Links: ended.Links, Tokens: ended.Tokens})
	}
	fmt.Fprintf(a.stdout, "Ended: %d sessions, %d links, %d tokens. Create new tokens for the programs that need one.\n", ended.Sessions, ended.Links, ended.Tokens)
	fmt.Fprintln(a.stdout, "Accounts, roles, passwords and recovery codes are those of the backup. Repeat what was disabled, deleted, reset or changed since: pbxportal admin list shows the accounts.")
	return nil
}

type adminSetupLinkCommand struct{}

// Run creates the link.
func (*adminSetupLinkCommand) Run(ctx context.Context, a *app, p *portal) error {
	link, needed, err := p.auth.SetupLink(ctx)
	if err != nil {
		return err
	}
	if !needed {
		return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeSetupDone, Msg: "there are accounts already: pbxportal admin list shows them, pbxportal admin reset restores access to one"}
	}
	return a.printLink(link, pageURL(p.address(), "setup", link), "create the first account")
}

// printLink prints a one-time link.
func (a *app) printLink(link pbx.Link, url, purpose string) error {
	if a.json {
		return a.printJSON(openapi.AccountReset{Link: openapi.OneTimeLink{Code: link.Code.Reveal(), URL: &url, ExpiresAt: link.ExpiresAt}})
	}
	fmt.Fprintf(a.stderr, "Open this once, before %s, to %s:\n", link.ExpiresAt.Format(time.RFC3339), purpose)
	fmt.Fprintln(a.stdout, url)
	return nil
}

// inviteFirst prints the link that creates the first account, if there are no accounts yet. It does not go to the log, which others may read and which
// is kept.
func (p *portal) inviteFirst(ctx context.Context, listening string) error {
	link, needed, err := p.auth.SetupLink(ctx)
	if err != nil || !needed {
		return err
	}
	if p.config.PublicURL != "" {
		listening = p.config.PublicURL
	}
	fmt.Fprintf(p.stderr, "\nThere are no accounts yet. Open this once, before %s, to create the first:\n\n    %s\n\n",
		link.ExpiresAt.Format(time.RFC3339), pageURL(listening, "setup", link))
	return nil
}

// address returns the address at which users reach the portal, by its settings.
func (p *portal) address() string {
	switch {
	case p.config.PublicURL != "":
		return p.config.PublicURL
	case p.config.TLS():
		return "https://" + p.config.ListenAddr
	}
	return "http://" + p.config.ListenAddr
}

// pageURL returns the address of a page of the portal that a one-time link opens. The code is in the fragment, after #, which browsers do not send: it
// is in no log on the way.
func pageURL(base, page string, link pbx.Link) string {
	return strings.TrimSuffix(base, "/") + "/app/" + page + "#" + link.Code.Reveal()
}
