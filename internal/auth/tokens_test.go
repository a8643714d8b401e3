package auth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestATokenIsProvedByItsSecretUntilItExpiresOrIsRevoked(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	token, secret := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Applier, Scopes: []pbx.Permission{pbx.ApplyRun}, Lives: time.Hour})
	_, another := d.token(t, pbx.NewToken{Name: "other", Role: pbx.Applier})
	text := secret.Reveal()
	id, own, _ := strings.Cut(strings.TrimPrefix(text, "pbx_"), "_")
	_, others, _ := strings.Cut(strings.TrimPrefix(another.Reveal(), "pbx_"), "_")
	if id != string(token.ID) || len(text) != 4+16+1+52 {
		t.Errorf("token %q, id %s", text, token.ID)
	}
	for name, forged := range map[string]string{
		"its id alone":                "pbx_" + id,
		"its id without a secret":     "pbx_" + id + "_",
		"its secret alone":            own,
		"without its mark":            id + "_" + own,
		"with the secret of another":  "pbx_" + id + "_" + others,
		"with an id nobody has":       "pbx_aaaaaaaaaaaaaaaa_" + own,
		"cut short":                   text[:len(text)-1],
		"with more":                   text + "A",
		"in capitals":                 strings.ToUpper(text),
		"in small letters":            strings.ToLower(text),
		"with another mark":           "pbY" + text[3:],
		"with a space":                " " + text,
		"with its scheme":             "Bearer " + text,
		"with a wildcard for the id":  "pbx_%_" + own,
		"with a quote for the id":     "pbx_' OR 1=1 --_" + own,
		"with the hash of its secret": "pbx_" + id + "_" + strings.Repeat("0", 64),
	} {
		if d.works(t, pbx.SecretFrom(forged)) {
			t.Errorf("%s it is accepted", name)
		}
	}
	p, err := d.Authenticate(t.Context(), auth.Proof{Bearer: text})
	got, ok := p.Token()
	if err != nil || !ok || got.ID != token.ID || fmt.Sprint(p.Permissions()) != "[apply:run]" || p.May(pbx.ApplyRead) || p.ExpiresAt() != noon.Add(time.Hour) {
		t.Errorf("%+v, error %v", p, err)
	}
	d.move(time.Hour - time.Second)
	if !d.works(t, secret) {
		t.Error("it expired early")
	}
	d.move(time.Second)
	if d.works(t, secret) || !d.works(t, another) {
		t.Error("it did not expire, or the other did")
	}
	if _, err := d.RevokeToken(local(t), token.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []pbx.TokenID{token.ID, "aaaaaaaaaaaaaaaa", "", "'"} {
		if _, err := d.RevokeToken(local(t), id); code(err) != pbx.CodeTokenNotFound {
			t.Errorf("revoking %q: %v", id, err)
		}
	}
}

func TestARevokedTokenEndsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	token, secret := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Owner})
	if !d.works(t, secret) {
		t.Fatal("it does not work")
	}
	if revoked, err := d.RevokeToken(local(t), token.ID); err != nil || len(revoked) != 1 || revoked[0].RevokedAt != noon || d.works(t, secret) {
		t.Errorf("%+v, error %v, works %v", revoked, err, d.works(t, secret))
	}
}

// Whoever makes a token, and whatever he asks for: the token may nothing that he may not, and nobody who may not manage accounts makes one.
func TestNobodyMakesATokenMightierThanHimself(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	makers := map[string]auth.Principal{"nobody": {}}
	for _, role := range pbx.Roles() {
		makers["person "+string(role)] = d.signIn(t, d.account(t, "A"+string(role), role)).Principal
	}
	for _, scopes := range [][]pbx.Permission{nil, {pbx.AccountsWrite}, {pbx.AccountsWrite, pbx.UsersRead}, {pbx.UsersRead}} {
		for _, role := range []pbx.Role{pbx.Owner, pbx.Admin} {
			_, secret := d.token(t, pbx.NewToken{Name: "maker", Role: role, Scopes: scopes})
			p, err := d.Authenticate(t.Context(), auth.Proof{Bearer: secret.Reveal()})
			if err != nil {
				t.Fatal(err)
			}
			makers[fmt.Sprint("token ", role, scopes)] = p
		}
	}
	contexts := map[string]auth.Principal{}
	names := []string{}
	for name, p := range makers {
		contexts[name] = p
		names = append(names, name)
	}
	ctx := t
	rapid.Check(t, func(t *rapid.T) {
		maker := contexts[rapid.SampledFrom(names).Draw(t, "maker")]
		role := rapid.SampledFrom(pbx.Roles()).Draw(t, "role")
		n := pbx.NewToken{Name: "made", Role: role}
		if rapid.Bool().Draw(t, "scoped") {
			n.Scopes = rapid.SliceOfN(rapid.SampledFrom(role.Permissions()), 1, 4).Draw(t, "scopes")
		}
		_, secret, err := d.CreateToken(as(ctx, maker), n)
		if err != nil {
			if pbx.KindOf(err) != pbx.KindForbidden {
				t.Fatal(err)
			}
			return
		}
		made, err := d.Authenticate(ctx.Context(), auth.Proof{Bearer: secret.Reveal()})
		if err != nil || !maker.May(pbx.AccountsWrite) || made.Role() == pbx.Owner && maker.Role() != pbx.Owner {
			t.Fatalf("%+v made %+v, error %v", maker, made, err)
		}
		for _, p := range made.Permissions() {
			if !maker.May(p) {
				t.Fatalf("%s may not, and made a token that may %s", maker.Role(), p)
			}
		}
	})
}

