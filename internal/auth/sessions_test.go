package auth_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestAWrongPasswordIsRefusedWithoutInformation(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	off := d.account(t, "Off", pbx.Admin)
	disabled := true
	if _, err := d.Update(local(t), off.ID, auth.AccountChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	invited, _, err := d.Invite(local(t), pbx.NewAccount{Name: "Bert", Email: "bert@example.com", Role: pbx.Auditor})
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for i, tc := range []struct{ name, email, password string }{
		{"a wrong password", anna.Email, other},
		{"an empty one", anna.Email, ""},
		{"the right one cut short", anna.Email, password[:len(password)-1]},
		{"the right one and more", anna.Email, password + " "},
		{"the right one in capitals", anna.Email, strings.ToUpper(password)},
		{"one that is far too long", anna.Email, strings.Repeat("x", 1<<20)},
		{"an address nobody has", "nobody@example.com", password},
		{"a text that is no address", "anna", password},
		{"no address", "", password},
		{"an address with a NUL", "anna@example.com\x00", password},
		{"an account that is disabled", off.Email, password},
		{"an account that has no password yet", invited.Email, password},
		{"the same without one", invited.Email, ""},
	} {
		_, err := d.SignIn(from(t, fmt.Sprintf("192.0.2.%d", i)), auth.SignIn{Email: tc.email, Password: pbx.SecretFrom(tc.password)})
		if code(err) != pbx.CodeSignInFailed || pbx.KindOf(err) != pbx.KindNotSignedIn {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		said[err.Error()] = true
	}
	if len(said) != 1 {
		t.Errorf("the answers differ: %v", said)
	}
	if d.try(t, home, "ANNA@example.com", password, "") != "" {
		t.Error("the right password is refused")
	}
}

func TestASessionIsProvedByItsTokenAndByNothingElse(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Operator)
	opened := d.signIn(t, anna)
	token := opened.Token.Reveal()
	for name, proof := range map[string]auth.Credentials{
		"nothing":                 {},
		"a token cut short":       {Session: token[:len(token)-1]},
		"a token with more":       {Session: token + "A"},
		"a token with a space":    {Session: token + " "},
		"a token in capitals":     {Session: strings.ToUpper(token)},
		"the id of the session":   {Session: string(opened.Principal.Session())},
		"a token as an API token": {Bearer: token},
		"an API token, which decides alone, beside a session that holds": {Session: token, Bearer: "pbx_aaaaaaaaaaaaaaaa_" + strings.Repeat("A", 52)},
	} {
		if p, err := d.Authenticate(t.Context(), proof); code(err) != pbx.CodeNotSignedIn || p.Known() || p.May(pbx.UsersRead) {
			t.Errorf("%s: %+v, error %v", name, p, err)
		}
	}
	p, err := d.Authenticate(t.Context(), auth.Credentials{Session: token})
	account, ok := p.Account()
	if err != nil || !ok || account.ID != anna.ID || account.LastSignIn != noon || p.Session() != opened.Principal.Session() || p.Role() != pbx.Operator ||
		!p.May(pbx.UsersWrite) || p.May(pbx.ApplyRun) || p.ExpiresAt() != noon.Add(auth.SessionLife) {
		t.Errorf("%+v, error %v", p, err)
	}
}

func TestASessionEndsForWantOfUseAndAfterTwelveHoursInAnyCase(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	idle := d.signIn(t, anna)
	d.move(auth.SessionIdle - time.Second)
	used := d.signIn(t, anna)
	if !d.holds(t, idle) {
		t.Error("it ended early")
	}
	d.move(auth.SessionIdle)
	if d.holds(t, used) {
		t.Error("it did not end for want of use")
	}
	used = d.signIn(t, anna)
	began := d.read()
	for d.read().Sub(began) < auth.SessionLife-20*time.Minute {
		d.move(20 * time.Minute)
		if held := d.holds(t, used); !held {
			t.Fatalf("in use it ended after %s", d.read().Sub(began))
		}
	}
	d.move(20 * time.Minute)
	if d.holds(t, used) {
		t.Error("it lives on after twelve hours")
	}
}

func TestAClockSetBackGrantsNoAccess(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session := d.signIn(t, anna)
	_, token := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Auditor})
	_, link, err := d.Invite(local(t), pbx.NewAccount{Name: "Bert", Email: "bert@example.com", Role: pbx.Auditor})
	if err != nil {
		t.Fatal(err)
	}
	d.move(-time.Second)
	if d.holds(t, session) || d.works(t, token) {
		t.Error("what was made in the future holds")
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(other), ""); code(err) != pbx.CodeLinkInvalid {
		t.Errorf("a link from the future: %v", err)
	}
	d.move(time.Second)
	if !d.holds(t, session) || !d.works(t, token) {
		t.Error("now they do not hold either")
	}
	d.move(20 * time.Minute)
	d.holds(t, session) // notes that it was used
	d.move(-10 * time.Minute)
	if d.holds(t, session) {
		t.Error("one that was used in the future holds")
	}
}

func TestTheUseOfASessionAndOfATokenIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session := d.signIn(t, anna)
	_, token := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Auditor})
	noted := func() string {
		t.Helper()
		if !d.holds(t, session) || !d.works(t, token) {
			t.Fatal("they do not hold")
		}
		sessions, sessionErr := d.store.Sessions(t.Context(), anna.ID)
		tokens, _, tokenErr := d.Tokens(t.Context(), auth.TokenQuery{Limit: 10})
		if sessionErr != nil || tokenErr != nil || len(sessions) != 1 || len(tokens) != 1 {
			t.Fatal(sessions, sessionErr, tokens, tokenErr)
		}
		return sessions[0].LastSeenAt.Sub(noon).String() + " " + tokens[0].LastUsedAt.Sub(noon).String()
	}
	for _, step := range []struct {
		move time.Duration
		want string
	}{{0, "0s 0s"}, {59 * time.Second, "0s 0s"}, {time.Second, "1m0s 1m0s"}, {30 * time.Second, "1m0s 1m0s"}, {time.Hour / 4, "16m30s 16m30s"}} {
		d.move(step.move)
		if got := noted(); got != step.want {
			t.Errorf("%s later: %s, want %s", step.move, got, step.want)
		}
	}
}

func TestRevalidatingCredentialsIsNotAUseOfThem(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session := d.signIn(t, d.account(t, "Anna", pbx.Owner))
	for range 29 {
		d.move(time.Minute)
		if p, err := d.Revalidate(t.Context(), auth.Credentials{Session: session.Token.Reveal()}); err != nil || !p.May(pbx.AccountsWrite) {
			t.Fatal(p, err)
		}
	}
	d.move(time.Minute)
	if p, err := d.Revalidate(t.Context(), auth.Credentials{Session: session.Token.Reveal()}); code(err) != pbx.CodeNotSignedIn || p.Known() {
		t.Errorf("half an hour after its last use: %+v, %v", p, err)
	}
}

func TestSigningInAgainEndsTheSessionItReplaces(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	kept, old := d.signIn(t, anna), d.signIn(t, anna)
	renewed, err := d.SignIn(from(t, home), auth.SignIn{Email: anna.Email, Password: pbx.SecretFrom(password), Replaces: old.Token.Reveal()})
	if err != nil || d.holds(t, old) || !d.holds(t, renewed) || !d.holds(t, kept) || renewed.Token.Reveal() == old.Token.Reveal() {
		t.Errorf("old %v, new %v, other %v, error %v", d.holds(t, old), d.holds(t, renewed), d.holds(t, kept), err)
	}
}

