package auth

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAPersonMayWhatTheRoleMay(t *testing.T) {
	t.Parallel()
	for _, role := range append(pbx.Roles(), "", "root") {
		until := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
		p := ofAccount(pbx.Account{ID: "1", Name: "Anna", Role: role}, pbx.Session{ID: "2", ExpiresAt: until}, pbx.FactorOffered)
		for _, wanted := range pbx.Permissions() {
			if p.May(wanted) != role.May(wanted) {
				t.Errorf("%q, %s: may is %v", role, wanted, p.May(wanted))
			}
		}
		if !p.May(pbx.SignedIn) || !p.May(pbx.Public) || p.Session() != "2" || p.ExpiresAt() != until {
			t.Errorf("%q: %+v", role, p)
		}
		if _, ok := p.Token(); ok {
			t.Errorf("%q is taken for a token", role)
		}
		if a := p.Actor("192.0.2.1", "id"); a != (pbx.Actor{Kind: pbx.ActorPerson, ID: "1", Name: "Anna", From: "192.0.2.1", RequestID: "id"}) {
			t.Errorf("%q acts as %+v", role, a)
		}
	}
}

func TestScopesNarrowATokenAndNeverWidenIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		role := rapid.SampledFrom(append(pbx.Roles(), "", "root")).Draw(t, "role")
		scopes := rapid.SliceOf(rapid.SampledFrom(append(pbx.Permissions(), pbx.Public, pbx.SignedIn, "", "*"))).Draw(t, "scopes")
		p := ofToken(pbx.Token{ID: "abc", Name: "ci", Role: role, Scopes: scopes})
		for _, wanted := range pbx.Permissions() {
			if want := role.May(wanted) && slices.Contains(scopes, wanted); p.May(wanted) != want {
				t.Fatalf("%s: may is %v", wanted, p.May(wanted))
			}
		}
		if _, ok := p.Account(); ok {
			t.Fatal("a token is taken for a person")
		}
		if a := p.Actor("", ""); a.Kind != pbx.ActorToken || a.ID != "abc" || a.Name != "ci" {
			t.Fatalf("it acts as %+v", a)
		}
	})
}
