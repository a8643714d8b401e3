package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// sessionLength is the length of a session token: 256 random bits in unpadded base64url.
const sessionLength = 43

// SignIn is the input of a sign-in. The client's address is in the context, with the actor.
type SignIn struct {
	Email     string
	Password  pbx.Secret
	OTP       string // of the second factor, or a recovery code; "" for none
	UserAgent string
	Replaces  string // the token of a session that ends with this sign-in; "" for none
}

// SessionGrant is a new session with its token.
type SessionGrant struct {
	Principal Principal
	Token     pbx.Secret
}

// SignIn opens a session. Errors: KindNotSignedIn, which reveals only that a second factor is missing if everything else was right; KindTooMany
// after too many failures.
func (a *Auth) SignIn(ctx context.Context, s SignIn) (SessionGrant, error) {
	try, err := a.pace.begin(pbx.ActorOf(ctx).From, s.Email)
	if err != nil {
		return SessionGrant{}, err
	}
	c, known, err := a.accountByEmail(ctx, s.Email)
	if err != nil {
		try.takeBack()
		return SessionGrant{}, err
	}
	right, err := a.passwordIs(ctx, c, s.Password)
	if err != nil {
		try.takeBack()
		return SessionGrant{}, err
	}
	if !known || !right || c.Disabled {
		return SessionGrant{}, a.refuse(ctx, c.Account, known, s.Email)
	}
	var opened SessionGrant
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now, ok, err := tx.Account(ctx, c.ID)
		switch {
		case err != nil:
			return err
		case !ok || now.Disabled || now.PasswordHash != c.PasswordHash: // changed since it was read
			return signInFailed()
		}
		if err = a.secondFactor(ctx, tx, &now, s.OTP); err != nil {
			return err
		}
		if s.Replaces != "" {
			if err = tx.DeleteSessionByHash(ctx, digest(s.Replaces)); err != nil {
				return err
			}
		}
		now.LastSignIn = a.time()
		if err = tx.UpdateAccount(ctx, now); err != nil {
			return err
		}
		opened, err = a.open(byPerson(ctx, now.Account), tx, now.Account, s.UserAgent, proved{factor: true})
		return err
	})
	switch {
	case err == nil:
		try.succeeded()
	case pbx.CodeOf(err) != pbx.CodeSignInFailed: // not a guess: a second factor is missing, or the database is unavailable
		try.takeBack()
	default:
		err = a.refuse(ctx, c.Account, true, s.Email)
	}
	if err != nil {
		return SessionGrant{}, err
	}
	return opened, nil
}

// refuse records a failed sign-in, and returns its error. The typed address is recorded only if it is valid: users type passwords into the wrong
// field.
func (a *Auth) refuse(ctx context.Context, account pbx.Account, known bool, typed string) error {
	object := accountObject(account)
	if email, err := pbx.CleanEmail(typed); !known && err == nil {
		object.Name = email
	}
	if err := a.refusal(ctx, ActionSignInFailed, strings.ToLower(object.ID+" "+object.Name), object, nil); err != nil {
		return err
	}
	return signInFailed()
}

// accountByEmail looks up an account. An invalid address matches none.
func (a *Auth) accountByEmail(ctx context.Context, email string) (store.Credentials, bool, error) {
	email, err := pbx.CleanEmail(email)
	if err != nil {
		return store.Credentials{}, false, nil //nolint:nilerr // treated like an unknown address
	}
	return a.store.AccountByEmail(ctx, email)
}

// passwordIs reports whether the account has this password. It takes the same time if there is no account or no password.
func (a *Auth) passwordIs(ctx context.Context, c store.Credentials, password pbx.Secret) (bool, error) {
	if len(password.Reveal()) > 4*MaxPassword {
		password = pbx.SecretFrom("") // no password is that long or empty
	}
	hash := c.PasswordHash
	if hash == "" {
		hash = a.hasher.decoy()
	}
	right, err := a.hasher.verify(ctx, password, hash)
	return right && c.PasswordHash != "", err
}

