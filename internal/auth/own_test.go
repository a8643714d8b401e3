package auth_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// signInWith signs in with a password.
func (d *door) signInWith(t *testing.T, a pbx.Account, password string) auth.SessionGrant {
	t.Helper()
	opened, err := d.SignIn(from(t, home), auth.SignIn{Email: a.Email, Password: pbx.SecretFrom(password)})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// switchTOTPOn sets up a second factor for the account of a session. Afterwards a new code is valid.
func (d *door) switchTOTPOn(t *testing.T, session auth.SessionGrant) (secret pbx.Secret, codes []pbx.Secret) {
	t.Helper()
	ctx := as(t, session.Principal)
	for _, text := range []string{password, other} {
		if started, err := d.StartTOTP(ctx, pbx.SecretFrom(text)); err == nil {
			secret = started.Secret
		}
	}
	codes, err := d.ConfirmTOTP(ctx, shown(t, secret, d.read()))
	if err != nil || len(codes) != 10 {
		t.Fatalf("%d recovery codes, error %v", len(codes), err)
	}
	d.move(30 * time.Second)
	return secret, codes
}

func TestANewPasswordEndsAllSessionsAndOpensOne(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session, elsewhere := d.signIn(t, anna), d.signIn(t, anna)
	ctx := as(t, session.Principal)
	for name, tc := range map[string]struct{ current, new, field string }{
		"a wrong password":  {other, other, "current"},
		"no password":       {"", other, "current"},
		"a short one":       {password, "short", "new"},
		"one's own address": {password, "anna.example.com", "new"},
	} {
		_, err := d.ChangePassword(ctx, pbx.SecretFrom(tc.current), pbx.SecretFrom(tc.new), "")
		if fields := pbx.FieldsOf(err); len(fields) != 1 || fields[0].Field != tc.field || !d.holds(t, session) || !d.holds(t, elsewhere) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.move(time.Minute)
	renewed, err := d.ChangePassword(ctx, pbx.SecretFrom(password), pbx.SecretFrom(other), "Browser")
	if err != nil || d.holds(t, session) || d.holds(t, elsewhere) || !d.holds(t, renewed) {
		t.Fatalf("old %v, elsewhere %v, new %v, error %v", d.holds(t, session), d.holds(t, elsewhere), d.holds(t, renewed), err)
	}
	if d.try(t, home, anna.Email, password, "") != pbx.CodeSignInFailed || d.try(t, home, anna.Email, other, "") != "" {
		t.Error("the old password lets in, or the new one does not")
	}
}

func TestTheSecondFactorIsAskedForOnceItWasConfirmed(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session, elsewhere := d.signIn(t, anna), d.signIn(t, anna)
	ctx := as(t, session.Principal)
	if _, err := d.ConfirmTOTP(ctx, "123456"); code(err) != pbx.CodeTOTPOff {
		t.Errorf("confirming what was not started: %v", err)
	}
	if err := d.StopTOTP(ctx, pbx.SecretFrom(password)); code(err) != pbx.CodeTOTPOff {
		t.Errorf("stopping what is not on: %v", err)
	}
	started, err := d.StartTOTP(ctx, pbx.SecretFrom(password))
	if err != nil || !strings.HasPrefix(started.URI.Reveal(), "otpauth://totp/PBX%20Control%20Portal:anna@example.com?") ||
		!strings.Contains(started.URI.Reveal(), "secret="+started.Secret.Reveal()) || len(started.Secret.Reveal()) != 32 {
		t.Fatalf("%s, error %v", started.URI.Reveal(), err)
	}
	if d.try(t, home, anna.Email, password, "") != "" {
		t.Error("it is asked for before it was confirmed")
	}
	for _, wrong := range []string{"", "000000", "abcdef", shown(t, started.Secret, d.read().Add(time.Hour))} {
		if _, err := d.ConfirmTOTP(ctx, wrong); pbx.KindOf(err) != pbx.KindInvalid {
			t.Errorf("confirmed with %q: %v", wrong, err)
		}
	}
	now := shown(t, started.Secret, d.read())
	codes, err := d.ConfirmTOTP(ctx, now[:3]+" "+now[3:])
	if err != nil || len(codes) != 10 || !d.holds(t, session) || d.holds(t, elsewhere) {
		t.Fatalf("%d codes, error %v, own session %v, the other %v", len(codes), err, d.holds(t, session), d.holds(t, elsewhere))
	}
	if account, err := d.AccountByEmail(t.Context(), anna.Email); !account.TOTP || err != nil {
		t.Errorf("%+v, error %v", account, err)
	}
	if _, err := d.StartTOTP(ctx, pbx.SecretFrom(password)); code(err) != pbx.CodeTOTPOn {
		t.Errorf("starting another: %v", err)
	}
	if _, err := d.ConfirmTOTP(ctx, now); code(err) != pbx.CodeTOTPOn {
		t.Errorf("confirming twice: %v", err)
	}
	if got := d.try(t, home, anna.Email, password, ""); got != pbx.CodeOTPRequired {
		t.Errorf("without it: %q", got)
	}
	if got := d.try(t, home, anna.Email, other, ""); got != pbx.CodeSignInFailed {
		t.Errorf("with a wrong password, nobody learns that there is one: %q", got)
	}
	if got := d.try(t, "192.0.2.9", anna.Email, password, now); got != pbx.CodeSignInFailed {
		t.Errorf("with the code that was used: %q", got)
	}
	if err := d.StopTOTP(ctx, pbx.SecretFrom(other)); pbx.KindOf(err) != pbx.KindInvalid {
		t.Errorf("stopping it without the password: %v", err)
	}
	if err := d.StopTOTP(ctx, pbx.SecretFrom(password)); err != nil || d.try(t, home, anna.Email, password, "") != "" {
		t.Errorf("stopped, error %v, it is still asked for", err)
	}
}

func TestACodeOfTheSecondFactorWorksOnceAndForAMinuteAndAHalf(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	secret, _ := d.switchTOTPOn(t, d.signIn(t, anna))
	d.move(time.Hour)
	address := 0
	try := func(otp string) string {
		address++
		return d.try(t, "192.0.2."+string(rune('0'+address%10))+string(rune('0'+address/10)), anna.Email, password, otp)
	}
	now := d.read()
	for _, off := range []time.Duration{-2 * time.Minute, -time.Minute, time.Minute, 2 * time.Minute} {
		if got := try(shown(t, secret, now.Add(off))); got != pbx.CodeSignInFailed {
			t.Errorf("the code of %s from now: %q", off, got)
		}
	}
	next, current := shown(t, secret, now.Add(30*time.Second)), shown(t, secret, now)
	if got := try(current); got != "" {
		t.Errorf("the code of now: %q", got)
	}
	if got := try(current); got != pbx.CodeSignInFailed {
		t.Errorf("once more: %q", got)
	}
	if got := try(next); got != "" {
		t.Errorf("the next one, of a clock that is ahead: %q", got)
	}
	if got := try(current); got != pbx.CodeSignInFailed {
		t.Errorf("one that comes before the last that was used: %q", got)
	}
	d.move(30 * time.Second)
	if got := try(next); got != pbx.CodeSignInFailed {
		t.Errorf("the next one, now that its time has come: %q", got)
	}
}

func TestARecoveryCodeReplacesTheSecondFactorOnce(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	_, codes := d.switchTOTPOn(t, d.signIn(t, anna))
	first := codes[0].Reveal()
	for i, tc := range []struct{ otp, want string }{
		{strings.Repeat("A", 24), pbx.CodeSignInFailed},
		{first[:20], pbx.CodeSignInFailed},
		{first, ""},
		{first, pbx.CodeSignInFailed},
		{strings.ToLower(strings.ReplaceAll(codes[1].Reveal(), "-", " ")), ""},
		{codes[2].Reveal() + codes[3].Reveal(), pbx.CodeSignInFailed},
	} {
		if got := d.try(t, "192.0.2.1"+string(rune('0'+i)), anna.Email, password, tc.otp); got != tc.want {
			t.Errorf("step %d: %q, want %q", i, got, tc.want)
		}
	}
}

func TestTheSecretOfASecondFactorDoesNotLieOpenInTheDatabase(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	secret, _ := d.switchTOTPOn(t, d.signIn(t, anna))
	c, _, err := d.store.Account(t.Context(), anna.ID)
	if _, sealed := keyring.KeyOf(c.TOTPSecret); err != nil || !sealed || strings.Contains(c.TOTPSecret, secret.Reveal()) {
		t.Errorf("it lies there as %q, error %v", c.TOTPSecret, err)
	}
	d.store.UseKeys(nil, false)
	if _, err := d.SignIn(from(t, home), auth.SignIn{Email: anna.Email, Password: pbx.SecretFrom(password), OTP: shown(t, secret, d.read())}); err == nil {
		t.Error("without the key somebody gets in")
	}
}

func TestProofsAreKeptAsHashes(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session := d.signIn(t, anna)
	token, secret := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Owner})
	c, _, accountErr := d.store.Account(t.Context(), anna.ID)
	_, hash, _, tokenErr := d.store.Token(t.Context(), token.ID)
	_, _, byToken, sessionErr := d.store.Session(t.Context(), []byte(session.Token.Reveal()))
	if !strings.HasPrefix(c.PasswordHash, "$argon2id$v=19$m=64,t=2,p=1$") || strings.Contains(c.PasswordHash, password) || accountErr != nil {
		t.Errorf("the password lies there as %q, error %v", c.PasswordHash, accountErr)
	}
	if len(hash) != 32 || strings.Contains(secret.Reveal(), string(hash)) || tokenErr != nil {
		t.Errorf("the token lies there as %q, error %v", hash, tokenErr)
	}
	if byToken || sessionErr != nil {
		t.Errorf("the session's token lies there as it is, error %v", sessionErr)
	}
}

