package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type tokenCommands struct {
	Create tokenCreateCommand `cmd:"" creates:"" help:"Create an API token for a program; prints only the token to standard output, and only this once."`
	List   tokenListCommand   `cmd:"" help:"List the API tokens, including expired and revoked ones."`
	Revoke tokenRevokeCommand `cmd:"" help:"Revoke an API token, and those that were created with it, from the next request on."`
}

type tokenCreateCommand struct {
	Name    string           `arg:"" help:"Which program it is for."`
	Role    pbx.Role         `required:"" help:"owner, admin, operator, applier or auditor."`
	Scope   []pbx.Permission `help:"Only this permission of the role, such as apply:run; can be repeated. Default: all of them." placeholder:"PERMISSION"`
	Expires string           `help:"How long it is valid, such as 90d or 12h. Default: until it is revoked." placeholder:"TIME"`
}

// Run creates the token.
func (c *tokenCreateCommand) Run(ctx context.Context, a *app, p *portal) error {
	lives, err := days(c.Expires)
	if err != nil {
		return usage(err)
	}
	token, secret, err := p.auth.CreateToken(ctx, pbx.NewToken{Name: c.Name, Role: c.Role, Scopes: c.Scope, Lives: lives})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.CreatedToken{Token: httpapi.TokenJSON(token), Secret: secret.Reveal()})
	}
	fmt.Fprintf(a.stderr, "Token %s for %s, %s, expires: %s. It is not shown again.\n", token.ID, token.Name, tokenRights(token), orNever(token.ExpiresAt))
	fmt.Fprintln(a.stdout, secret.Reveal())
	return nil
}

// days reads a duration that may be given in days; "" is none.
func days(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	lives, err := time.ParseDuration(text)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(number)
		lives = time.Duration(min(n, 100_000)) * 24 * time.Hour
	}
	if err != nil || lives <= 0 {
		return 0, fmt.Errorf("--expires %q is not a positive duration: use a value such as 90d or 12h", text)
	}
	return lives, nil
}

// tokenRights returns the permissions of a token as text.
func tokenRights(t pbx.Token) string {
	if t.Scopes == nil {
		return string(t.Role)
	}
	scopes := make([]string, len(t.Scopes))
	for i, s := range t.Scopes {
		scopes[i] = string(s)
	}
	return string(t.Role) + " (" + strings.Join(scopes, " ") + ")"
}

type tokenListCommand struct {
	Limit int         `help:"Maximum number of tokens, from 1 to 500." default:"200"`
	After pbx.TokenID `help:"Start after the token with this id, the last one of the previous page." placeholder:"ID"`
}

// Run lists the tokens.
func (c *tokenListCommand) Run(ctx context.Context, a *app, p *portal) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	tokens, next, err := p.auth.Tokens(ctx, auth.TokenQuery{After: c.After, Limit: c.Limit, Revoked: true})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.TokensJSON(tokens, next))
	}
	if len(tokens) == 0 {
		fmt.Fprintln(a.stdout, "No tokens. Create one: pbxportal token create NAME --role ROLE")
		return nil
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "ID\tNAME\tPERMISSIONS\tSTATE\tLAST USED")
	for _, t := range tokens {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, tokenRights(t), tokenState(t), orNever(t.LastUsedAt))
	}
	if next != "" {
		fmt.Fprintf(w, "\nThere are more: pbxportal token list --limit %d --after %s\n", c.Limit, next)
	}
	return w.Flush()
}

// tokenState returns the state of a token.
func tokenState(t pbx.Token) string {
	switch {
	case !t.RevokedAt.IsZero():
		return "revoked " + t.RevokedAt.Format(time.DateOnly)
	case t.ExpiresAt.IsZero():
		return "valid"
	case !time.Now().Before(t.ExpiresAt):
		return "expired " + t.ExpiresAt.Format(time.DateOnly)
	}
	return "valid until " + t.ExpiresAt.Format(time.RFC3339)
}

type tokenRevokeCommand struct {
	ID string `arg:"" help:"The token's id, the part between the underscores."`
}

// Run revokes the token.
func (c *tokenRevokeCommand) Run(ctx context.Context, a *app, p *portal) error {
	revoked, err := p.auth.RevokeToken(ctx, pbx.TokenID(c.ID))
	if err != nil {
		return err
	}
	t, made := revoked[0], revoked[1:]
	if a.json {
		return a.printJSON(httpapi.RevokedTokenJSON(t, made))
	}
	fmt.Fprintf(a.stdout, "Token %s for %s is revoked.\n", t.ID, t.Name)
	for _, t := range made {
		fmt.Fprintf(a.stdout, "Token %s for %s, which was created with it, is revoked as well.\n", t.ID, t.Name)
	}
	return nil
}