// secondFactor checks the second factor of an account that has one, and marks the code as used in c.
func (a *Auth) secondFactor(ctx context.Context, tx *store.Tx, c *store.Credentials, given string) error {
	if !c.TOTP {
		return nil
	}
	code, recovery := cleanOTP(given)
	switch {
	case code == "":
		return OTPRequired()
	case recovery:
		had, err := tx.UseRecoveryCode(ctx, c.ID, digest(code))
		if err == nil && !had {
			err = signInFailed()
		}
		return err
	}
	secret, err := a.store.OpenFactor(c.ID, c.TOTPSecret)
	if err != nil {
		return err
	}
	ok, err := a.useCode(ctx, tx, c, secret, code)
	if err == nil && !ok {
		err = signInFailed()
	}
	return err
}

// useCode uses up a code of a second factor, and reports whether it was valid. A code at or before the last used one is not. A last one in the
// future was written by a wrong clock: it is ignored, as it would lock the user out until then, and recorded in the audit trail. No code is ever
// accepted twice, whatever the clock said: each used step is stored.
func (a *Auth) useCode(ctx context.Context, tx *store.Tx, c *store.Credentials, secret pbx.Secret, code string) (ok bool, err error) {
	now, last, facts := a.now(), c.TOTPStep, pbx.Facts(nil)
	if current := totpNow(now); last > current+totpSkew {
		facts = pbx.Facts{"remembered_step": strconv.FormatInt(last, 10), "current_step": strconv.FormatInt(current, 10)}
		last = 0
	}
	step, ok := totpStep(secret, code, now, last)
	if !ok {
		return false, nil
	}
	if ok, err = tx.UseTOTPStep(ctx, c.ID, step); err != nil || !ok {
		return false, err
	}
	c.TOTPStep = step
	if facts != nil {
		err = a.note(ctx, tx, ActionTOTPClock, accountObject(c.Account), nil, facts)
	}
	return err == nil, err
}

// OTPRequired returns the error for a caller whose sign-in lacks only the second factor.
func OTPRequired() error {
	return &pbx.Error{
		Kind: pbx.KindNotSignedIn, Code: pbx.CodeOTPRequired,
		Msg: "this account requires its second factor as well: give the authenticator's current code or a recovery code",
	}
}

// ProveFactor verifies the second factor that the caller's session still owes, and replaces the session by a complete one. Errors: KindNotSignedIn
// for a wrong or missing code; KindConflict if no factor is owed; KindTooMany.
func (a *Auth) ProveFactor(ctx context.Context, otp, userAgent string) (opened SessionGrant, err error) {
	p := PrincipalOf(ctx)
	account, ok := p.Account()
	switch {
	case !ok && p.Known():
		return opened, personsOnly()
	case !ok:
		return opened, notSignedIn()
	case !p.OwesFactor():
		return opened, &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeTOTPOff, Msg: "this session has already passed the second factor: continue with it"}
	}
	try, err := a.pace.begin(pbx.ActorOf(ctx).From, account.Email)
	if err != nil {
		return opened, err
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		c, ok, err := tx.Account(ctx, account.ID)
		switch {
		case err != nil:
			return err
		case !ok || c.Disabled || c.Invited:
			return notSignedIn()
		}
		if had, err := tx.DeleteSession(ctx, c.ID, p.Session()); err != nil || !had {
			return cmp.Or(err, notSignedIn())
		}
		if err = a.secondFactor(ctx, tx, &c, otp); err != nil {
			return err
		}
		if err = tx.UpdateAccount(ctx, c); err != nil {
			return err
		}
		opened, err = a.open(ctx, tx, c.Account, userAgent, proved{factor: true, vouched: p.session.Vouched})
		return err
	})
	switch {
	case err == nil:
		try.succeeded()
	case pbx.CodeOf(err) != pbx.CodeSignInFailed: // not a guess
		try.takeBack()
	default:
		err = a.refuse(ctx, account, true, account.Email)
	}
	if err != nil {
		return SessionGrant{}, err
	}
	return opened, nil
}

