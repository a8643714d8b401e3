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

// sessionLength is the length of a session's token: 256 random bits in unpadded base64url.
const sessionLength = 43

// SignIn is what somebody says who wants to sign in. The address he comes from stands in the context, with the actor.
type SignIn struct {
	Email     string
	Password  pbx.Secret
	OTP       string // of the second factor, or a recovery code; "" where none was given
	UserAgent string
	Replaces  string // the token of a session that ends with this sign-in, "" for none
}

// Opened is a session that was just opened, with the token that proves it.
type Opened struct {
	Principal Principal
	Token     pbx.Secret
}

// SignIn opens a session. Errors: KindNotSignedIn, which says nothing of what was wrong but that a second factor is missing where all else
// was right; KindTooMany after too many failures.
func (a *Auth) SignIn(ctx context.Context, s SignIn) (Opened, error) {
	try, err := a.pace.begin(pbx.ActorOf(ctx).From, s.Email)
	if err != nil {
		return Opened{}, err
	}
	c, known, err := a.accountByEmail(ctx, s.Email)
	if err != nil {
		try.takeBack()
		return Opened{}, err
	}
	right, err := a.passwordIs(ctx, c, s.Password)
	if err != nil {
		try.takeBack()
		return Opened{}, err
	}
	if !known || !right || c.Disabled {
		return Opened{}, a.refuse(ctx, c.Account, known, s.Email)
	}
	var opened Opened
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now, ok, err := tx.Account(ctx, c.ID)
		switch {
		case err != nil:
			return err
		case !ok || now.Disabled || now.PasswordHash != c.PasswordHash: // since we looked
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
	case pbx.CodeOf(err) != pbx.CodeSignInFailed: // no guess: a second factor is missing, or the database is away
		try.takeBack()
	default:
		err = a.refuse(ctx, c.Account, true, s.Email)
	}
	if err != nil {
		return Opened{}, err
	}
	return opened, nil
}

// refuse notes a failed sign-in, and gives the error for it. What was typed as an address is kept only where it is one: people type their
// password in the wrong place.
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

// accountByEmail looks for an account. A text that is no address is nobody's.
func (a *Auth) accountByEmail(ctx context.Context, email string) (store.Credentials, bool, error) {
	email, err := pbx.CleanEmail(email)
	if err != nil {
		return store.Credentials{}, false, nil //nolint:nilerr // it is the same as an address nobody has
	}
	return a.store.AccountByEmail(ctx, email)
}

// passwordIs reports whether the account has this password. It takes as long where there is no account, or none with a password.
func (a *Auth) passwordIs(ctx context.Context, c store.Credentials, password pbx.Secret) (bool, error) {
	if len(password.Reveal()) > 4*MaxPassword {
		password = pbx.SecretFrom("") // nobody has one that long, or an empty one
	}
	hash := c.PasswordHash
	if hash == "" {
		hash = a.hasher.decoy()
	}
	right, err := a.hasher.verify(ctx, password, hash)
	return right && c.PasswordHash != "", err
}

// secondFactor checks the second factor of an account that has one, and uses the code up in c.
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

// useCode uses up a code of a second factor, and reports whether it was one that holds. A code before the last that was used does not; a last
// one that lies in the future was written by a clock that was wrong, so it is not heeded (it would lock its owner out until then), and the
// trail tells of it. What was used once is never used again, whatever the clock said meanwhile: each step is on record.
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

// OTPRequired is the refusal of a caller of whom all is right but for the account's second factor, which was not given yet.
func OTPRequired() error {
	return &pbx.Error{
		Kind: pbx.KindNotSignedIn, Code: pbx.CodeOTPRequired,
		Msg: "this account needs its second factor as well: give the code that the authenticator shows, or a recovery code",
	}
}

