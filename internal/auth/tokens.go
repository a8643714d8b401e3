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

// An API token is pbx_ID_SECRET: the mark by which scanners find one that was published, what it is looked up by, and 260 random bits.
const (
	tokenMark    = "pbx"
	tokenID      = 16 // a–z and 2–7
	tokenSecret  = 52 // A–Z and 2–7
	base32Digits = "234567"
)

// parseToken takes an API token apart; ok is false for a text that is none.
func parseToken(text string) (id pbx.TokenID, secret string, ok bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 3 || parts[0] != tokenMark || !isCode(parts[1], tokenID, 'a', 'z') || !isCode(parts[2], tokenSecret, 'A', 'Z') {
		return "", "", false
	}
	return pbx.TokenID(parts[1]), parts[2], true
}

// isCode reports whether a text has this length, and nothing but letters from first to last and the digits of base32.
func isCode(text string, length int, first, last byte) bool {
	for _, c := range []byte(text) {
		if (c < first || c > last) && !strings.ContainsRune(base32Digits, rune(c)) {
			return false
		}
	}
	return len(text) == length
}

// MaxTokens is how many tokens that hold one account may have, with those that were made with them.
const MaxTokens = 200

// TokenQuery selects a page of the API tokens, by name.
type TokenQuery struct {
	After   pbx.TokenID // the page begins behind this one; "": at the first
	Limit   int
	Revoked bool // also those that are revoked
}

// Tokens gives a page of the API tokens, and the id behind which the next begins, "" where this is the last. KindInvalid when After names none.
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

// notTooManyTokens refuses one more token of a maker who has as many as one may have. The command line is not bounded, but what is made with
// its tokens is.
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
		Msg: fmt.Sprintf("this caller has %d tokens that hold, which is as many as one may have: revoke those that are no longer used", n),
	}
}

// CreateToken makes an API token, which is shown this once. Errors: KindInvalid for the input, KindForbidden for a token that could do
// what its maker cannot.
func (a *Auth) CreateToken(ctx context.Context, n pbx.NewToken) (pbx.Token, pbx.Secret, error) {
	n, err := n.Clean()
	if err != nil {
		return pbx.Token{}, pbx.Secret{}, err
	}
	by := PrincipalOf(ctx)
	if !powersOf(ctx).over(n.Role, n.Scopes) {
		return pbx.Token{}, pbx.Secret{}, forbidden("nobody makes a token that may do more than he may himself: choose a lesser role, or fewer scopes")
	}
	now := a.time()
	t := pbx.Token{ID: pbx.TokenID(strings.ToLower(rand.Text()[:tokenID])), Name: n.Name, Role: n.Role, Scopes: n.Scopes, CreatedAt: now}
	if n.Lives > 0 {
		t.ExpiresAt = now.Add(n.Lives)
	}
	if account, ok := by.Account(); ok {
		t.CreatedBy = account.ID
	}
	if parent, ok := by.Token(); ok { // it belongs to whom its maker belongs to, and ends no later
		t.CreatedBy, t.MadeWith = parent.CreatedBy, parent.ID
		if end := parent.ExpiresAt; !end.IsZero() && (t.ExpiresAt.IsZero() || t.ExpiresAt.After(end)) {
			return pbx.Token{}, pbx.Secret{}, forbidden(fmt.Sprintf("a token does not outlive the one it was made with, which ends at %s: give a shorter time", end.Format("2006-01-02 15:04 MST")))
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

// RevokeToken ends a token, from the next request on, and with it those that were made with it, and with these: whoever had it may have made
// them. The first it gives is the one that was named. KindNotFound when there is none of that id, or it was revoked before.
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
			return forbidden("this token may do more than you may yourself: ask an owner to revoke it")
		}
		revoked, err = a.revoke(ctx, tx, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return revoked, nil
}

// revoke ends a token and those that were made with it, and gives them all.
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

// RevokeAll ends all sessions, takes back all links and revokes all tokens, as after restoring a backup, in which what ended since holds again.
func (a *Auth) RevokeAll(ctx context.Context) (ended store.Ended, err error) {
	if !powersOf(ctx).local {
		return ended, forbidden("only the command line revokes all at once: pbxportal admin after-restore")
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

// revokeBeyond revokes the tokens of an account that may do more than it may itself from now on: all of them where it may do nothing.
func (a *Auth) revokeBeyond(ctx context.Context, tx *store.Tx, id pbx.AccountID, role pbx.Role) error {
	tokens, err := tx.TokensOf(ctx, id)
	if err != nil {
		return err
	}
	left := powers{role: role, permissions: role.Permissions()}
	gone := map[pbx.TokenID]bool{} // with one they were made with
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
