package auth_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// subject is a door with an owner and an account that signs in, which may have a second factor.
type subject struct {
	*door

	owner   auth.SessionGrant
	account pbx.Account
	secret  pbx.Secret   // of its second factor
	codes   []pbx.Secret // its recovery codes
}

// newSubject makes them. The account has signed in with a provider once, so that it belongs to a person there.
func newSubject(t *testing.T, policy pbx.SecondFactor, totp bool) *subject {
	t.Helper()
	s := &subject{door: newDoor(t)}
	s.Auth = auth.New(auth.Config{Store: s.store, Now: s.read, SecondFactor: policy, HashMemory: 64})
	s.owner = s.signIn(t, s.door.account(t, "Olga", pbx.Owner))
	s.account = s.door.account(t, "Anna", pbx.Admin)
	if _, err := s.outside(t, auth.FactorUnsaid); err != nil {
		t.Fatal(err)
	}
	if totp {
		s.secret, s.codes = s.switchTOTPOn(t, s.signIn(t, s.account))
		s.move(time.Hour)
	}
	return s
}

func (s *subject) outside(t *testing.T, f auth.Factor) (auth.SessionGrant, error) {
	t.Helper()
	return s.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("anna"), Email: s.account.Email, Factor: f})
}

// Every way to a session, with and without a second factor of the account, under every policy: none leads past one that is switched on, and
// none without proof to a permission where one is demanded.
func TestNoWayToASessionLeadsPastASecondFactorThatIsSwitchedOn(t *testing.T) {
	t.Parallel()
	link := func(t *testing.T, s *subject, purpose pbx.LinkPurpose) (auth.SessionGrant, error) {
		t.Helper() // one that is still there although the second factor is on, as in a database that was restored
		if err := s.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.ReplaceOneTimeCode(ctx, store.OneTimeCode{Purpose: purpose, Account: s.account.ID, CreatedAt: s.read(), ExpiresAt: s.read().Add(time.Hour)}, auth.Digest("CODE"))
		}); err != nil {
			t.Fatal(err)
		}
		return s.Redeem(from(t, home), "CODE", pbx.SecretFrom(other), "")
	}
	withPassword := func(otp func(*testing.T, *subject) string) func(*testing.T, *subject) (auth.SessionGrant, error) {
		return func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			return s.SignIn(from(t, home), auth.SignIn{Email: s.account.Email, Password: pbx.SecretFrom(password), OTP: otp(t, s)})
		}
	}
	provider := func(f auth.Factor) func(*testing.T, *subject) (auth.SessionGrant, error) {
		return func(t *testing.T, s *subject) (auth.SessionGrant, error) { t.Helper(); return s.outside(t, f) }
	}
	proof := func(f auth.Factor, otp func(*testing.T, *subject) string) func(*testing.T, *subject) (auth.SessionGrant, error) {
		return func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			opened, err := s.outside(t, f)
			if err != nil || !opened.Principal.OwesFactor() {
				return opened, err
			}
			return s.ProveFactor(as(t, opened.Principal), otp(t, s), "")
		}
	}
	none := func(*testing.T, *subject) string { return "" }
	wrong := func(*testing.T, *subject) string { return "000000" }
	code := func(t *testing.T, s *subject) string {
		t.Helper()
		if s.codes == nil {
			return ""
		}
		return shown(t, s.secret, s.read())
	}
	recovery := func(_ *testing.T, s *subject) string {
		if s.codes == nil {
			return ""
		}
		return s.codes[0].Reveal()
	}
	ways := []struct {
		name   string
		open   func(*testing.T, *subject) (auth.SessionGrant, error)
		proves bool // a second factor, where the account has one
		speaks bool // for the second factor that the portal demands
	}{
		{"password", withPassword(none), false, false},
		{"password, a wrong code", withPassword(wrong), false, false},
		{"password and code", withPassword(code), true, false},
		{"password and recovery code", withPassword(recovery), true, false},
		{"provider that says nothing", provider(auth.FactorUnsaid), false, true},
		{"provider that says there was none", provider(auth.FactorNone), false, false},
		{"provider that says there was one", provider(auth.FactorProved), true, true},
		{"provider that says nothing, then no code", proof(auth.FactorUnsaid, none), false, true},
		{"provider that says nothing, then a wrong code", proof(auth.FactorUnsaid, wrong), false, true},
		{"provider that says nothing, then the code", proof(auth.FactorUnsaid, code), true, true},
		{"provider that says there was none, then the code", proof(auth.FactorNone, code), true, false},
		{"provider that says there was none, then a recovery code", proof(auth.FactorNone, recovery), true, false},
		{"invitation", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			return link(t, s, pbx.LinkInvite)
		}, false, false},
		{"link of a reset", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			return link(t, s, pbx.LinkReset)
		}, false, false},
		{"new password in a session that owes", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			opened, err := s.outside(t, auth.FactorUnsaid)
			if err != nil || !opened.Principal.OwesFactor() {
				return opened, err
			}
			return s.ChangePassword(as(t, opened.Principal), pbx.SecretFrom(password), pbx.SecretFrom(other), "")
		}, false, true},
		{"provider, after another role", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			role := pbx.Owner
			if _, err := s.Update(local(t), s.account.ID, auth.AccountChange{Role: &role}); err != nil {
				t.Fatal(err)
			}
			return s.outside(t, auth.FactorUnsaid)
		}, false, true},
		{"provider, after disabling and enabling", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			for _, disabled := range []bool{true, false} {
				if _, err := s.Update(local(t), s.account.ID, auth.AccountChange{Disabled: &disabled}); err != nil {
					t.Fatal(err)
				}
			}
			return s.outside(t, auth.FactorUnsaid)
		}, false, true},
		{"provider, after unlinking", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			if had, err := s.Unlink(local(t), s.account.ID); err != nil || !had {
				t.Fatal(had, err)
			}
			return s.outside(t, auth.FactorUnsaid)
		}, false, true},
		{"provider, after the key of the second factor was lost", func(t *testing.T, s *subject) (auth.SessionGrant, error) {
			t.Helper()
			if _, err := s.ReplaceLostFactors(local(t), ""); err != nil {
				t.Fatal(err)
			}
			return s.outside(t, auth.FactorUnsaid)
		}, false, true},
	}
	tried := 0
	for _, policy := range []pbx.SecondFactor{pbx.FactorOffered, pbx.FactorEveryone} { // owners is everyone, for an admin
		for _, totp := range []bool{false, true} {
			for _, way := range ways {
				name := fmt.Sprintf("%s, second factor %v, %s", policy, totp, way.name)
				s := newSubject(t, policy, totp)
				opened, err := way.open(t, s)
				tried++
				p, refused := s.Authenticate(t.Context(), auth.Credentials{Session: opened.Token.Reveal()})
				may := err == nil && refused == nil && p.May(pbx.UsersRead)
				want := totp && way.proves || !totp && (policy == pbx.FactorOffered || way.speaks)
				if may != want || opened.Principal.May(pbx.UsersRead) != want {
					t.Errorf("%s: may %v, want %v (error %v, then %v, owes %v)", name, may, want, err, refused, p.OwesFactor())
				}
			}
		}
	}
	t.Logf("%d ways tried", tried)
}