func TestAUserSeesAndEndsOnlyTheirOwnSessions(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna, bert := d.account(t, "Anna", pbx.Owner), d.account(t, "Bert", pbx.Owner)
	one := d.signIn(t, anna)
	d.move(time.Second)
	two, err := d.SignIn(from(t, "2001:db8::1"), auth.SignIn{Email: anna.Email, Password: pbx.SecretFrom(password), UserAgent: "Browser\n1.0\xff" + strings.Repeat("é", 300)})
	if err != nil {
		t.Fatal(err)
	}
	his := d.signIn(t, bert)
	sessions, err := d.Sessions(as(t, one.Principal))
	if err != nil || len(sessions) != 2 || sessions[0].ID != two.Principal.Session() || sessions[0].From != "2001:db8::1" ||
		sessions[0].UserAgent != "Browser1.0"+strings.Repeat("é", 245) || sessions[1].From != home {
		t.Errorf("%+v, error %v", sessions, err)
	}
	for name, id := range map[string]pbx.SessionID{
		"another person's": his.Principal.Session(), "none": "", "no UUID": "x", "one nobody has": "00000000-0000-4000-8000-000000000000",
	} {
		if err := d.EndSession(as(t, one.Principal), id); code(err) != pbx.CodeSessionNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.EndSession(as(t, one.Principal), pbx.SessionID(strings.ToUpper(string(two.Principal.Session())))); err != nil || d.holds(t, two) || !d.holds(t, one) || !d.holds(t, his) {
		t.Errorf("ended %v, own %v, another's %v, error %v", d.holds(t, two), d.holds(t, one), d.holds(t, his), err)
	}
	if err := d.SignOut(as(t, one.Principal)); err != nil || d.holds(t, one) || !d.holds(t, his) {
		t.Errorf("signed out %v, another's %v, error %v", d.holds(t, one), d.holds(t, his), err)
	}
	d.move(time.Hour)
	if sessions, err := d.Sessions(as(t, his.Principal)); len(sessions) > 0 || err != nil {
		t.Errorf("sessions that are over: %+v, error %v", sessions, err)
	}
}

func TestPersonalResourcesRequireAUserSession(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	_, secret := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Owner})
	token, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	for want, ctx := range map[string]context.Context{pbx.CodePersonsOnly: as(t, token), pbx.CodeNotSignedIn: local(t)} {
		calls := map[string]error{}
		_, calls["sessions"] = d.Sessions(ctx)
		calls["end a session"] = d.EndSession(ctx, "x")
		calls["sign out"] = d.SignOut(ctx)
		_, calls["change the password"] = d.ChangePassword(ctx, pbx.SecretFrom(password), pbx.SecretFrom(other), "")
		_, calls["start a second factor"] = d.StartTOTP(ctx, pbx.SecretFrom(password))
		_, calls["confirm it"] = d.ConfirmTOTP(ctx, "123456")
		calls["stop it"] = d.StopTOTP(ctx, pbx.SecretFrom(password))
		for what, err := range calls {
			if code(err) != want {
				t.Errorf("%s: %v, want %s", what, err, want)
			}
		}
	}
}

// The main rule: only issued credentials grant access, however similar others are.
func TestNoForgedProofIsAccepted(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session := d.signIn(t, d.account(t, "Anna", pbx.Owner)).Token.Reveal()
	_, secret := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Owner})
	bearer := secret.Reveal()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=. \x00\xff"
	rapid.Check(t, func(t *rapid.T) {
		real := rapid.SampledFrom([]string{session, bearer}).Draw(t, "real")
		forged := []byte(real)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			at := rapid.IntRange(0, len(forged)).Draw(t, "at")
			c := alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "character")]
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				forged = append(forged[:at:at], append([]byte{c}, forged[at:]...)...)
			case 1:
				if at < len(forged) {
					forged[at] = c
				}
			default:
				forged = forged[:at]
			}
		}
		for _, text := range []string{string(forged), rapid.String().Draw(t, "text")} {
			if text == real {
				continue
			}
			for _, proof := range []auth.Credentials{{Session: text}, {Bearer: text}} {
				if p, err := d.Authenticate(context.Background(), proof); err == nil || p.Known() || len(p.Permissions()) > 0 {
					t.Fatalf("%q was accepted as %+v", text, p)
				}
			}
		}
	})
}

func TestAnUnavailableDatabaseGrantsNoAccess(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session := d.signIn(t, anna)
	_, token := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Owner})
	s, err := store.Open("postgresql://nobody@127.0.0.1:1/none")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	away := doorOf(s)
	for name, proof := range map[string]auth.Credentials{"session": {Session: session.Token.Reveal()}, "token": {Bearer: token.Reveal()}} {
		if p, err := away.Authenticate(t.Context(), proof); pbx.KindOf(err) != pbx.KindUnavailable || p.Known() {
			t.Errorf("%s: %+v, error %v", name, p, err)
		}
	}
	for range 30 { // and it does not count as guessing
		if _, err := away.SignIn(from(t, home), auth.SignIn{Email: anna.Email, Password: pbx.SecretFrom(password)}); pbx.KindOf(err) != pbx.KindUnavailable {
			t.Fatal(err)
		}
	}
	if needed, err := away.SetupNeeded(t.Context()); needed && err == nil {
		t.Error("it says that nobody has an account")
	}
}

func TestManyConcurrentSignInsAllSucceed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := doorOf(storetest.Open(t, url))
		anna := d.account(t, "Anna", pbx.Owner)
		var in atomic.Int32
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				if d.try(t, fmt.Sprintf("192.0.2.%d", i), anna.Email, password, "") == "" {
					in.Add(1)
				}
			})
		}
		all.Wait()
		if in.Load() != 12 {
			t.Errorf("%d of 12 got in", in.Load())
		}
	})
}