// ProveFactor gives the second factor that the caller's session still waits for, and opens a session in its place that lacks nothing. Errors:
// KindNotSignedIn for a wrong code, or none; KindConflict for a session that waits for none; KindTooMany.
func (a *Auth) ProveFactor(ctx context.Context, otp, userAgent string) (opened Opened, err error) {
	p := PrincipalOf(ctx)
	account, ok := p.Account()
	switch {
	case !ok && p.Known():
		return opened, personsOnly()
	case !ok:
		return opened, notSignedIn()
	case !p.OwesFactor():
		return opened, &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeTOTPOff, Msg: "this session waits for no second factor: go on with it"}
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
	case pbx.CodeOf(err) != pbx.CodeSignInFailed: // no guess
		try.takeBack()
	default:
		err = a.refuse(ctx, account, true, account.Email)
	}
	if err != nil {
		return Opened{}, err
	}
	return opened, nil
}

// proved says what was proved beside who it is that signs in.
type proved struct {
	factor  bool // a second factor, here or at the provider
	vouched bool // a provider answers for the second factor that the portal demands
}

// open opens a session of an account, in a context whose work is that of the person. It is the only way to one, and so the place where no
// session comes past a second factor that was switched on: without it, the session waits for it.
func (a *Auth) open(ctx context.Context, tx *store.Tx, account pbx.Account, userAgent string, by proved) (Opened, error) {
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
		return Opened{}, err
	}
	if err := a.note(ctx, tx, ActionSignIn, sessionObject(s.ID, account), nil, facts); err != nil {
		return Opened{}, err
	}
	return Opened{ofAccount(account, s, a.factor), token}, nil
}

func newSessionToken() pbx.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program where the system has no randomness (crypto/rand)
	return pbx.SecretFrom(base64.RawURLEncoding.EncodeToString(b[:]))
}

// oneLine makes of a text that somebody sent one that can be kept and shown.
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

// Proof is what a request carries to prove who sent it.
type Proof struct {
	Session string // the token of a session, from a cookie
	Bearer  string // an API token; where there is one, it decides alone
}

// Authenticate says who is calling. The error is of KindNotSignedIn when the proof does not hold, or there is none; it does not say
// why. It costs one query, and once a minute a note that the session or token was used.
func (a *Auth) Authenticate(ctx context.Context, p Proof) (Principal, error) {
	who, used, err := a.prove(ctx, p)
	if used != nil {
		a.seen(ctx, used)
	}
	return who, err
}

// Holds says who is calling, as Authenticate does, for an answer that goes on and on. To look again is no use of a session: nobody stays
// signed in for having left a page open.
func (a *Auth) Holds(ctx context.Context, p Proof) (Principal, error) {
	who, _, err := a.prove(ctx, p)
	return who, err
}

// use notes that a session or a token was used.
type use func(context.Context, *store.Tx) error

// prove says who is calling, and gives the note of it that is due, nil where none is.
func (a *Auth) prove(ctx context.Context, p Proof) (Principal, use, error) {
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

// isSessionToken reports whether a text could be the token of a session. The decoder skips line breaks, which no token has.
func isSessionToken(text string) bool {
	if len(text) != sessionLength || strings.ContainsAny(text, "\r\n") {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil
}

// holds reports whether a session has neither ended nor, by a clock that was put back, not yet begun.
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

// seen notes the use of a session or a token. That it fails harms nobody: a session whose use is not noted ends early.
func (a *Auth) seen(ctx context.Context, used use) {
	ctx, cancel := context.WithTimeout(ctx, seenPatience)
	defer cancel()
	_ = a.store.InTx(ctx, used)
}

// SignOut ends the session the caller came with.
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

// Sessions gives the caller's own sessions that have not ended, the newest first.
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

// EndSession ends one of the caller's own sessions; KindNotFound when he has none of that id.
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
		Msg: "sign in, or send a token that holds in the header Authorization: Bearer …; pbxportal token create makes one",
	}
}

func signInFailed() error {
	return &pbx.Error{
		Kind: pbx.KindNotSignedIn, Code: pbx.CodeSignInFailed,
		Msg: "e-mail address, password or second factor are not right: try again, or ask for a reset",
	}
}
