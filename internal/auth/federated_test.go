package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// at is a person of the provider of these tests.
func at(subject string) pbx.Identity {
	return pbx.Identity{Issuer: "https://id.example.com", Subject: subject}
}

func TestAProviderSignInGetsTheAccountWithItsAddress(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Operator)
	opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: "ANNA@example.com", Name: "Somebody Else", Role: pbx.Admin})
	got, _ := opened.Principal.Account()
	if err != nil || got.ID != anna.ID || got.Name != "Anna" || opened.Principal.Role() != pbx.Operator {
		t.Fatalf("%+v, %v", got, err)
	}
	p, err := d.Authenticate(t.Context(), auth.Credentials{Session: opened.Token.Reveal()})
	if err != nil || p.Role() != pbx.Operator {
		t.Errorf("%+v, %v", p, err)
	}
	again, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: "anna@example.com", Replaces: opened.Token.Reveal()})
	if err != nil || again.Token.Reveal() == opened.Token.Reveal() {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), auth.Credentials{Session: opened.Token.Reveal()}); pbx.KindOf(err) != pbx.KindNotSignedIn {
		t.Errorf("the session before still holds: %v", err)
	}
	d.signIn(t, anna) // her password is still hers
}

func TestNoAccountIsCreatedAtSignInUnlessADefaultRoleIsSet(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Olga", pbx.Owner)
	for name, o := range map[string]auth.FederatedLogin{
		"nobody knows him": {Identity: at("x"), Email: "ben@example.com", Name: "Ben"}, "no address": {Identity: at("x"), Email: "", Name: "Ben", Role: pbx.Auditor}, "no name": {Identity: at("x"), Email: "ben@example.com", Role: pbx.Auditor},
		"an unknown role": {Identity: at("x"), Email: "ben@example.com", Name: "Ben", Role: "root"}, "half an address": {Identity: at("x"), Email: "ben@", Name: "Ben", Role: pbx.Auditor},
		"no subject": {Identity: pbx.Identity{Issuer: "https://id.example.com"}, Email: "ben@example.com", Name: "Ben", Role: pbx.Auditor},
		"no issuer":  {Identity: pbx.Identity{Subject: "x"}, Email: "ben@example.com", Name: "Ben", Role: pbx.Auditor},
	} {
		if opened, err := d.SignInFederated(from(t, home), o); err == nil || opened.Principal.Known() {
			t.Errorf("%s: %+v", name, opened)
		}
	}
	opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: "ben@example.com", Name: "Ben", Role: pbx.Auditor})
	if err != nil || opened.Principal.Role() != pbx.Auditor {
		t.Fatal(err)
	}
	if _, err := d.SignIn(from(t, home), auth.SignIn{Email: "ben@example.com", Password: pbx.SecretFrom("")}); err == nil {
		t.Error("an empty password is his")
	}
}

func TestADisabledAccountIsClosedToProvidersAsWell(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	olga, yes := d.account(t, "Olga", pbx.Owner), true
	anna := d.account(t, "Anna", pbx.Operator)
	if _, err := d.Update(as(t, d.signIn(t, olga).Principal), anna.ID, auth.AccountChange{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: anna.Email, Name: "Anna", Role: pbx.Auditor}); pbx.KindOf(err) != pbx.KindNotSignedIn || opened.Principal.Known() {
		t.Errorf("%+v, %v", opened, err)
	}
}

func TestAnInvitationIsFollowedBySigningInOutside(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Olga", pbx.Owner)
	invited, link, err := d.Invite(local(t), pbx.NewAccount{Name: "Ida", Email: "ida@example.com", Role: pbx.Applier})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: "ida@example.com"})
	if got, _ := opened.Principal.Account(); err != nil || got.ID != invited.ID || got.Invited {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := d.Authenticate(t.Context(), auth.Credentials{Session: opened.Token.Reveal()}); err != nil {
		t.Error(err)
	}
	if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(password), ""); pbx.CodeOf(err) != pbx.CodeLinkInvalid {
		t.Errorf("the link is still good: %v", err)
	}
}

func TestAProviderAnswersForTheSecondFactorUnlessItSaysThatThereWasNone(t *testing.T) {
	t.Parallel()
	for policy, demanded := range map[pbx.SecondFactor]bool{pbx.FactorOffered: false, pbx.FactorOwners: true, pbx.FactorEveryone: true} {
		d := newDoor(t)
		d.Auth = auth.New(auth.Config{Store: d.store, Now: d.read, SecondFactor: policy, HashMemory: 64})
		anna := d.account(t, "Anna", pbx.Owner)
		_, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: anna.Email, Factor: auth.FactorNone})
		if got := code(err); (got == pbx.CodeSecondFactor) != demanded {
			t.Errorf("%s, with a password alone: %v", policy, err)
		}
		opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: anna.Email})
		if err != nil || opened.Principal.MissingSecondFactor() || opened.Principal.FactorDemanded() || !opened.Principal.May(pbx.AccountsWrite) {
			t.Errorf("%s: %+v, %v", policy, opened.Principal, err)
		}
		renewed, err := d.ChangePassword(as(t, opened.Principal), pbx.SecretFrom(password), pbx.SecretFrom(other), "")
		if err != nil || renewed.Principal.MissingSecondFactor() {
			t.Errorf("%s: with a new password in the same browser: %+v, %v", policy, renewed.Principal, err)
		}
	}
}

