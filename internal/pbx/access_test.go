package pbx_test

import (
	"slices"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestARoleMayWhatItIsForAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		role pbx.Role
		not  []pbx.Permission // all others it may
	}{
		{pbx.Owner, nil},
		{pbx.Admin, nil},
		{pbx.Operator, []pbx.Permission{pbx.ThingsWrite, pbx.ApplyRun, pbx.AuditRead, pbx.AccountsRead, pbx.AccountsWrite, pbx.SystemRead}},
		{pbx.Applier, []pbx.Permission{pbx.UsersWrite, pbx.ThingsWrite, pbx.SwitchesWrite, pbx.SecretsRead, pbx.AuditRead, pbx.AccountsRead, pbx.AccountsWrite, pbx.SystemRead}},
		{pbx.Auditor, []pbx.Permission{pbx.UsersWrite, pbx.ThingsWrite, pbx.SwitchesWrite, pbx.SecretsRead, pbx.ApplyRun, pbx.AccountsWrite}},
		{"", pbx.Permissions()},
		{"OWNER", pbx.Permissions()},
	} {
		for _, p := range pbx.Permissions() {
			if tc.role.May(p) == slices.Contains(tc.not, p) {
				t.Errorf("%q, %s: may is %v", tc.role, p, tc.role.May(p))
			}
		}
	}
}

func TestWorkWithoutANamedActorIsThePortals(t *testing.T) {
	t.Parallel()
	if a := pbx.ActorOf(t.Context()); a.Kind != pbx.ActorPortal {
		t.Errorf("without an actor: %+v", a)
	}
	anna := pbx.Actor{Kind: pbx.ActorPerson, ID: "1", Name: "Anna"}
	if a := pbx.ActorOf(pbx.WithActor(t.Context(), anna)); a != anna {
		t.Errorf("with one: %+v", a)
	}
}
