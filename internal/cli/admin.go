package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type adminCommands struct {
	Create       adminCreateCommand       `cmd:"" creates:"" help:"Make an account with a password."`
	List         adminListCommand         `cmd:"" help:"List the accounts."`
	Reset        adminResetCommand        `cmd:"" help:"Take away an account's password, second factor and sessions, and print a one-time link to set a new password."`
	Disable      adminDisableCommand      `cmd:"" help:"Let nobody sign in with an account, from this moment on; revokes the tokens it made."`
	Enable       adminEnableCommand       `cmd:"" help:"Let an account sign in again."`
	Unlink       adminUnlinkCommand       `cmd:"" help:"Take an account away from the person of the OpenID provider whom it belongs to: the next one who comes with its address has it."`
	AfterRestore adminAfterRestoreCommand `cmd:"" name:"after-restore" help:"After restoring a backup: end all sessions, take back all links and revoke all tokens, because what ended since the backup holds again."`
	SetupLink    adminSetupLinkCommand    `cmd:"" creates:"" name:"setup-link" help:"Print a new one-time link to make the first account (serve does so too)."`
}

type adminCreateCommand struct {
	Name          string   `arg:"" help:"The person's name."`
	Email         string   `arg:"" help:"The person's e-mail address, to sign in with."`
	Role          pbx.Role `help:"owner, admin, operator, applier or auditor." default:"owner"`
	PasswordStdin bool     `name:"password-stdin" help:"Take the password from standard input instead of asking for it."`
}

// Run makes the account.
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
		return a.printJSON(toAccountJSON(account))
	}
	fmt.Fprintf(a.stdout, "%s <%s> can sign in as %s.\n", account.Name, account.Email, account.Role)
	return nil
}

type adminListCommand struct {
	Limit int           `help:"How many accounts at the most, from 1 to 500." default:"200"`
	After pbx.AccountID `help:"Begin behind the account with this id, the last of the list before." placeholder:"ID"`
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
		list := make([]accountJSON, len(accounts))
		for i, account := range accounts {
			list[i] = toAccountJSON(account)
		}
		return a.printJSON(listJSON("accounts", list, string(next)))
	}
	if len(accounts) == 0 {
		fmt.Fprintln(a.stdout, "Nobody has an account. Make one: pbxportal admin create NAME EMAIL")
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

// accountState says how an account stands, in a word or two.
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

// orNever writes a time, or that it never was.
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
		return a.printJSON(toAccountJSON(account))
	}
	verb := "can sign in again"
	if disabled {
		verb = "cannot sign in any more; all sessions have ended, and the tokens this account made are revoked"
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
		return a.printJSON(map[string]any{"id": account.ID, "email": account.Email, "unlinked": had})
	}
	if !had {
		fmt.Fprintf(a.stdout, "%s <%s> belongs to no person of a provider.\n", account.Name, account.Email)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s <%s> belongs to no person of the provider any more; all sessions have ended. The next one who signs in there with this address has the account.\n",
		account.Name, account.Email)
	return nil
}

type adminAfterRestoreCommand struct{}

// Run ends what a restored backup has brought back.
func (*adminAfterRestoreCommand) Run(ctx context.Context, a *app, p *portal) error {
	ended, err := p.auth.RevokeAll(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"sessions": ended.Sessions, "links": ended.Links, "tokens": ended.Tokens})
	}
	fmt.Fprintf(a.stdout, "Ended: %d sessions, %d links, %d tokens. Make new tokens for the programs that need one.\n", ended.Sessions, ended.Links, ended.Tokens)
	fmt.Fprintln(a.stdout, "Accounts, roles, passwords and recovery codes are those of the backup: see pbxportal admin list for what was disabled, deleted, reset or changed since.")
	return nil
}

type adminSetupLinkCommand struct{}

// Run makes the link.
func (*adminSetupLinkCommand) Run(ctx context.Context, a *app, p *portal) error {
	link, needed, err := p.auth.SetupLink(ctx)
	if err != nil {
		return err
	}
	if !needed {
		return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeSetupDone, Msg: "there are accounts already: pbxportal admin list shows them, pbxportal admin reset helps whoever cannot sign in"}
	}
	return a.printLink(link, pageURL(p.address(), "setup", link), "make the first account")
}

// printLink prints a one-time link.
func (a *app) printLink(link pbx.Link, url, purpose string) error {
	if a.json {
		return a.printJSON(map[string]any{"link": map[string]any{"code": link.Code.Reveal(), "url": url, "expires_at": link.ExpiresAt}})
	}
	fmt.Fprintf(a.stderr, "Open this once, before %s, to %s:\n", link.ExpiresAt.Format(time.RFC3339), purpose)
	fmt.Fprintln(a.stdout, url)
	return nil
}

// inviteFirst prints the link that makes the first account, where nobody has one yet. It goes past the log, which others may read and
// which is kept.
func (p *portal) inviteFirst(ctx context.Context, listening string) error {
	link, needed, err := p.auth.SetupLink(ctx)
	if err != nil || !needed {
		return err
	}
	if p.config.PublicURL != "" {
		listening = p.config.PublicURL
	}
	fmt.Fprintf(p.stderr, "\nNobody has an account yet. Open this once, before %s, to make the first:\n\n    %s\n\n",
		link.ExpiresAt.Format(time.RFC3339), pageURL(listening, "setup", link))
	return nil
}

// address gives where people reach the portal, by its settings.
func (p *portal) address() string {
	switch {
	case p.config.PublicURL != "":
		return p.config.PublicURL
	case p.config.TLS():
		return "https://" + p.config.ListenAddr
	}
	return "http://" + p.config.ListenAddr
}

// pageURL gives the address of a page of the portal that a one-time link opens. The code stands behind the #, which browsers keep to
// themselves: no log on the way holds it.
func pageURL(base, page string, link pbx.Link) string {
	return strings.TrimSuffix(base, "/") + "/app/" + page + "#" + link.Code.Reveal()
}
