package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

const sessionColumns = `s.id, s.account_id, s.created_at, s.last_seen_at, s.expires_at, s.from_address, s.user_agent, s.vouched, s.owes_factor`

// Session returns the session with a hash, and its account, in one query; ok is false if there is none. The caller checks whether it is still
// valid.
func (s *Store) Session(ctx context.Context, hash []byte) (session pbx.Session, account pbx.Account, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	const query = `SELECT ` + accountColumns + `, ` + sessionColumns + ` FROM sessions s JOIN accounts a ON a.id = s.account_id WHERE s.hash = $1`
	c, ok, err := found(scanAccount(s.read.QueryRowContext(ctx, query, hash), sessionInto(&session)...))
	inUTC(&session)
	return session, c.Account, ok, s.fault("look up a session", err)
}

// Sessions returns the sessions of an account, newest first.
func (s *Store) Sessions(ctx context.Context, id pbx.AccountID) ([]pbx.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	sessions, err := gather(ctx, s.read, func(r row) (session pbx.Session, err error) {
		err = r.Scan(sessionInto(&session)...)
		inUTC(&session)
		return session, err
	}, `SELECT `+sessionColumns+` FROM sessions s WHERE s.account_id = $1 ORDER BY s.created_at DESC, s.id`, string(id))
	return sessions, s.fault("list sessions", err)
}

// mostSessions is the maximum number of sessions of an account: one more ends the oldest. Sessions that owe the second factor are counted
// separately, so that they cannot end complete ones.
const mostSessions = 50

// InsertSession adds a session, and removes expired and surplus ones.
func (t *Tx) InsertSession(ctx context.Context, s pbx.Session, hash []byte) error {
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM sessions WHERE expires_at <= $1`, s.CreatedAt); err != nil {
		return err
	}
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM sessions WHERE account_id = $1 AND owes_factor = $2 AND id NOT IN
(SELECT id FROM sessions WHERE account_id = $1 AND owes_factor = $2 ORDER BY created_at DESC, id LIMIT $3)`,
		string(s.Account), s.OwesFactor, mostSessions-1); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO sessions (id, hash, account_id, created_at, last_seen_at, expires_at, from_address, user_agent, vouched, owes_factor)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		string(s.ID), hash, string(s.Account), s.CreatedAt, s.LastSeenAt, s.ExpiresAt, s.From, s.UserAgent, s.Vouched, s.OwesFactor)
	return err
}

// SeeSession records the use of a session.
func (t *Tx) SeeSession(ctx context.Context, id pbx.SessionID, now time.Time) error {
	_, err := t.tx.ExecContext(ctx, `UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2`, string(id), now)
	return err
}

// DeleteSession ends a session of an account, and reports whether it existed.
func (t *Tx) DeleteSession(ctx context.Context, account pbx.AccountID, id pbx.SessionID) (had bool, err error) {
	return changed(t.tx.ExecContext(ctx, `DELETE FROM sessions WHERE account_id = $1 AND id = $2`, string(account), string(id)))
}

// DeleteSessions ends all sessions of an account.
func (t *Tx) DeleteSessions(ctx context.Context, account pbx.AccountID) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM sessions WHERE account_id = $1`, string(account))
	return err
}

// DeleteOtherSessions ends all sessions of an account except one.
func (t *Tx) DeleteOtherSessions(ctx context.Context, account pbx.AccountID, but pbx.SessionID) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM sessions WHERE account_id = $1 AND id <> $2`, string(account), string(but))
	return err
}

