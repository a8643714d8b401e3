package auth_test

import (
	"context"
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
	p, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: text})
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

// No token has permissions that its creator lacks, and creating one requires the permission to manage accounts.
func TestNoUserCreatesATokenWithMorePermissionsThanTheirOwn(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	makers := map[string]auth.Principal{"nobody": {}}
	for _, role := range pbx.Roles() {
		makers["person "+string(role)] = d.signIn(t, d.account(t, "A"+string(role), role)).Principal
	}
	for _, scopes := range [][]pbx.Permission{nil, {pbx.AccountsWrite}, {pbx.AccountsWrite, pbx.UsersRead}, {pbx.UsersRead}} {
		for _, role := range []pbx.Role{pbx.Owner, pbx.Admin} {
			_, secret := d.token(t, pbx.NewToken{Name: "maker", Role: role, Scopes: scopes})
			p, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
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
		made, err := d.Authenticate(ctx.Context(), auth.Credentials{Bearer: secret.Reveal()})
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

func TestATokenDoesNotOutliveTheOneItWasCreatedWith(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	_, secret := d.token(t, pbx.NewToken{Name: "parent", Role: pbx.Owner, Lives: time.Hour})
	parent, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
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

func TestRevokingATokenRevokesAllCreatedWithIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := doorOf(storetest.Open(t, url))
		d.account(t, "Keeper", pbx.Owner)
		anna := d.account(t, "Anna", pbx.Owner)
		by := func(secret pbx.Secret) auth.Principal {
			t.Helper()
			p, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
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
func TestAccessRevokedDuringARequestLeavesNoEffect(t *testing.T) {
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
			if p, err = d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()}); err != nil {
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

func TestTokensAreListedAPageAtATimeEachOnce(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	want := map[pbx.TokenID]bool{}
	for i := range 25 { // also of one name
		token, _ := d.token(t, pbx.NewToken{Name: fmt.Sprint("Name ", i%3), Role: pbx.Auditor})
		want[token.ID] = true
		if i%5 == 0 {
			if _, err := d.RevokeToken(local(t), token.ID); err != nil {
				t.Fatal(err)
			}
			delete(want, token.ID)
		}
	}
	q, pages := auth.TokenQuery{Limit: 7}, 0
	for {
		page, next, err := d.Tokens(t.Context(), q)
		if err != nil || len(page) > 7 {
			t.Fatal(len(page), err)
		}
		pages++
		for _, token := range page {
			if !want[token.ID] {
				t.Errorf("%s is listed twice, or is revoked", token.ID)
			}
			delete(want, token.ID)
		}
		if next == "" {
			break
		}
		q.After = next
	}
	if len(want) > 0 || pages != 3 {
		t.Errorf("%d pages, not listed: %v", pages, want)
	}
	if _, _, err := d.Tokens(t.Context(), auth.TokenQuery{After: "nothing", Limit: 7}); pbx.KindOf(err) != pbx.KindInvalid {
		t.Errorf("behind one that there is not: %v", err)
	}
}

func TestAccountsAreListedAPageAtATimeEachOnce(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for _, name := range []string{"Bo", "bo b", "Ann", "Zoe", "Eve", "Dan", "Cleo"} {
		if _, _, err := d.Invite(local(t), pbx.NewAccount{Name: name, Email: strings.ReplaceAll(name, " ", "") + "@example.com", Role: pbx.Auditor}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for after := pbx.AccountID(""); ; {
		page, next, err := d.AccountPage(t.Context(), after, 3)
		if err != nil || len(page) > 3 {
			t.Fatal(len(page), err)
		}
		for _, a := range page {
			names = append(names, a.Name)
		}
		if after = next; next == "" {
			break
		}
	}
	if got := strings.Join(names, ","); got != "Ann,Bo,bo b,Cleo,Dan,Eve,Zoe" {
		t.Error(got)
	}
	for _, wrong := range []pbx.AccountID{"x", "7d0c1f1e-4a0b-4a55-9c53-1c7e0f2b9a10"} {
		if _, _, err := d.AccountPage(t.Context(), wrong, 3); pbx.KindOf(err) != pbx.KindInvalid {
			t.Errorf("behind %q: %v", wrong, err)
		}
	}
}

func TestAnAccountHasABoundedNumberOfTokensAndOfSessions(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	olga := d.account(t, "Olga", pbx.Owner)
	first := d.signIn(t, olga)
	ctx := as(t, first.Principal)
	parent, secret, err := d.CreateToken(ctx, pbx.NewToken{Name: "parent", Role: pbx.Owner})
	if err != nil {
		t.Fatal(err)
	}
	program, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < auth.MaxTokens; i++ { // some by hand, some by a program of hers
		by := ctx
		if i%2 == 0 {
			by = as(t, program)
		}
		if _, _, err = d.CreateToken(by, pbx.NewToken{Name: "x", Role: pbx.Auditor, Lives: time.Hour}); err != nil {
			t.Fatal(i, err)
		}
	}
	for name, by := range map[string]context.Context{"she": ctx, "her program": as(t, program)} {
		if _, _, err := d.CreateToken(by, pbx.NewToken{Name: "x", Role: pbx.Auditor}); code(err) != pbx.CodeTooManyTokens || pbx.KindOf(err) != pbx.KindConflict {
			t.Errorf("%s makes one more: %v", name, err)
		}
	}
	if _, _, err := d.CreateToken(as(t, d.signIn(t, d.account(t, "Anna", pbx.Owner)).Principal), pbx.NewToken{Name: "x", Role: pbx.Auditor}); err != nil {
		t.Errorf("another has none for that: %v", err)
	}
	d.token(t, pbx.NewToken{Name: "at the command line", Role: pbx.Auditor})
	d.move(2 * time.Hour) // those that are over do not count
	if _, _, err := d.CreateToken(as(t, d.signIn(t, olga).Principal), pbx.NewToken{Name: "x", Role: pbx.Auditor}); err != nil {
		t.Errorf("when they are over: %v", err)
	}
	if revoked, err := d.RevokeToken(local(t), parent.ID); err != nil || len(revoked) != 100 {
		t.Errorf("%d revoked, %v", len(revoked), err)
	}

	var last auth.SessionGrant
	for range 60 {
		d.move(time.Second)
		last = d.signIn(t, olga)
	}
	if open, err := d.Sessions(as(t, last.Principal)); err != nil || len(open) != 50 || !d.holds(t, last) {
		t.Errorf("%d sessions, %v", len(open), err)
	}
}

func TestAfterRestoringABackupOneCommandEndsWhatItBroughtBack(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	olga := d.account(t, "Olga", pbx.Owner)
	session := d.signIn(t, olga)
	_, secret := d.token(t, pbx.NewToken{Name: "ci", Role: pbx.Auditor})
	_, link, err := d.Invite(local(t), pbx.NewAccount{Name: "Ida", Email: "ida@example.com", Role: pbx.Auditor})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.RevokeAll(as(t, session.Principal)); pbx.KindOf(err) != pbx.KindForbidden {
		t.Errorf("a session may: %v", err)
	}
	ended, err := d.RevokeAll(local(t))
	if err != nil || ended != (store.Ended{Sessions: 1, Links: 1, Tokens: 1}) {
		t.Fatalf("%+v, %v", ended, err)
	}
	if d.holds(t, session) || d.works(t, secret) {
		t.Error("a session or a token still holds")
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(password), ""); code(err) != pbx.CodeLinkInvalid {
		t.Errorf("the link is still good: %v", err)
	}
	if told := d.told(t, auth.ActionRevokeAll); len(told) != 1 || told[0].After["tokens"] != "1" || told[0].Actor.Kind != pbx.ActorLocal {
		t.Errorf("the trail: %+v", told)
	}
	d.signIn(t, olga)
}
