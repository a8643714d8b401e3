package auth_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func setup(code string) auth.Setup {
	return auth.Setup{Code: code, Name: "Anna", Email: "anna@example.com", Password: pbx.SecretFrom(password), UserAgent: "Browser"}
}

func TestTheFirstAccountIsCreatedOnceWithTheNewestLink(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := doorOf(storetest.Open(t, url))
		ctx := from(t, home)
		old, needed, err := d.SetupLink(ctx)
		if !needed || err != nil || old.ExpiresAt != noon.Add(auth.SetupLife) || len(old.Code.Reveal()) < 26 {
			t.Fatalf("%+v, needed %v, error %v", old, needed, err)
		}
		link, _, err := d.SetupLink(ctx)
		if err != nil {
			t.Fatal(err)
		}
		good := link.Code.Reveal()
		for name, text := range map[string]string{"none": "", "a wrong one": "AAAAAAAAAAAAAAAAAAAAAAAAAA", "half of it": good[:13], "the one before": old.Code.Reveal()} {
			if _, err := d.Setup(ctx, setup(text)); code(err) != pbx.CodeSetupCode || pbx.KindOf(err) != pbx.KindForbidden {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := d.Redeem(ctx, text, pbx.SecretFrom(password), ""); code(err) != pbx.CodeLinkInvalid {
				t.Errorf("%s as an invitation: %v", name, err)
			}
		}
		if _, err := d.Redeem(ctx, good, pbx.SecretFrom(password), ""); code(err) != pbx.CodeLinkInvalid {
			t.Errorf("a set-up code as an invitation: %v", err)
		}
		bad := setup(good)
		bad.Email, bad.Password = "x", pbx.SecretFrom("short")
		if _, err := d.Setup(ctx, bad); fmt.Sprint(pbx.FieldsOf(err)) == "[]" || len(pbx.FieldsOf(err)) != 2 {
			t.Errorf("bad input: %v", err)
		}
		d.move(auth.SetupLife)
		if _, err := d.Setup(ctx, setup(good)); code(err) != pbx.CodeSetupCode {
			t.Errorf("an expired one: %v", err)
		}
		d.move(-time.Second)
		opened, err := d.Setup(ctx, setup(" "+strings.ToLower(good)+"\n"))
		account, _ := opened.Principal.Account()
		if err != nil || account.Role != pbx.Owner || account.Email != "anna@example.com" || account.Invited || !d.holds(t, opened) {
			t.Fatalf("%+v, error %v", account, err)
		}
		if _, err := d.Setup(ctx, setup(good)); code(err) != pbx.CodeSetupDone {
			t.Errorf("once more: %v", err)
		}
		if link, needed, err := d.SetupLink(ctx); needed || err != nil || link.Code.Reveal() != "" {
			t.Errorf("a link although there are accounts: needed %v, error %v", needed, err)
		}
		if got := d.try(t, home, "anna@example.com", password, ""); got != "" {
			t.Errorf("signing in gives %q", got)
		}
	})
}

func TestOfManyConcurrentUsesOfTheSetUpLinkOneCreatesTheOwner(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := doorOf(storetest.Open(t, url))
		link, _, err := d.SetupLink(from(t, home))
		if err != nil {
			t.Fatal(err)
		}
		var codes [6]string
		var all sync.WaitGroup
		for i := range codes {
			all.Go(func() {
				s := setup(link.Code.Reveal())
				s.Email = fmt.Sprintf("anna%d@example.com", i)
				_, err := d.Setup(from(t, home), s)
				codes[i] = code(err)
			})
		}
		all.Wait()
		won := 0
		for _, c := range codes {
			if c == "" {
				won++
			} else if c != pbx.CodeSetupDone && c != pbx.CodeSetupCode {
				t.Errorf("one was told %q", c)
			}
		}
		if accounts, err := d.Accounts(t.Context()); won != 1 || len(accounts) != 1 || err != nil {
			t.Errorf("%d became owners; accounts %+v, error %v", won, accounts, err)
		}
	})
}

func TestAnAccountCreatedAtTheCommandLineEndsTheSetUp(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	link, _, err := d.SetupLink(from(t, home))
	if err != nil {
		t.Fatal(err)
	}
	d.account(t, "Anna", pbx.Auditor)
	if _, err := d.Setup(from(t, home), setup(link.Code.Reveal())); code(err) != pbx.CodeSetupDone {
		t.Errorf("the link still works: %v", err)
	}
	if needed, err := d.SetupNeeded(t.Context()); needed || err != nil {
		t.Errorf("needed %v, error %v", needed, err)
	}
}

