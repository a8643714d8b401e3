package auth

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// An API token is pbx_ID_SECRET: a prefix for secret scanners, the id it is looked up by, and 260 random bits.
const (
	tokenMark    = "pbx"
	tokenID      = 16 // a–z and 2–7
	tokenSecret  = 52 // A–Z and 2–7
	base32Digits = "234567"
)

// parseToken splits an API token; ok is false if the text is none.
func parseToken(text string) (id pbx.TokenID, secret string, ok bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 3 || parts[0] != tokenMark || !isCode(parts[1], tokenID, 'a', 'z') || !isCode(parts[2], tokenSecret, 'A', 'Z') {
		return "", "", false
	}
	return pbx.TokenID(parts[1]), parts[2], true
}

// isCode reports whether a text has this length and consists of the letters first to last and the digits of base32.
func isCode(text string, length int, first, last byte) bool {
	for _, c := range []byte(text) {
		if (c < first || c > last) && !strings.ContainsRune(base32Digits, rune(c)) {
			return false
		}
	}
	return len(text) == length
}

// MaxTokens is the maximum number of active tokens of an account, including tokens created with them.
const MaxTokens = 200

// TokenQuery selects a page of API tokens, ordered by name.
type TokenQuery struct {
	After   pbx.TokenID // the page begins behind this one; "": at the first
	Limit   int
	Revoked bool // include revoked tokens
}

// Tokens returns a page of API tokens, and the cursor of the next one, "" on the last page. KindInvalid if After does not exist.
func (a *Auth) Tokens(ctx context.Context, q TokenQuery) (page []pbx.Token, next pbx.TokenID, err error) {
	page, ok, err := a.store.Tokens(ctx, q.After, q.Limit+1, q.Revoked)
	switch {
	case err != nil:
		return nil, "", err
	case !ok:
		return nil, "", noCursor()
	case len(page) > q.Limit:
		page = page[:q.Limit]
		next = page[q.Limit-1].ID
	}
	return page, next, nil
}

// notTooManyTokens returns an error if the creator has MaxTokens active tokens. The command line is not bounded, but tokens created with its tokens
// are.
func (a *Auth) notTooManyTokens(ctx context.Context, tx *store.Tx, by pbx.AccountID) error {
	if powersOf(ctx).local {
		return nil
	}
	n, err := tx.CountTokens(ctx, by, a.time())
	if err != nil || n < MaxTokens {
		return err
	}
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeTooManyTokens,
		Msg: fmt.Sprintf("this caller has %d active tokens, the maximum: revoke those that are no longer used", n),
	}
}

// CreateToken creates an API token, which is shown only once. Errors: KindInvalid for the input, KindForbidden for a token with permissions that
// its creator lacks.
func (a *Auth) CreateToken(ctx context.Context, n pbx.NewToken) (pbx.Token, pbx.Secret, error) {
	n, err := n.Clean()
	if err != nil {
		return pbx.Token{}, pbx.Secret{}, err
	}
	by := PrincipalOf(ctx)
	if !powersOf(ctx).over(n.Role, n.Scopes) {
		return pbx.Token{}, pbx.Secret{}, forbidden("a token cannot have permissions that you do not have: choose a lesser role, or fewer scopes")
	}
	now := a.time()
	t := pbx.Token{ID: pbx.TokenID(strings.ToLower(rand.Text()[:tokenID])), Name: n.Name, Role: n.Role, Scopes: n.Scopes, CreatedAt: now}
	if n.Lives > 0 {
		t.ExpiresAt = now.Add(n.Lives)
	}
	if account, ok := by.Account(); ok {
		t.CreatedBy = account.ID
	}
	if parent, ok := by.Token(); ok { // it has the owner of the token it was created with, and expires no later
		t.CreatedBy, t.MadeWith = parent.CreatedBy, parent.ID
		if end := parent.ExpiresAt; !end.IsZero() && (t.ExpiresAt.IsZero() || t.ExpiresAt.After(end)) {
			return pbx.Token{}, pbx.Secret{}, forbidden(fmt.Sprintf("a token cannot outlive the token it is created with, which expires at %s: give a shorter time", end.Format("2006-01-02 15:04 MST")))
		}
	}
	secret := rand.Text() + rand.Text()
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := a.stillProved(ctx, tx); err != nil {
			return err
		}
		if err := a.notTooManyTokens(ctx, tx, t.CreatedBy); err != nil {
			return err
		}
		if err := tx.InsertToken(ctx, t, digest(secret)); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionTokenCreate, tokenObject(t), nil, tokenFacts(t))
	})
	if err != nil {
		return pbx.Token{}, pbx.Secret{}, err
	}
	return t, pbx.SecretFrom(tokenMark + "_" + string(t.ID) + "_" + secret), nil
}

