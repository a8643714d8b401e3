package auth_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

const (
	home     = "192.0.2.1"
	loopback = "127.0.0.1"
	password = "viele kleine Igel singen"
	other    = "zwei grosse Hunde lachen"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// door is the service over a database of its own.
type door struct {
	*auth.Auth
	*clock
	store *store.Store
}

func newDoor(t *testing.T) *door {
	t.Helper()
	return doorOf(storetest.New(t))
}

func doorOf(s *store.Store) *door {
	d := &door{clock: &clock{now: noon}, store: s}
	d.Auth = auth.New(auth.Config{Store: s, Now: d.read, HashMemory: 64})
	return d
}

// local is the context of a user at the command line.
func local(t *testing.T) context.Context {
	t.Helper()
	return pbx.WithActor(t.Context(), pbx.Actor{Kind: pbx.ActorLocal, Name: "root"})
}

// from is the context of a caller at an address, of whom nothing is known.
func from(t *testing.T, address string) context.Context {
	t.Helper()
	return pbx.WithActor(t.Context(), pbx.Actor{Kind: pbx.ActorAnonymous, From: address})
}

// as is the context of an authenticated caller.
func as(t *testing.T, p auth.Principal) context.Context {
	t.Helper()
	return auth.WithPrincipal(pbx.WithActor(t.Context(), p.Actor(home, "")), p)
}

// account creates an account with the password that all accounts of the tests have.
func (d *door) account(t *testing.T, name string, role pbx.Role) pbx.Account {
	t.Helper()
	a, err := d.Create(local(t), pbx.NewAccount{Name: name, Email: strings.ToLower(name) + "@example.com", Role: role}, pbx.SecretFrom(password))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signIn signs in with the password all accounts have.
func (d *door) signIn(t *testing.T, a pbx.Account) auth.SessionGrant {
	t.Helper()
	opened, err := d.SignIn(from(t, home), auth.SignIn{Email: a.Email, Password: pbx.SecretFrom(password)})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// try signs in from an address, and returns the code of the error, "" for success.
func (d *door) try(t *testing.T, address, email, password, otp string) string {
	t.Helper()
	_, err := d.SignIn(from(t, address), auth.SignIn{Email: email, Password: pbx.SecretFrom(password), OTP: otp})
	return code(err)
}

// holds reports whether a session's token still proves anything.
func (d *door) holds(t *testing.T, o auth.SessionGrant) bool {
	t.Helper()
	p, err := d.Authenticate(t.Context(), auth.Credentials{Session: o.Token.Reveal()})
	if err != nil && pbx.KindOf(err) != pbx.KindNotSignedIn {
		t.Fatal(err)
	}
	return err == nil && p.Known()
}

// works reports whether an API token still proves anything.
func (d *door) works(t *testing.T, token pbx.Secret) bool {
	t.Helper()
	p, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: token.Reveal()})
	if err != nil && pbx.KindOf(err) != pbx.KindNotSignedIn {
		t.Fatal(err)
	}
	return err == nil && p.Known()
}

// token makes an API token at the command line.
func (d *door) token(t *testing.T, n pbx.NewToken) (pbx.Token, pbx.Secret) {
	t.Helper()
	token, secret, err := d.CreateToken(local(t), n)
	if err != nil {
		t.Fatal(err)
	}
	return token, secret
}

// told returns the events of an action in the audit trail, oldest first.
func (d *door) told(t *testing.T, action string) (events []pbx.AuditEvent) {
	t.Helper()
	entries, err := d.store.EventsAfter(t.Context(), store.EventQuery{Action: action}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		events = append(events, e.Event)
	}
	return events
}

// code returns the code of an error, "" if there is none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return pbx.CodeOf(err)
}

// shown returns the code of an authenticator app at a time.
func shown(t *testing.T, secret pbx.Secret, at time.Time) string {
	t.Helper()
	text, err := totp.GenerateCode(secret.Reveal(), at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