func TestATokenDoesNotOutliveTheOneItWasMadeWith(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	_, secret := d.token(t, pbx.NewToken{Name: "parent", Role: pbx.Owner, Lives: time.Hour})
	parent, err := d.Authenticate(t.Context(), auth.Proof{Bearer: secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	for lives, ok := range map[time.Duration]bool{0: false, time.Hour + 1000: false, time.Hour: true, time.Minute: true} {
		if _, _, err := d.CreateToken(as(t, parent), pbx.NewToken{Name: "child", Role: pbx.Auditor, Lives: lives}); (err == nil) != ok {
			t.Errorf("living %s: %v", lives, err)
		}
	}
}

func TestTheTokensOfAPersonLoseWhatThePersonLoses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what          string
		do            func(*door, pbx.Account) error
		admin, lesser bool // whether the tokens live on
	}{
		{"a new name", func(d *door, a pbx.Account) error {
			name := "New"
			_, err := d.Update(local(t), a.ID, auth.AccountChange{Name: &name})
			return err
		}, true, true},
		{"a role that is no owner", func(d *door, a pbx.Account) error {
			role := pbx.Admin
			_, err := d.Update(local(t), a.ID, auth.AccountChange{Role: &role})
			return err
		}, true, true},
		{"a role that may less", func(d *door, a pbx.Account) error {
			role := pbx.Applier
			_, err := d.Update(local(t), a.ID, auth.AccountChange{Role: &role})
			return err
		}, false, true},
		{"being disabled", func(d *door, a pbx.Account) error {
			yes := true
			_, err := d.Update(local(t), a.ID, auth.AccountChange{Disabled: &yes})
			return err
		}, false, false},
		{"being deleted", func(d *door, a pbx.Account) error { return d.Delete(local(t), a.ID) }, false, false},
	} {
		d := newDoor(t)
		d.account(t, "Keeper", pbx.Owner)
		anna := d.account(t, "Anna", pbx.Owner)
		maker := d.signIn(t, anna).Principal
		secrets := map[pbx.Role]pbx.Secret{}
		for _, role := range []pbx.Role{pbx.Owner, pbx.Admin, pbx.Applier} {
			_, secret, err := d.CreateToken(as(t, maker), pbx.NewToken{Name: string(role), Role: role})
			if err != nil {
				t.Fatal(err)
			}
			secrets[role] = secret
		}
		_, foreign := d.token(t, pbx.NewToken{Name: "of nobody", Role: pbx.Owner})
		if err := tc.do(d, anna); err != nil {
			t.Fatal(err)
		}
		if d.works(t, secrets[pbx.Admin]) != tc.admin || d.works(t, secrets[pbx.Applier]) != tc.lesser || !d.works(t, foreign) {
			t.Errorf("%s: admin %v, applier %v, of nobody %v", tc.what, d.works(t, secrets[pbx.Admin]), d.works(t, secrets[pbx.Applier]), d.works(t, foreign))
		}
		if tc.what != "a new name" && d.works(t, secrets[pbx.Owner]) {
			t.Errorf("%s: the token of an owner lives on", tc.what)
		}
	}
}

