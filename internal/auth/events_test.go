package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

func TestEveryChangeLeavesItsEventAndNoEventHoldsASecret(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	var secrets []string
	link, _, err := d.SetupLink(from(t, home))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := d.Setup(from(t, home), setup(link.Code.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	owner := as(t, opened.Principal)
	bert, invitation, err := d.Invite(owner, pbx.NewAccount{Name: "Bert", Email: "bert@example.com", Role: pbx.Operator})
	if err != nil {
		t.Fatal(err)
	}
	joined, err := d.Redeem(from(t, home), invitation.Code.Reveal(), pbx.SecretFrom(other), "Browser")
	if err != nil {
		t.Fatal(err)
	}
	his := as(t, joined.Principal)
	d.try(t, home, bert.Email, password, "")
	d.try(t, home, "nobody@example.com", password, "")
	d.try(t, home, "hunter2-typed-in-the-wrong-place", password, "")
	_ = d.StopTOTP(his, pbx.SecretFrom(password))
	totp, codes := d.switchTOTPOn(t, joined)
	if err = d.StopTOTP(his, pbx.SecretFrom(other)); err != nil {
		t.Fatal(err)
	}
	renewed, err := d.ChangePassword(his, pbx.SecretFrom(other), pbx.SecretFrom(password+"!"), "")
	if err != nil {
		t.Fatal(err)
	}
	token, secret, err := d.CreateToken(owner, pbx.NewToken{Name: "ci", Role: pbx.Applier, Scopes: []pbx.Permission{pbx.ApplyRun}})
	if err != nil {
		t.Fatal(err)
	}
	_, revokeErr := d.RevokeToken(owner, token.ID)
	role := pbx.Auditor
	_, updateErr := d.Update(owner, bert.ID, auth.AccountChange{Role: &role})
	reset, resetErr := d.Reset(local(t), bert.ID)
	for what, err := range map[string]error{
		"revoke": revokeErr, "update": updateErr, "reset": resetErr, "delete": d.Delete(owner, bert.ID), "sign out": d.SignOut(owner),
		"end what is not there": d.EndSession(owner, "x"),
	} {
		if (err != nil) != (what == "end what is not there") {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, s := range append(codes, link.Code, invitation.Code, reset.Code, totp, opened.Token, joined.Token, renewed.Token, secret) {
		secrets = append(secrets, s.Reveal())
	}
	secrets = append(secrets, password, other, "hunter2", "argon2")

	if err := d.RecordRefused(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := d.store.EventsAfter(t.Context(), store.EventQuery{}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var story []string
	for _, entry := range entries {
		e := entry.Event
		text := fmt.Sprintf("%+v", e)
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s holds a secret: %s", e.Action, text)
			}
		}
		story = append(story, fmt.Sprintf("%s %s: %s %s %s", e.Actor.Kind, e.Actor.Name, e.Action, e.Object.Name, e.Result))
	}
	want := strings.TrimSpace(`
anonymous : link.setup setup ok
anonymous : account.create Anna ok
person Anna: session.sign_in Anna ok
person Anna: account.create Bert ok
person Bert: account.password Bert ok
person Bert: session.sign_in Bert ok
anonymous : session.sign_in_failed Bert denied
anonymous : session.sign_in_failed nobody@example.com denied
anonymous : session.sign_in_failed  denied
person Bert: session.confirm_failed Bert denied
person Bert: account.totp_on Bert ok
person Bert: account.totp_off Bert ok
person Bert: account.password Bert ok
person Bert: session.sign_in Bert ok
person Anna: token.create ci ok
person Anna: token.revoke ci ok
person Anna: account.update Bert ok
local root: account.reset Bert ok
person Anna: account.delete Bert ok
person Anna: session.sign_out Anna ok
person Bert: session.confirm_failed Bert denied`) // the second one, counted with its minute
	if diff := cmp.Diff(want, strings.Join(story, "\n")); diff != "" {
		t.Fatal(diff)
	}
	e := entries[16].Event
	if fmt.Sprint(e.Before, e.After) != "map[role:operator] map[role:auditor]" {
		t.Errorf("a new role is told as %v and %v", e.Before, e.After)
	}
}