// DeleteSessionByHash ends the session with a hash, if there is one.
func (t *Tx) DeleteSessionByHash(ctx context.Context, hash []byte) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM sessions WHERE hash = $1`, hash)
	return err
}

func sessionInto(s *pbx.Session) []any {
	return []any{(*string)(&s.ID), (*string)(&s.Account), &s.CreatedAt, &s.LastSeenAt, &s.ExpiresAt, &s.From, &s.UserAgent, &s.Vouched, &s.OwesFactor}
}

func inUTC(s *pbx.Session) {
	s.CreatedAt, s.LastSeenAt, s.ExpiresAt = s.CreatedAt.UTC(), s.LastSeenAt.UTC(), s.ExpiresAt.UTC()
}

// OneTimeCode is the stored form of a one-time link.
type OneTimeCode struct {
	Purpose   pbx.LinkPurpose
	Account   pbx.AccountID // "" for one that creates the first account
	CreatedAt time.Time
	ExpiresAt time.Time
}

const selectCode = `SELECT purpose, account_id, created_at, expires_at FROM one_time_codes WHERE hash = $1`

// OneTimeCode returns the one-time code with a hash; ok is false if there is none.
func (s *Store) OneTimeCode(ctx context.Context, hash []byte) (c OneTimeCode, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	c, ok, err = found(scanCode(s.read.QueryRowContext(ctx, selectCode, hash)))
	return c, ok, s.fault("look up a one-time code", err)
}

// OneTimeCode returns the one-time code with a hash; ok is false if there is none.
func (t *Tx) OneTimeCode(ctx context.Context, hash []byte) (c OneTimeCode, ok bool, err error) {
	return found(scanCode(t.tx.QueryRowContext(ctx, selectCode, hash)))
}

// ReplaceOneTimeCode adds a one-time code, and removes any other of its account, or for the first account.
func (t *Tx) ReplaceOneTimeCode(ctx context.Context, c OneTimeCode, hash []byte) error {
	if err := t.DeleteOneTimeCodes(ctx, c.Account); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO one_time_codes (hash, purpose, account_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		hash, string(c.Purpose), sql.NullString{String: string(c.Account), Valid: c.Account != ""}, c.CreatedAt, c.ExpiresAt)
	return err
}

// DeleteOneTimeCodes removes the one-time codes of an account, or, for "", those for the first account.
func (t *Tx) DeleteOneTimeCodes(ctx context.Context, account pbx.AccountID) error {
	if account == "" {
		_, err := t.tx.ExecContext(ctx, `DELETE FROM one_time_codes WHERE account_id IS NULL`)
		return err
	}
	_, err := t.tx.ExecContext(ctx, `DELETE FROM one_time_codes WHERE account_id = $1`, string(account))
	return err
}

func scanCode(r row) (OneTimeCode, error) {
	var c OneTimeCode
	var account sql.NullString
	err := r.Scan((*string)(&c.Purpose), &account, &c.CreatedAt, &c.ExpiresAt)
	c.Account, c.CreatedAt, c.ExpiresAt = pbx.AccountID(account.String), c.CreatedAt.UTC(), c.ExpiresAt.UTC()
	return c, err
}

const selectToken = `SELECT id, name, role, scopes, created_at, created_by, made_with, expires_at, last_used_at, revoked_at, hash FROM api_tokens ` //nolint:gosec // it holds no token

// Token returns the token of an id, with the hash of its secret, in one query; ok is false if there is none. The caller checks whether it is still
// valid.
func (s *Store) Token(ctx context.Context, id pbx.TokenID) (token pbx.Token, hash []byte, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	token, ok, err = found(scanToken(s.read.QueryRowContext(ctx, selectToken+`WHERE id = $1`, string(id)), &hash))
	return token, hash, ok, s.fault("look up a token", err)
}

// Token returns the token of an id; ok is false if there is none.
func (t *Tx) Token(ctx context.Context, id pbx.TokenID) (token pbx.Token, ok bool, err error) {
	return found(scanOneToken(t.tx.QueryRowContext(ctx, selectToken+`WHERE id = $1`, string(id))))
}

// Tokens returns up to limit tokens, ordered by name, that follow the named one ("": from the first), with revoked ones only on request. ok is
// false if the named one does not exist.
func (s *Store) Tokens(ctx context.Context, after pbx.TokenID, limit int, revoked bool) (tokens []pbx.Token, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	if after != "" {
		if _, _, ok, err = s.Token(ctx, after); err != nil || !ok {
			return nil, false, err
		}
	}
	tokens, err = gather(ctx, s.read, scanOneToken, selectToken+`WHERE (revoked_at IS NULL OR $1)
AND ($2 = '' OR (lower(name), created_at, id) > (SELECT lower(name), created_at, id FROM api_tokens WHERE id = $2))
ORDER BY lower(name), created_at, id LIMIT $3`, revoked, string(after), limit)
	return tokens, true, s.fault("list tokens", err)
}

// CountTokens counts the active tokens of a creator ("": the command line).
func (t *Tx) CountTokens(ctx context.Context, by pbx.AccountID, now time.Time) (n int, err error) {
	where, args := `created_by IS NULL`, []any{now}
	if by != "" {
		where, args = `created_by = $2`, append(args, string(by))
	}
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM api_tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1) AND `+where, args...).Scan(&n)
	return n, err
}

