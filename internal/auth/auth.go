// Package auth authenticates and authorises callers: accounts with passwords and second factors, their sessions, API tokens, and one-time links for
// invitations and resets. It holds the rules of who may manage whom. It knows nothing of HTTP, cookies or SQL. Unauthenticated callers are refused
// by default.
package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync/atomic"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Lifetimes.
const (
	SessionIdle = 30 * time.Minute // idle timeout
	SessionLife = 12 * time.Hour   // absolute limit
	SetupLife   = 30 * time.Minute // of the link that creates the first account
	LinkLife    = 24 * time.Hour   // of an invitation or a reset
	FactorLife  = 10 * time.Minute // of a session that still waits for the second factor

	// seenEvery is how often the last use of a session or token is recorded, and so its resolution.
	seenEvery = time.Minute
	// seenTimeout bounds the recording of the last use, which no request depends on.
	seenTimeout = time.Second
)

// Config holds the dependencies and settings of Auth.
type Config struct {
	Store        *store.Store
	Now          func() time.Time // returns the current time
	SecondFactor pbx.SecondFactor // who must have a second factor

	// HashMemory is the memory of a password hash in KiB; 0 means OWASP's recommendation, 19 MiB. Tests use less.
	HashMemory uint32
}

// Auth is the authentication service. It is safe for concurrent use.
type Auth struct {
	store   *store.Store
	now     func() time.Time
	factor  pbx.SecondFactor
	hasher  *hasher
	pace    *pace
	refused *tally
	done    atomic.Bool // an account exists: set-up is complete for good
}

// New returns an Auth.
func New(c Config) *Auth {
	return &Auth{store: c.Store, now: c.Now, factor: c.SecondFactor, hasher: newHasher(c.HashMemory), pace: newPace(c.Now), refused: newTally()}
}

// time returns the current time in the precision of both databases.
func (a *Auth) time() time.Time { return a.now().UTC().Truncate(time.Microsecond) }

// digest returns the hash under which a random credential is stored. A slow hash would add nothing: the credentials cannot be guessed.
func digest(proof string) []byte {
	sum := sha256.Sum256([]byte(proof))
	return sum[:]
}

// newCode returns a random code that a person can type: 130 random bits as 26 capitals and digits.
func newCode() pbx.Secret { return pbx.SecretFrom(rand.Text()) }

// powers describes which accounts and tokens a caller may manage.
type powers struct {
	local       bool // the command line on this host, which can change the database as well
	role        pbx.Role
	permissions []pbx.Permission
}

// powersOf returns the powers of the caller in ctx. Without an authenticated caller or the command line there are none.
func powersOf(ctx context.Context) powers {
	if p := PrincipalOf(ctx); p.Known() {
		return powers{role: p.role, permissions: p.permissions}
	}
	return powers{local: pbx.ActorOf(ctx).Kind == pbx.ActorLocal}
}

// over reports whether the powers extend to an account or token with this role and these scopes. Callers cannot grant, change or revoke permissions
// that they do not have, and only owners manage owners.
func (p powers) over(role pbx.Role, scopes []pbx.Permission) bool {
	return p.local || slices.Contains(p.permissions, pbx.AccountsWrite) && p.cover(role, scopes)
}

// cover reports whether the caller has every permission that this role with these scopes grants.
func (p powers) cover(role pbx.Role, scopes []pbx.Permission) bool {
	if role == pbx.Owner && p.role != pbx.Owner {
		return false
	}
	return !slices.ContainsFunc(granted(role, scopes), func(wanted pbx.Permission) bool { return !slices.Contains(p.permissions, wanted) })
}

// stillProved returns an error if the caller's token was revoked, or the account lost permissions, since the request was authenticated: accounts
// and tokens that a revoked caller creates would remain. The caller holds the writers' lock.
func (a *Auth) stillProved(ctx context.Context, tx *store.Tx) error {
	p := PrincipalOf(ctx)
	if token, ok := p.Token(); ok {
		if now, ok, err := tx.Token(ctx, token.ID); err != nil || !ok || !now.RevokedAt.IsZero() {
			return cmp.Or(err, notSignedIn())
		}
	}
	if account, ok := p.Account(); ok {
		if now, ok, err := tx.Account(ctx, account.ID); err != nil || !ok || now.Disabled || now.Invited || now.Role != account.Role {
			return cmp.Or(err, notSignedIn())
		}
	}
	return nil
}

func forbidden(msg string) error {
	return &pbx.Error{Kind: pbx.KindForbidden, Code: pbx.CodeForbidden, Msg: msg}
}

func personsOnly() error {
	return &pbx.Error{
		Kind: pbx.KindForbidden, Code: pbx.CodePersonsOnly,
		Msg: "this request requires a user session, not a token: sign in with an e-mail address and a password",
	}
}

// self returns the account of the calling user, whose second factor is not outstanding.
func self(ctx context.Context) (pbx.Account, error) {
	p := PrincipalOf(ctx)
	account, ok := p.Account()
	switch {
	case p.OwesFactor():
		return account, OTPRequired()
	case ok:
		return account, nil
	case p.Known():
		return account, personsOnly()
	}
	return account, notSignedIn()
}