// proved states which factors the sign-in has passed.
type proved struct {
	factor  bool // a second factor, at the portal or the provider
	vouched bool // a provider answers for the required second factor
}

// open opens a session in a context of the user. All sessions are opened here, so none bypasses an enabled second factor: without it, the session
// owes it.
func (a *Auth) open(ctx context.Context, tx *store.Tx, account pbx.Account, userAgent string, by proved) (SessionGrant, error) {
	now := a.time()
	s := pbx.Session{
		ID: pbx.SessionID(uuid.NewString()), Account: account.ID, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(SessionLife),
		From: oneLine(pbx.ActorOf(ctx).From), UserAgent: oneLine(userAgent), Vouched: by.vouched, OwesFactor: account.TOTP && !by.factor,
	}
	facts := pbx.Facts{"account_id": string(account.ID), "user_agent": s.UserAgent}
	if s.OwesFactor {
		s.ExpiresAt, facts["owes_factor"] = now.Add(FactorLife), "true"
	}
	token := newSessionToken()
	if err := tx.InsertSession(ctx, s, digest(token.Reveal())); err != nil {
		return SessionGrant{}, err
	}
	if err := a.note(ctx, tx, ActionSignIn, sessionObject(s.ID, account), nil, facts); err != nil {
		return SessionGrant{}, err
	}
	return SessionGrant{ofAccount(account, s, a.factor), token}, nil
}

func newSessionToken() pbx.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program if the system has no randomness
	return pbx.SecretFrom(base64.RawURLEncoding.EncodeToString(b[:]))
}

// oneLine reduces a client's text to one line that can be stored and displayed.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > pbx.MaxText {
		return string(runes[:pbx.MaxText])
	}
	return text
}

// Credentials are the credentials of a request.
type Credentials struct {
	Session string // a session token, from a cookie
	Bearer  string // an API token; takes precedence
}

// Authenticate returns the caller. The error is of KindNotSignedIn, without a reason, if the credentials are missing or invalid. It costs one
// query, and once a minute a write that records the last use.
func (a *Auth) Authenticate(ctx context.Context, p Credentials) (Principal, error) {
	who, used, err := a.prove(ctx, p)
	if used != nil {
		a.seen(ctx, used)
	}
	return who, err
}

// Revalidate returns the caller like Authenticate, for a response that continues (a stream). It does not count as use of a session: an open page
// does not keep its user signed in.
func (a *Auth) Revalidate(ctx context.Context, p Credentials) (Principal, error) {
	who, _, err := a.prove(ctx, p)
	return who, err
}

// use records the use of a session or token.
type use func(context.Context, *store.Tx) error

// prove returns the caller and the pending record of its use, nil if none is due.
func (a *Auth) prove(ctx context.Context, p Credentials) (Principal, use, error) {
	switch {
	case p.Bearer != "":
		return a.bearer(ctx, p.Bearer)
	case p.Session != "":
		return a.session(ctx, p.Session)
	}
	return Principal{}, nil, notSignedIn()
}

func (a *Auth) session(ctx context.Context, token string) (who Principal, used use, err error) {
	if !isSessionToken(token) {
		return who, nil, notSignedIn()
	}
	s, account, ok, err := a.store.Session(ctx, digest(token))
	switch now := a.now(); {
	case err != nil:
		return who, nil, err
	case !ok, account.Disabled, account.Invited, !holds(s, now):
		return who, nil, notSignedIn()
	case now.Sub(s.LastSeenAt) >= seenEvery:
		used = func(ctx context.Context, tx *store.Tx) error { return tx.SeeSession(ctx, s.ID, a.time()) }
	}
	return ofAccount(account, s, a.factor), used, nil
}