// Ended counts what RevokeAll ended.
type Ended struct{ Sessions, Links, Tokens int64 }

// RevokeAll ends every session, removes every one-time code, and revokes every active token.
func (t *Tx) RevokeAll(ctx context.Context, now time.Time) (e Ended, err error) {
	for _, c := range []struct {
		ended *int64
		query string
		args  []any
	}{
		{&e.Sessions, `DELETE FROM sessions`, nil},
		{&e.Links, `DELETE FROM one_time_codes`, nil},
		{&e.Tokens, `UPDATE api_tokens SET revoked_at = $1 WHERE revoked_at IS NULL`, []any{now}},
	} {
		result, err := t.tx.ExecContext(ctx, c.query, c.args...)
		if err != nil {
			return e, err
		}
		if *c.ended, err = result.RowsAffected(); err != nil {
			return e, err
		}
	}
	return e, nil
}

// TokensOf returns the tokens created by an account that are not revoked.
func (t *Tx) TokensOf(ctx context.Context, account pbx.AccountID) ([]pbx.Token, error) {
	return gather(ctx, t.tx, scanOneToken, selectToken+`WHERE created_by = $1 AND revoked_at IS NULL ORDER BY id`, string(account))
}

// TokensMadeWith returns the tokens created with a token, directly or indirectly, that are not revoked.
func (t *Tx) TokensMadeWith(ctx context.Context, id pbx.TokenID) ([]pbx.Token, error) {
	return gather(ctx, t.tx, scanOneToken, `WITH RECURSIVE made (id) AS (
    SELECT id FROM api_tokens WHERE made_with = $1 UNION SELECT api_tokens.id FROM api_tokens JOIN made ON api_tokens.made_with = made.id)
`+selectToken+`WHERE id IN (SELECT id FROM made) AND revoked_at IS NULL ORDER BY id`, string(id))
}

// InsertToken adds a token with the hash of its secret.
func (t *Tx) InsertToken(ctx context.Context, token pbx.Token, hash []byte) error {
	scopes := make([]string, len(token.Scopes))
	for i, scope := range token.Scopes {
		scopes[i] = string(scope)
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO api_tokens (id, hash, name, role, scopes, created_at, created_by, expires_at, made_with)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, string(token.ID), hash, token.Name, string(token.Role), strings.Join(scopes, " "), token.CreatedAt,
		sql.NullString{String: string(token.CreatedBy), Valid: token.CreatedBy != ""}, orNull(token.ExpiresAt),
		sql.NullString{String: string(token.MadeWith), Valid: token.MadeWith != ""})
	return err
}

// RevokeToken records the revocation of a token.
func (t *Tx) RevokeToken(ctx context.Context, id pbx.TokenID, now time.Time) error {
	_, err := t.tx.ExecContext(ctx, `UPDATE api_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL`, string(id), now)
	return err
}

// SeeToken records the use of a token.
func (t *Tx) SeeToken(ctx context.Context, id pbx.TokenID, now time.Time) error {
	_, err := t.tx.ExecContext(ctx, `UPDATE api_tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)`, string(id), now)
	return err
}

// scanOneToken is scanToken for callers that do not compare the hash.
func scanOneToken(r row) (pbx.Token, error) {
	var hash []byte
	return scanToken(r, &hash)
}

// scanToken scans a row of selectToken. An unknown scope is an error: ignoring it could widen the token's permissions.
func scanToken(r row, hash *[]byte) (pbx.Token, error) {
	var t pbx.Token
	var scopes string
	var by, with sql.NullString
	var expires, used, revoked sql.NullTime
	err := r.Scan((*string)(&t.ID), &t.Name, (*string)(&t.Role), &scopes, &t.CreatedAt, &by, &with, &expires, &used, &revoked, hash)
	t.CreatedBy, t.MadeWith = pbx.AccountID(by.String), pbx.TokenID(with.String)
	t.CreatedAt, t.ExpiresAt, t.LastUsedAt, t.RevokedAt = t.CreatedAt.UTC(), orZero(expires), orZero(used), orZero(revoked)
	if err != nil || scopes == "" {
		return t, err
	}
	for scope := range strings.SplitSeq(scopes, " ") {
		if !slices.Contains(pbx.Permissions(), pbx.Permission(scope)) {
			return pbx.Token{}, errors.Join(err, fmt.Errorf("token %s has the unknown scope %q", t.ID, scope))
		}
		t.Scopes = append(t.Scopes, pbx.Permission(scope))
	}
	return t, nil
}