func TestAnInvitationSetsThePasswordOnceAndWithinADay(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	owner := d.signIn(t, d.account(t, "Owner", pbx.Owner)).Principal
	account, link, err := d.Invite(as(t, owner), pbx.NewAccount{Name: "Bert", Email: "bert@example.com", Role: pbx.Operator})
	if err != nil || !account.Invited || link.ExpiresAt != noon.Add(auth.LinkLife) {
		t.Fatalf("%+v, %+v, error %v", account, link, err)
	}
	good := link.Code.Reveal()
	d.move(auth.LinkLife)
	if _, err := d.Redeem(from(t, home), good, pbx.SecretFrom(other), ""); code(err) != pbx.CodeLinkInvalid {
		t.Errorf("after a day: %v", err)
	}
	d.move(-time.Second)
	for name, tc := range map[string]struct{ code, password, want string }{
		"no code":         {"", other, pbx.CodeLinkInvalid},
		"a wrong code":    {"AAAAAAAAAAAAAAAAAAAAAAAAAA", other, pbx.CodeLinkInvalid},
		"a bad password":  {good, "short", pbx.CodeInvalid},
		"one's own name":  {good, "Bert Example Bert", pbx.CodeInvalid},
		"the set-up code": {good[1:], other, pbx.CodeLinkInvalid},
	} {
		if _, err := d.Redeem(from(t, home), tc.code, pbx.SecretFrom(tc.password), ""); code(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	opened, err := d.Redeem(from(t, home), good, pbx.SecretFrom(other), "Browser")
	if got, _ := opened.Principal.Account(); err != nil || got.ID != account.ID || got.Invited || !d.holds(t, opened) {
		t.Fatalf("%+v, error %v", got, err)
	}
	if _, err := d.Redeem(from(t, home), good, pbx.SecretFrom(password), ""); code(err) != pbx.CodeLinkInvalid {
		t.Errorf("once more: %v", err)
	}
	if got := d.try(t, home, "bert@example.com", other, ""); got != "" {
		t.Errorf("signing in gives %q", got)
	}
}

func TestAResetRevokesAllEarlierCredentials(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	session := d.signIn(t, anna)
	secret, codes := d.switchTOTPOn(t, session)
	first, err := d.Reset(local(t), anna.ID)
	if err != nil {
		t.Fatal(err)
	}
	link, err := d.Reset(local(t), anna.ID)
	if err != nil || link.ExpiresAt != d.read().Add(auth.LinkLife) {
		t.Fatal(link, err)
	}
	if d.holds(t, session) || d.try(t, home, anna.Email, password, shown(t, secret, d.read())) != pbx.CodeSignInFailed {
		t.Error("the old session or password still lets in")
	}
	if _, err := d.Redeem(from(t, home), first.Code.Reveal(), pbx.SecretFrom(other), ""); code(err) != pbx.CodeLinkInvalid {
		t.Errorf("the first of two links: %v", err)
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(other), ""); err != nil {
		t.Fatal(err)
	}
	if got := d.try(t, home, anna.Email, other, ""); got != "" {
		t.Errorf("the new password gives %q", got)
	}
	session = d.signInWith(t, anna, other)
	if _, renewed := d.switchTOTPOn(t, session); len(renewed) != len(codes) || d.try(t, home, anna.Email, other, codes[0].Reveal()) != pbx.CodeSignInFailed {
		t.Error("a recovery code of before still works")
	}
}

// An unattended session must not suffice to set a new password or to turn off the second factor.
func TestASessionAloneDoesNotResetItsOwnAccount(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna, keeper := d.account(t, "Anna", pbx.Owner), d.account(t, "Keeper", pbx.Owner)
	session := d.signIn(t, anna)
	if link, err := d.Reset(as(t, session.Principal), anna.ID); code(err) != pbx.CodeForbidden || link.Code.Reveal() != "" {
		t.Errorf("its own: %v", err)
	}
	if link, err := d.Reset(as(t, session.Principal), pbx.AccountID(strings.ToUpper(string(anna.ID)))); code(err) != pbx.CodeForbidden || link.Code.Reveal() != "" {
		t.Errorf("its own in capitals: %v", err)
	}
	_, secret, err := d.CreateToken(as(t, session.Principal), pbx.NewToken{Name: "detour", Role: pbx.Owner})
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reset(as(t, token), anna.ID); code(err) != pbx.CodeForbidden {
		t.Errorf("with a token that it made: %v", err)
	}
	if !d.holds(t, session) || d.try(t, home, anna.Email, password, "") != "" {
		t.Error("it was reset")
	}
	if _, err := d.Reset(as(t, session.Principal), keeper.ID); err != nil {
		t.Errorf("another's: %v", err)
	}
}

func TestADisabledAccountLosesAccessAtOnceUntilItIsEnabled(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Keeper", pbx.Owner)
	anna := d.account(t, "Anna", pbx.Owner)
	session := d.signIn(t, anna)
	yes, no := true, false
	if _, err := d.Update(local(t), anna.ID, auth.AccountChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if got := d.try(t, home, anna.Email, password, ""); got != pbx.CodeSignInFailed {
		t.Errorf("its password gives %q", got)
	}
	link, err := d.Reset(local(t), anna.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(password), ""); code(err) != pbx.CodeLinkInvalid {
		t.Errorf("a link lets a disabled account in: %v", err)
	}
	if d.holds(t, session) || d.try(t, home, anna.Email, password, "") != pbx.CodeSignInFailed {
		t.Error("it still gets in")
	}
	if _, err := d.Update(local(t), anna.ID, auth.AccountChange{Disabled: &no}); err != nil {
		t.Fatal(err)
	}
	if d.holds(t, session) {
		t.Error("its old session came back")
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(password), ""); err != nil {
		t.Errorf("enabled again: %v", err)
	}
}

func TestANewRoleEndsTheSessionsAndANewNameDoesNot(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Keeper", pbx.Owner)
	anna := d.account(t, "Anna", pbx.Admin)
	session := d.signIn(t, anna)
	name, bad, role, odd := " New Name ", "\n", pbx.Auditor, pbx.Role("root")
	if updated, err := d.Update(local(t), anna.ID, auth.AccountChange{Name: &name}); err != nil || updated.Name != "New Name" || !d.holds(t, session) {
		t.Errorf("%+v, error %v, session %v", updated, err, d.holds(t, session))
	}
	if _, err := d.Update(local(t), anna.ID, auth.AccountChange{Name: &bad, Role: &odd}); len(pbx.FieldsOf(err)) != 2 {
		t.Errorf("bad input: %v", err)
	}
	if updated, err := d.Update(local(t), anna.ID, auth.AccountChange{Role: &role}); err != nil || updated.Role != role || d.holds(t, session) {
		t.Errorf("%+v, error %v, session %v", updated, err, d.holds(t, session))
	}
	if p := d.signIn(t, anna).Principal; p.Role() != pbx.Auditor || p.May(pbx.AccountsWrite) {
		t.Errorf("signed in as %v", p.Role())
	}
}

func TestThereIsAlwaysAnOwnerWhoCanSignIn(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	d.account(t, "Admin", pbx.Admin)
	invited, link, err := d.Invite(local(t), pbx.NewAccount{Name: "Bert", Email: "bert@example.com", Role: pbx.Owner})
	if err != nil {
		t.Fatal(err)
	}
	yes, role := true, pbx.Admin
	takeAway := func(a pbx.Account) map[string]error {
		_, disable := d.Update(local(t), a.ID, auth.AccountChange{Disabled: &yes})
		_, demote := d.Update(local(t), a.ID, auth.AccountChange{Role: &role})
		return map[string]error{"disable": disable, "demote": demote, "delete": d.Delete(local(t), a.ID)}
	}
	for what, err := range takeAway(anna) {
		if code(err) != pbx.CodeLastOwner || pbx.KindOf(err) != pbx.KindConflict {
			t.Errorf("%s the only owner who has a password: %v", what, err)
		}
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(other), ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(local(t), anna.ID); err != nil {
		t.Errorf("one of two owners: %v", err)
	}
	for what, err := range takeAway(invited) {
		if code(err) != pbx.CodeLastOwner {
			t.Errorf("%s the last owner: %v", what, err)
		}
	}
	if got := d.try(t, home, anna.Email, password, ""); got != pbx.CodeSignInFailed {
		t.Errorf("a deleted account gives %q", got)
	}
}

func TestChangingAnAccountRequiresAllItsPermissions(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	target := map[pbx.Role]pbx.Account{}
	callers := map[string]auth.Principal{"nobody": {}}
	for _, role := range pbx.Roles() {
		target[role] = d.account(t, "target-"+string(role), role)
		callers[string(role)] = d.signIn(t, d.account(t, "caller-"+string(role), role)).Principal
	}
	for name, n := range map[string]pbx.NewToken{
		"a token of an owner":                          {Name: "1", Role: pbx.Owner},
		"a token of an admin":                          {Name: "2", Role: pbx.Admin},
		"a token of an owner that manages accounts":    {Name: "3", Role: pbx.Owner, Scopes: []pbx.Permission{pbx.AccountsRead, pbx.AccountsWrite}},
		"a token that also may what an applier may":    {Name: "4", Role: pbx.Admin, Scopes: append(pbx.Applier.Permissions(), pbx.AccountsWrite)},
		"a token of an owner that may not do accounts": {Name: "5", Role: pbx.Owner, Scopes: []pbx.Permission{pbx.UsersRead}},
	} {
		_, secret := d.token(t, n)
		p, err := d.Authenticate(t.Context(), auth.Credentials{Bearer: secret.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		callers[name] = p
	}
	everyone := fmt.Sprint(pbx.Roles())
	for caller, want := range map[string]string{
		"nobody": "[]", "operator": "[]", "applier": "[]", "auditor": "[]",
		"owner": everyone, "admin": "[admin operator applier auditor]",
		"a token of an owner": everyone, "a token of an admin": "[admin operator applier auditor]",
		"a token of an owner that manages accounts":    "[]",
		"a token that also may what an applier may":    "[applier]",
		"a token of an owner that may not do accounts": "[]",
	} {
		ctx := as(t, callers[caller])
		var over []pbx.Role
		for _, role := range pbx.Roles() {
			name := "Renamed"
			same := role
			tries := map[string]error{}
			_, tries["rename"] = d.Update(ctx, target[role].ID, auth.AccountChange{Name: &name})
			_, tries["give the role"] = d.Update(ctx, target[role].ID, auth.AccountChange{Role: &same})
			_, tries["reset"] = d.Reset(ctx, target[role].ID)
			_, _, tries["invite"] = d.Invite(ctx, pbx.NewAccount{Name: "x", Email: uuid.NewString() + "@example.com", Role: role})
			_, tries["create"] = d.Create(ctx, pbx.NewAccount{Name: "x", Email: uuid.NewString() + "@example.com", Role: role}, pbx.SecretFrom(password))
			allowed := 0
			for what, err := range tries {
				switch {
				case err == nil:
					allowed++
				case pbx.KindOf(err) != pbx.KindForbidden:
					t.Errorf("%s: %s %s: %v", caller, what, role, err)
				}
			}
			switch allowed {
			case len(tries):
				over = append(over, role)
			case 0:
				if err := d.Delete(ctx, target[role].ID); pbx.KindOf(err) != pbx.KindForbidden {
					t.Errorf("%s: delete %s: %v", caller, role, err)
				}
			default:
				t.Errorf("%s may do some things to %s and not others: %v", caller, role, tries)
			}
		}
		if got := fmt.Sprint(over); got != want {
			t.Errorf("%s has power over %s, want %s", caller, got, want)
		}
	}
}

func TestNoUserRaisesTheirOwnRole(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Owner", pbx.Owner)
	admin := d.account(t, "Admin", pbx.Admin)
	owner := pbx.Owner
	if _, err := d.Update(as(t, d.signIn(t, admin).Principal), admin.ID, auth.AccountChange{Role: &owner}); pbx.KindOf(err) != pbx.KindForbidden {
		t.Errorf("an admin makes himself an owner: %v", err)
	}
}

func TestAnUnknownAccountIsNotFoundAndADuplicateAddressIsAConflict(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	for _, id := range []pbx.AccountID{"", "x", "{" + anna.ID + "}", pbx.AccountID(uuid.NewString())} {
		_, updateErr := d.Update(local(t), id, auth.AccountChange{})
		_, resetErr := d.Reset(local(t), id)
		for what, err := range map[string]error{"update": updateErr, "reset": resetErr, "delete": d.Delete(local(t), id)} {
			if code(err) != pbx.CodeAccountNotFound {
				t.Errorf("%s %q: %v", what, id, err)
			}
		}
	}
	if _, err := d.AccountByEmail(t.Context(), "bert@example.com"); code(err) != pbx.CodeAccountNotFound {
		t.Error(err)
	}
	if got, err := d.AccountByEmail(t.Context(), "ANNA@example.com"); err != nil || got.ID != anna.ID {
		t.Errorf("%+v, error %v", got, err)
	}
	if _, _, err := d.Invite(local(t), pbx.NewAccount{Name: "Anna", Email: "ANNA@example.com", Role: pbx.Auditor}); code(err) != pbx.CodeAccountTaken {
		t.Error(err)
	}
	if _, err := d.Update(local(t), pbx.AccountID(strings.ToUpper(string(anna.ID))), auth.AccountChange{}); err != nil {
		t.Errorf("an id in capitals: %v", err)
	}
}

func TestAnAccountIsLinkedToAtMostOneUserWhoHasNoOther(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a := auth.New(auth.Config{Store: s, Now: time.Now, HashMemory: 64})
		people := directory.New(s, time.Now)
		user := func(name, email string) pbx.User {
			t.Helper()
			u, err := people.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: name, Email: email})
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		account := func(name, email string) pbx.Account {
			t.Helper()
			made, err := a.Create(local(t), pbx.NewAccount{Name: name, Email: email, Role: pbx.Owner}, pbx.SecretFrom("viele kleine Igel singen"))
			if err != nil {
				t.Fatal(err)
			}
			return made
		}
		anna, bert := user("Anna", "Anna@example.com"), user("Bert", "bert@example.com")
		annas, olgas := account("Anna", "anna@EXAMPLE.com"), account("Olga", "olga@example.com")
		persons := func(want ...pbx.AccountUser) {
			t.Helper()
			page, _, err := a.AccountPage(t.Context(), "", 10)
			if err != nil || len(page) != 2 || page[0].Person != want[0] || page[1].Person != want[1] {
				t.Errorf("the accounts are %+v, error %v, want the persons %v", page, err, want)
			}
		}
		link := func(of pbx.Account, u pbx.UserID) error {
			got, err := a.Update(local(t), of.ID, auth.AccountChange{User: &u})
			if err == nil && got.Person.ID != u && got.Person.Linked {
				t.Errorf("the account has the person %+v", got.Person)
			}
			return err
		}
		persons(pbx.AccountUser{ID: anna.ID, Name: "Anna", Number: 1000}, pbx.AccountUser{})
		if err := link(olgas, bert.ID); err != nil {
			t.Fatal(err)
		}
		persons(pbx.AccountUser{ID: anna.ID, Name: "Anna", Number: 1000}, pbx.AccountUser{ID: bert.ID, Name: "Bert", Number: 1001, Linked: true})
		if err := link(olgas, anna.ID); err != nil {
			t.Fatal(err)
		}
		persons(pbx.AccountUser{}, pbx.AccountUser{ID: anna.ID, Name: "Anna", Number: 1000, Linked: true}) // nobody is proposed who is linked
		for u, says := range map[pbx.UserID]string{anna.ID: "user_id: this user is linked to the account olga@example.com", "x": "user_id: there is no such user", "7c1d0b5e-52c5-4f0c-9d55-0b6b1d2c7a90": "user_id: there is no such user"} {
			if err := link(annas, u); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", u, err)
			}
		}
		entries, err := s.EventsAfter(t.Context(), store.EventQuery{Action: auth.ActionAccountUpdate}, 0, 10)
		if err != nil || len(entries) != 2 || entries[1].Event.Before["user_id"] != string(bert.ID) || entries[1].Event.After["user_id"] != string(anna.ID) || len(entries[1].Event.After) != 1 {
			t.Errorf("the events are %+v, error %v", entries, err)
		}
		if _, err := people.Delete(t.Context(), pbx.DefaultTenant, anna.ID); err != nil { // the account stays
			t.Fatal(err)
		}
		persons(pbx.AccountUser{}, pbx.AccountUser{})
		if err := link(olgas, bert.ID); err != nil {
			t.Fatal(err)
		}
		if err := link(olgas, ""); err != nil {
			t.Fatal(err)
		}
		persons(pbx.AccountUser{}, pbx.AccountUser{})
	})
}