func TestAnAccountBelongsToTheProviderIdentityThatSignedInFirst(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	olga := d.account(t, "Olga", pbx.Owner)
	anna := d.account(t, "Kate", pbx.Operator)
	sign := func(who pbx.Identity, email string) (pbx.AccountID, error) {
		opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: who, Email: email, Name: "Somebody", Role: pbx.Auditor})
		got, _ := opened.Principal.Account()
		return got.ID, err
	}
	if got, err := sign(at("kate"), "Kate@Example.com"); err != nil || got != anna.ID {
		t.Fatalf("the first: %v %v", got, err)
	}
	if told := d.told(t, auth.ActionLink); len(told) != 1 || told[0].After["subject"] != "kate" || told[0].Object.ID != string(anna.ID) {
		t.Errorf("the trail: %+v", told)
	}
	elsewhere := pbx.Identity{Issuer: "https://evil.example", Subject: "kate"}
	for name, c := range map[string]struct {
		who   pbx.Identity
		email string
		want  pbx.AccountID // "": refused
	}{
		"the same person":                             {at("kate"), "kate@example.com", anna.ID},
		"the same person, with another address":       {at("kate"), "kate.new@example.com", anna.ID},
		"the same person, with the owner's address":   {at("kate"), olga.Email, anna.ID},
		"another person with her address":             {at("mallory"), "kate@example.com", ""},
		"another person, spelled otherwise":           {at("mallory"), "KATE@EXAMPLE.COM", ""},
		"her name at another provider":                {elsewhere, "kate@example.com", ""},
		"her name in capitals":                        {at("KATE"), "kate@example.com", ""},
		"her name with a space":                       {at("kate "), "kate@example.com", ""},
		"an address that looks like it (Kelvin sign)": {at("mallory"), "\u212aate@example.com", ""},
	} {
		got, err := sign(c.who, c.email)
		if c.want != "" && (err != nil || got != c.want) || c.want == "" && got == anna.ID || c.want == "" && !errors.Is(err, auth.ErrOtherIdentity) && pbx.KindOf(err) != pbx.KindInvalid {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if told := d.told(t, auth.ActionLinkOther); len(told) != 1 || told[0].Result != pbx.AuditDenied || told[0].After["issuer"] == "" || told[0].After["subject"] == "" {
		t.Errorf("the trail tells once a minute of whoever came instead: %+v", told)
	}
	session := d.signIn(t, anna)
	if had, err := d.Unlink(as(t, d.signIn(t, olga).Principal), anna.ID); err != nil || !had || d.holds(t, session) {
		t.Errorf("unlinking: %v %v, the session holds: %v", had, err, d.holds(t, session))
	}
	if had, err := d.Unlink(local(t), anna.ID); err != nil || had {
		t.Errorf("unlinking once more: %v %v", had, err)
	}
	if told := d.told(t, auth.ActionUnlink); len(told) != 1 || told[0].Before["subject"] != "kate" {
		t.Errorf("the trail: %+v", told)
	}
	if got, err := sign(at("kate2"), "kate@example.com"); err != nil || got != anna.ID {
		t.Errorf("the next: %v %v", got, err)
	}
	if _, err := sign(at("kate"), "kate@example.com"); !errors.Is(err, auth.ErrOtherIdentity) {
		t.Errorf("the one before: %v", err)
	}
	if _, err := d.Reset(local(t), anna.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := sign(at("kate3"), "kate@example.com"); err != nil || got != anna.ID {
		t.Errorf("after a reset: %v %v", got, err)
	}
	if _, err := d.Unlink(as(t, d.signIn(t, d.account(t, "Ben", pbx.Auditor)).Principal), anna.ID); pbx.KindOf(err) != pbx.KindForbidden {
		t.Errorf("an auditor unlinks: %v", err)
	}
}

func TestOfTwoConcurrentFirstSignInsOneGetsTheAccount(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	const many = 8
	won := make(chan bool, many)
	for i := range many {
		go func() {
			opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at(strings.Repeat("x", i+1)), Email: anna.Email})
			won <- err == nil && opened.Principal.Known()
		}()
	}
	winners := 0
	for range many {
		if <-won {
			winners++
		}
	}
	if winners != 1 || len(d.told(t, auth.ActionLink)) != 1 {
		t.Errorf("%d have the account", winners)
	}
}