// isSessionToken reports whether a text has the form of a session token. The decoder would skip line breaks, which no token has.
func isSessionToken(text string) bool {
	if len(text) != sessionLength || strings.ContainsAny(text, "\r\n") {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil
}

// holds reports whether a session has neither expired nor, by a clock that was set back, not yet begun.
func holds(s pbx.Session, now time.Time) bool {
	return !s.CreatedAt.After(now) && now.Before(s.ExpiresAt) &&
		now.Sub(s.LastSeenAt) < SessionIdle && s.LastSeenAt.Sub(now) <= seenEvery
}

func (a *Auth) bearer(ctx context.Context, text string) (who Principal, used use, err error) {
	id, secret, ok := parseToken(text)
	if !ok {
		return who, nil, notSignedIn()
	}
	t, hash, ok, err := a.store.Token(ctx, id)
	switch now := a.now(); {
	case err != nil:
		return who, nil, err
	case !ok, subtle.ConstantTimeCompare(hash, digest(secret)) != 1, !t.RevokedAt.IsZero(), t.CreatedAt.After(now),
		!t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return who, nil, notSignedIn()
	case now.Sub(t.LastUsedAt) >= seenEvery:
		used = func(ctx context.Context, tx *store.Tx) error { return tx.SeeToken(ctx, t.ID, a.time()) }
	}
	return ofToken(t), used, nil
}

// seen records the use of a session or token. A failure is harmless: the session ends early.
func (a *Auth) seen(ctx context.Context, used use) {
	ctx, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	_ = a.store.InTx(ctx, used)
}

// SignOut ends the caller's session.
func (a *Auth) SignOut(ctx context.Context) error {
	account, ok := PrincipalOf(ctx).Account()
	if !ok {
		_, err := self(ctx)
		return err
	}
	return a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		id := PrincipalOf(ctx).Session()
		if had, err := tx.DeleteSession(ctx, account.ID, id); err != nil || !had {
			return err
		}
		return a.note(ctx, tx, ActionSignOut, sessionObject(id, account), nil, nil)
	})
}

// Sessions returns the caller's active sessions, newest first.
func (a *Auth) Sessions(ctx context.Context) ([]pbx.Session, error) {
	account, err := self(ctx)
	if err != nil {
		return nil, err
	}
	all, err := a.store.Sessions(ctx, account.ID)
	open, now := []pbx.Session{}, a.now()
	for _, s := range all {
		if holds(s, now) {
			open = append(open, s)
		}
	}
	return open, err
}

// EndSession ends one of the caller's own sessions; KindNotFound if there is none with this id.
func (a *Auth) EndSession(ctx context.Context, id pbx.SessionID) error {
	account, err := self(ctx)
	if err != nil {
		return err
	}
	none := &pbx.Error{Kind: pbx.KindNotFound, Code: pbx.CodeSessionNotFound, Msg: "this account has no such session: list the sessions to see which there are"}
	id, ok := pbx.CanonicalID(id)
	if !ok {
		return none
	}
	return a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		had, err := tx.DeleteSession(ctx, account.ID, id)
		switch {
		case err != nil:
			return err
		case !had:
			return none
		}
		return a.note(ctx, tx, ActionSessionEnd, sessionObject(id, account), nil, nil)
	})
}

func notSignedIn() error {
	return &pbx.Error{
		Kind: pbx.KindNotSignedIn, Code: pbx.CodeNotSignedIn,
		Msg: "sign in, or send a valid token in the header Authorization: Bearer …; create one with pbxportal token create",
	}
}

func signInFailed() error {
	return &pbx.Error{
		Kind: pbx.KindNotSignedIn, Code: pbx.CodeSignInFailed,
		Msg: "the e-mail address, password or second factor is wrong: try again, or ask for a reset",
	}
}