func TestASecondFactorLostWithItsKeyRequiresARecoveryCode(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna, emil := d.account(t, "Anna", pbx.Owner), d.account(t, "Emil", pbx.Owner)
	secret, codes := d.switchTOTPOn(t, d.signIn(t, anna))
	if _, err := d.StartTOTP(as(t, d.signIn(t, emil).Principal), pbx.SecretFrom(password)); err != nil {
		t.Fatal(err)
	}
	lost := storetest.Keys(t).Current()
	fresh, err := keyring.Source{Value: keyring.NewKey()}.Load()
	if err != nil {
		t.Fatal(err)
	}
	d.store.UseKeys(fresh, false)
	accounts, err := d.ReplaceLostFactors(local(t), lost)
	if err != nil || len(accounts) != 1 || accounts[0].Email != anna.Email {
		t.Fatalf("%v, error %v", accounts, err)
	}
	if accounts, err = d.ReplaceLostFactors(local(t), lost); err != nil || len(accounts) != 0 {
		t.Errorf("once more: %v, error %v", accounts, err)
	}
	d.move(time.Hour)
	for otp, want := range map[string]string{
		"": pbx.CodeOTPRequired, shown(t, secret, d.read()): pbx.CodeSignInFailed, codes[0].Reveal(): "",
	} {
		if got := d.try(t, home, anna.Email, password, otp); got != want {
			t.Errorf("with the code %q: %q, want %q", otp, got, want)
		}
	}
	session, err := d.SignIn(from(t, home), auth.SignIn{Email: anna.Email, Password: pbx.SecretFrom(password), OTP: codes[1].Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.StopTOTP(as(t, session.Principal), pbx.SecretFrom(password)); err != nil {
		t.Fatal(err)
	}
	d.switchTOTPOn(t, d.signIn(t, anna))
	d.switchTOTPOn(t, d.signIn(t, emil)) // the unconfirmed one is gone, and a new one can be set up
}

func TestASecondFactorIsDemandedOfThoseItIsSetFor(t *testing.T) {
	t.Parallel()
	for policy, of := range map[pbx.SecondFactor][]pbx.Role{"": nil, pbx.FactorOffered: nil, pbx.FactorOwners: {pbx.Owner, pbx.Admin}, pbx.FactorEveryone: pbx.Roles()} {
		for _, role := range pbx.Roles() {
			if got := policy.DemandedOf(role); got != slices.Contains(of, role) {
				t.Errorf("%q demands one of %s: %v", policy, role, got)
			}
		}
	}
}

func TestAnAccountWithoutTheRequiredSecondFactorCanDoNothingElse(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.Auth = auth.New(auth.Config{Store: d.store, Now: d.read, SecondFactor: pbx.FactorOwners, HashMemory: 64})
	anna, bert := d.account(t, "Anna", pbx.Owner), d.account(t, "Bert", pbx.Operator)
	proved := func(o auth.SessionGrant) auth.Principal {
		p, err := d.Authenticate(t.Context(), auth.Credentials{Session: o.Token.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := proved(d.signIn(t, bert)); p.MissingSecondFactor() || !p.May(pbx.UsersWrite) {
		t.Errorf("an operator: %+v", p)
	}
	session := d.signIn(t, anna)
	for name, p := range map[string]auth.Principal{"when it opens": session.Principal, "later": proved(session)} {
		if !p.MissingSecondFactor() || len(p.Permissions()) > 0 || p.May(pbx.UsersRead) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if _, _, err := d.CreateToken(as(t, session.Principal), pbx.NewToken{Name: "x", Role: pbx.Auditor}); code(err) != pbx.CodeForbidden {
		t.Errorf("he makes a token: %v", err)
	}
	secret, _ := d.switchTOTPOn(t, session)
	if p := proved(session); p.MissingSecondFactor() || !p.FactorDemanded() || !p.May(pbx.AccountsWrite) {
		t.Errorf("with a second factor: %+v", p)
	}
	if err := d.StopTOTP(as(t, proved(session)), pbx.SecretFrom(password)); code(err) != pbx.CodeSecondFactor || !strings.Contains(err.Error(), "admin reset") {
		t.Errorf("he switches it off: %v", err)
	}
	if got := d.try(t, home, anna.Email, password, ""); got != pbx.CodeOTPRequired {
		t.Errorf("afterwards signing in without it gives %q", got)
	}
	if got := d.try(t, home, anna.Email, password, shown(t, secret, d.read())); got != "" {
		t.Errorf("afterwards signing in with it gives %q", got)
	}
	// Losing it locks no user out: the command line resets the account.
	link, err := d.Reset(local(t), anna.ID)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(other), "")
	if err != nil || !opened.Principal.MissingSecondFactor() {
		t.Errorf("after a reset: %+v, %v", opened.Principal, err)
	}
	d.switchTOTPOn(t, opened)
	if p := proved(opened); p.MissingSecondFactor() {
		t.Errorf("after a reset, with a new second factor: %+v", p)
	}
}
