// Package auth is about who is calling and what he may do: accounts with passwords and a second factor, their sessions, API tokens of
// programs, and the one-time links that begin it all. It holds the rules of who may change whom; it knows nothing of HTTP, cookies or
// SQL. All that cannot be proved is refused.
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

// How long things hold.
const (
	SessionIdle = 30 * time.Minute // without use
	SessionLife = 12 * time.Hour   // at the most
	SetupLife   = 30 * time.Minute // of the link that makes the first account
	LinkLife    = 24 * time.Hour   // of an invitation or a reset
	FactorLife  = 10 * time.Minute // of a session that still waits for the account's second factor

	// seenEvery is how often the use of a session or a token is noted, and so how exactly it is known.
	seenEvery = time.Minute
	// seenPatience is how long a request waits for that note, which it does not need.
	seenPatience = time.Second
)

// Config is what the service needs.
type Config struct {
	Store        *store.Store
	Now          func() time.Time // tells the time
	SecondFactor pbx.SecondFactor // who must have one

	// HashMemory is how many KiB the hash of a password takes: 0 for what OWASP asks for, 19 MiB. Less is for tests of what comes after.
	HashMemory uint32
}

// Auth is the service. It is safe for concurrent use.
type Auth struct {
	store   *store.Store
	now     func() time.Time
	factor  pbx.SecondFactor
	hasher  *hasher
	pace    *pace
	refused *tally
	done    atomic.Bool // an account was seen: set-up is over for good
}

// New makes the service.
func New(c Config) *Auth {
	return &Auth{store: c.Store, now: c.Now, factor: c.SecondFactor, hasher: newHasher(c.HashMemory), pace: newPace(c.Now), refused: newTally()}
}

// time tells the time as both databases keep it.
func (a *Auth) time() time.Time { return a.now().UTC().Truncate(time.Microsecond) }

// digest is how a proof of random bits is kept. A slow hash would add nothing: there is nothing to guess.
func digest(proof string) []byte {
	sum := sha256.Sum256([]byte(proof))
	return sum[:]
}

// newCode makes a code that a person may have to type: 130 random bits as 26 capitals and digits.
func newCode() pbx.Secret { return pbx.SecretFrom(rand.Text()) }

// powers is what the caller of a context may change accounts and tokens with.
type powers struct {
	local       bool // somebody at the command line of the machine, who could change the database as well
	role        pbx.Role
	permissions []pbx.Permission
}

// powersOf gives the powers of whoever a context works for. That is nobody, unless it is somebody at the command line, or a caller who
// has proved who he is.
func powersOf(ctx context.Context) powers {
	if p := PrincipalOf(ctx); p.Known() {
		return powers{role: p.role, permissions: p.permissions}
	}
	return powers{local: pbx.ActorOf(ctx).Kind == pbx.ActorLocal}
}

// over reports whether these powers reach over an account or a token with that role and these scopes: nobody gives, changes or takes
// what he does not have himself, and owners are changed by owners only.
func (p powers) over(role pbx.Role, scopes []pbx.Permission) bool {
	return p.local || slices.Contains(p.permissions, pbx.AccountsWrite) && p.cover(role, scopes)
}

// cover reports whether whoever has these powers may himself do all that this role with these scopes may.
func (p powers) cover(role pbx.Role, scopes []pbx.Permission) bool {
	if role == pbx.Owner && p.role != pbx.Owner {
		return false
	}
	return !slices.ContainsFunc(granted(role, scopes), func(wanted pbx.Permission) bool { return !slices.Contains(p.permissions, wanted) })
}

// stillProved refuses a caller whose token was revoked, or whose account lost what it may, since he was let in: what somebody makes who may
// manage accounts stays, so a request that was under way when he was stopped must not come to its end. The writers' lock is held.
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
		Msg: "this is about the account of a person, and a token has none: sign in with an e-mail address and a password",
	}
}

// self gives the account of the person who is calling, whose second factor is not outstanding.
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