func TestWithATokenEndAllThatWereMadeWithIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := doorOf(storetest.Open(t, url))
		d.account(t, "Keeper", pbx.Owner)
		anna := d.account(t, "Anna", pbx.Owner)
		by := func(secret pbx.Secret) auth.Principal {
			t.Helper()
			p, err := d.Authenticate(t.Context(), auth.Proof{Bearer: secret.Reveal()})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		create := func(maker auth.Principal, role pbx.Role) (pbx.Token, pbx.Secret) {
			t.Helper()
			token, secret, err := d.CreateToken(as(t, maker), pbx.NewToken{Name: string(role), Role: role})
			if err != nil {
				t.Fatal(err)
			}
			return token, secret
		}
		leaked, first := create(d.signIn(t, anna).Principal, pbx.Owner)
		child, second := create(by(first), pbx.Admin)
		grandchild, third := create(by(second), pbx.Auditor)
		_, foreign := create(d.signIn(t, anna).Principal, pbx.Owner)
		if child.MadeWith != leaked.ID || grandchild.MadeWith != child.ID || child.CreatedBy != anna.ID {
			t.Errorf("%+v, %+v", child, grandchild)
		}
		revoked, err := d.RevokeToken(local(t), leaked.ID)
		if err != nil || len(revoked) != 3 || revoked[0].ID != leaked.ID {
			t.Fatalf("%v, error %v", revoked, err)
		}
		if d.works(t, first) || d.works(t, second) || d.works(t, third) || !d.works(t, foreign) {
			t.Errorf("the token %v, its child %v, its grandchild %v, another of its maker %v", d.works(t, first), d.works(t, second), d.works(t, third), d.works(t, foreign))
		}
		events, err := d.store.EventsAfter(t.Context(), store.EventQuery{Action: auth.ActionTokenRevoke}, 0, 10)
		if err != nil || len(events) != 3 {
			t.Errorf("%d events, error %v", len(events), err)
		}
		// Who may less from now on loses a token that may more, and with it the lesser ones that were made with it.
		_, mighty := create(d.signIn(t, anna).Principal, pbx.Owner)
		_, lesser := create(by(mighty), pbx.Applier)
		role := pbx.Operator
		if _, err := d.Update(local(t), anna.ID, auth.AccountChange{Role: &role}); err != nil || d.works(t, mighty) || d.works(t, lesser) {
			t.Errorf("error %v, the token %v, its child %v", err, d.works(t, mighty), d.works(t, lesser))
		}
	})
}

// A request that was let in just before its token was revoked, or its account disabled, makes nothing that would stay.
func TestWhoWasStoppedWhileHisRequestWasUnderWayMakesNothingThatStays(t *testing.T) {
	t.Parallel()
	yes, admin := true, pbx.Admin
	account := func(do func(*door, pbx.AccountID) error) func(*door, auth.Principal) error {
		return func(d *door, p auth.Principal) error {
			account, _ := p.Account()
			return do(d, account.ID)
		}
	}
	for name, stop := range map[string]func(*door, auth.Principal) error{
		"revoked": func(d *door, p auth.Principal) error {
			token, _ := p.Token()
			_, err := d.RevokeToken(local(t), token.ID)
			return err
		},
		"disabled": account(func(d *door, id pbx.AccountID) error {
			_, err := d.Update(local(t), id, auth.AccountChange{Disabled: &yes})
			return err
		}),
		"demoted": account(func(d *door, id pbx.AccountID) error {
			_, err := d.Update(local(t), id, auth.AccountChange{Role: &admin})
			return err
		}),
		"reset": account(func(d *door, id pbx.AccountID) error {
			_, err := d.Reset(local(t), id)
			return err
		}),
		"deleted": account(func(d *door, id pbx.AccountID) error { return d.Delete(local(t), id) }),
	} {
		d := newDoor(t)
		d.account(t, "Keeper", pbx.Owner)
		victim := d.account(t, "Victim", pbx.Auditor)
		spare, _ := d.token(t, pbx.NewToken{Name: "spare", Role: pbx.Auditor})
		p := d.signIn(t, d.account(t, "Anna", pbx.Owner)).Principal
		if name == "revoked" {
			_, secret := d.token(t, pbx.NewToken{Name: "leaked", Role: pbx.Owner})
			var err error
			if p, err = d.Authenticate(t.Context(), auth.Proof{Bearer: secret.Reveal()}); err != nil {
				t.Fatal(err)
			}
		}
		if err := stop(d, p); err != nil {
			t.Fatal(err)
		}
		ctx := as(t, p)
		_, _, createErr := d.CreateToken(ctx, pbx.NewToken{Name: "late", Role: pbx.Auditor})
		_, _, inviteErr := d.Invite(ctx, pbx.NewAccount{Name: "Late", Email: "late@example.com", Role: pbx.Auditor})
		_, updateErr := d.Update(ctx, victim.ID, auth.AccountChange{Role: &admin})
		_, resetErr := d.Reset(ctx, victim.ID)
		_, revokeErr := d.RevokeToken(ctx, spare.ID)
		for what, err := range map[string]error{
			"create": createErr, "invite": inviteErr, "update": updateErr, "reset": resetErr, "revoke": revokeErr, "delete": d.Delete(ctx, victim.ID),
		} {
			if code(err) != pbx.CodeNotSignedIn {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
}
