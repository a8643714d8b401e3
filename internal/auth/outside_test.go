package auth_test

import (
	"testing"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestWhomAProviderSignedInGetsTheAccountOfHisAddress(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Operator)
	opened, err := d.SignInOutside(from(t, home), auth.Outside{Email: "ANNA@example.com", Name: "Somebody Else", Role: pbx.Admin})
	got, _ := opened.Principal.Account()
	if err != nil || got.ID != anna.ID || got.Name != "Anna" || opened.Principal.Role() != pbx.Operator {
		t.Fatalf("%+v, %v", got, err)
	}
	p, err := d.Authenticate(t.Context(), auth.Proof{Session: opened.Token.Reveal()})
	if err != nil || p.Role() != pbx.Operator {
		t.Errorf("%+v, %v", p, err)
	}
	again, err := d.SignInOutside(from(t, home), auth.Outside{Email: "anna@example.com", Replaces: opened.Token.Reveal()})
	if err != nil || again.Token.Reveal() == opened.Token.Reveal() {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), auth.Proof{Session: opened.Token.Reveal()}); pbx.KindOf(err) != pbx.KindNotSignedIn {
		t.Errorf("the session before still holds: %v", err)
	}
	d.signIn(t, anna) // her password is still hers
}

func TestWhoHasNoAccountGetsNoneUnlessARoleIsSetForThat(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Olga", pbx.Owner)
	for name, o := range map[string]auth.Outside{
		"nobody knows him": {Email: "ben@example.com", Name: "Ben"}, "no address": {Email: "", Name: "Ben", Role: pbx.Auditor}, "no name": {Email: "ben@example.com", Role: pbx.Auditor},
		"an unknown role": {Email: "ben@example.com", Name: "Ben", Role: "root"}, "half an address": {Email: "ben@", Name: "Ben", Role: pbx.Auditor},
	} {
		if opened, err := d.SignInOutside(from(t, home), o); err == nil || opened.Principal.Known() {
			t.Errorf("%s: %+v", name, opened)
		}
	}
	opened, err := d.SignInOutside(from(t, home), auth.Outside{Email: "ben@example.com", Name: "Ben", Role: pbx.Auditor})
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
	if opened, err := d.SignInOutside(from(t, home), auth.Outside{Email: anna.Email, Name: "Anna", Role: pbx.Auditor}); pbx.KindOf(err) != pbx.KindNotSignedIn || opened.Principal.Known() {
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
	opened, err := d.SignInOutside(from(t, home), auth.Outside{Email: "ida@example.com"})
	if got, _ := opened.Principal.Account(); err != nil || got.ID != invited.ID || got.Invited {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := d.Authenticate(t.Context(), auth.Proof{Session: opened.Token.Reveal()}); err != nil {
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
		_, err := d.SignInOutside(from(t, home), auth.Outside{Email: anna.Email, Alone: true})
		if got := code(err); (got == pbx.CodeSecondFactor) != demanded {
			t.Errorf("%s, with a password alone: %v", policy, err)
		}
		opened, err := d.SignInOutside(from(t, home), auth.Outside{Email: anna.Email})
		if err != nil || opened.Principal.LacksFactor() || opened.Principal.FactorDemanded() || !opened.Principal.May(pbx.AccountsWrite) {
			t.Errorf("%s: %+v, %v", policy, opened.Principal, err)
		}
		renewed, err := d.ChangePassword(as(t, opened.Principal), pbx.SecretFrom(password), pbx.SecretFrom(other), "")
		if err != nil || renewed.Principal.LacksFactor() {
			t.Errorf("%s: with a new password in the same browser: %+v, %v", policy, renewed.Principal, err)
		}
	}
}