// RevokeToken revokes a token at once, together with the tokens created with it, directly or indirectly: an attacker who had it may have created
// them. The first token returned is the named one. KindNotFound if there is none with this id, or it is revoked already.
func (a *Auth) RevokeToken(ctx context.Context, id pbx.TokenID) (revoked []pbx.Token, err error) {
	none := &pbx.Error{Kind: pbx.KindNotFound, Code: pbx.CodeTokenNotFound, Msg: "there is no such token, or it is revoked: list the tokens to see which there are"}
	if !isCode(string(id), tokenID, 'a', 'z') {
		return nil, none
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := a.stillProved(ctx, tx); err != nil {
			return err
		}
		t, ok, err := tx.Token(ctx, id)
		switch {
		case err != nil:
			return err
		case !ok || !t.RevokedAt.IsZero():
			return none
		case !powersOf(ctx).over(t.Role, t.Scopes):
			return forbidden("this token has permissions that you do not have: ask an owner to revoke it")
		}
		revoked, err = a.revoke(ctx, tx, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return revoked, nil
}

// revoke revokes a token and those created with it, and returns them all.
func (a *Auth) revoke(ctx context.Context, tx *store.Tx, t pbx.Token) (all []pbx.Token, err error) {
	made, err := tx.TokensMadeWith(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	for _, t := range append([]pbx.Token{t}, made...) {
		t.RevokedAt = a.time()
		if err := tx.RevokeToken(ctx, t.ID, t.RevokedAt); err != nil {
			return nil, err
		}
		if err := a.note(ctx, tx, ActionTokenRevoke, tokenObject(t), tokenFacts(t), nil); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// RevokeAll ends all sessions, invalidates all links and revokes all tokens, as after restoring a backup, which would revive what has ended since.
func (a *Auth) RevokeAll(ctx context.Context) (ended store.Ended, err error) {
	if !powersOf(ctx).local {
		return ended, forbidden("only the command line can revoke everything at once: run pbxportal admin after-restore")
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if ended, err = tx.RevokeAll(ctx, a.time()); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionRevokeAll, pbx.AuditObject{Type: "installation"}, nil, pbx.Facts{
			"sessions": strconv.FormatInt(ended.Sessions, 10), "links": strconv.FormatInt(ended.Links, 10), "tokens": strconv.FormatInt(ended.Tokens, 10),
		})
	})
	return ended, err
}

// revokeBeyond revokes the tokens of an account that exceed its new permissions: all of them if it has none left.
func (a *Auth) revokeBeyond(ctx context.Context, tx *store.Tx, id pbx.AccountID, role pbx.Role) error {
	tokens, err := tx.TokensOf(ctx, id)
	if err != nil {
		return err
	}
	left := powers{role: role, permissions: role.Permissions()}
	gone := map[pbx.TokenID]bool{} // revoked together with the token that created it
	for _, t := range tokens {
		if role != "" && left.cover(t.Role, t.Scopes) || gone[t.ID] {
			continue
		}
		revoked, err := a.revoke(ctx, tx, t)
		if err != nil {
			return err
		}
		for _, t := range revoked {
			gone[t.ID] = true
		}
	}
	return nil
}