// What a session can do that owes the second factor: nothing but give it, and end.
func TestASessionWithAPendingSecondFactorCanDoNothingElse(t *testing.T) {
	t.Parallel()
	s := newSubject(t, pbx.FactorOffered, true)
	opened, err := s.outside(t, auth.FactorNone)
	if err != nil || !opened.Principal.OwesFactor() || len(opened.Principal.Permissions()) > 0 {
		t.Fatalf("%+v, %v", opened.Principal, err)
	}
	if left := opened.Principal.ExpiresAt().Sub(s.read()); left != auth.FactorLife {
		t.Errorf("it waits %s", left)
	}
	ctx, yes := as(t, opened.Principal), true
	for name, try := range map[string]func() error{
		"change the password": func() error {
			_, err := s.ChangePassword(ctx, pbx.SecretFrom(password), pbx.SecretFrom(other), "")
			return err
		},
		"start a second factor":   func() error { _, err := s.StartTOTP(ctx, pbx.SecretFrom(password)); return err },
		"confirm a second factor": func() error { _, err := s.ConfirmTOTP(ctx, "123456"); return err },
		"switch it off":           func() error { return s.StopTOTP(ctx, pbx.SecretFrom(password)) },
		"list the sessions":       func() error { _, err := s.Sessions(ctx); return err },
		"end a session":           func() error { return s.EndSession(ctx, s.owner.Principal.Session()) },
		"make a token":            func() error { _, _, err := s.CreateToken(ctx, pbx.NewToken{Name: "x", Role: pbx.Auditor}); return err },
		"invite": func() error {
			_, _, err := s.Invite(ctx, pbx.NewAccount{Name: "Eva", Email: "eva@example.com", Role: pbx.Auditor})
			return err
		},
		"disable an account": func() error {
			_, err := s.Update(ctx, s.account.ID, auth.AccountChange{Disabled: &yes})
			return err
		},
		"reset an account":  func() error { _, err := s.Reset(ctx, s.account.ID); return err },
		"unlink an account": func() error { _, err := s.Unlink(ctx, s.account.ID); return err },
		"revoke everything": func() error { _, err := s.RevokeAll(ctx); return err },
	} {
		if err := try(); pbx.KindOf(err) != pbx.KindForbidden && code(err) != pbx.CodeOTPRequired {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := code(second(s.ProveFactor(ctx, "", ""))); got != pbx.CodeOTPRequired {
		t.Errorf("without a code: %q", got)
	}
	full, err := s.ProveFactor(ctx, shown(t, s.secret, s.read()), "")
	if err != nil || full.Token.Reveal() == opened.Token.Reveal() || s.holds(t, opened) || !full.Principal.May(pbx.AccountsWrite) {
		t.Fatalf("%+v, %v", full.Principal, err)
	}
	if got := code(second(s.ProveFactor(as(t, full.Principal), "", ""))); got != pbx.CodeTOTPOff {
		t.Errorf("a session that owes nothing: %q", got)
	}
	if got := code(second(s.ProveFactor(ctx, s.codes[0].Reveal(), ""))); got != pbx.CodeNotSignedIn {
		t.Errorf("the session that was replaced: %q", got)
	}
	opened, err = s.outside(t, auth.FactorNone)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SignOut(as(t, opened.Principal)); err != nil || s.holds(t, opened) {
		t.Errorf("signing out: %v", err)
	}
}

// Guessing the second factor behind a provider is slowed down like guessing a password.
func TestCodesCannotBeTriedWithoutEndBehindAProvider(t *testing.T) {
	t.Parallel()
	s := newSubject(t, pbx.FactorOffered, true)
	opened, err := s.outside(t, auth.FactorNone)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]int{}
	for range 20 {
		codes[code(second(s.ProveFactor(as(t, opened.Principal), "000000", "")))]++
	}
	if codes[pbx.CodeTooMany] != 15 || codes[pbx.CodeSignInFailed] != 5 {
		t.Errorf("%v", codes)
	}
}

// One session of an account without a second factor switches it on while another is about to change the password: the second comes back with a
// session that owes it.
func TestASessionFromBeforeTheSecondFactorIsNotRenewedPastIt(t *testing.T) {
	t.Parallel()
	s := newSubject(t, pbx.FactorOffered, false)
	before := s.signIn(t, s.account)
	s.switchTOTPOn(t, s.signIn(t, s.account))
	renewed, err := s.ChangePassword(as(t, before.Principal), pbx.SecretFrom(password), pbx.SecretFrom(other), "")
	if err == nil && !renewed.Principal.OwesFactor() {
		t.Errorf("%+v", renewed.Principal)
	}
}

func second[T any](_ T, err error) error { return err }
