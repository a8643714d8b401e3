package auth_test

import (
	"testing"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestWithoutAuthenticationEveryCallerHasAllPermissionsExceptAnAccount(t *testing.T) {
	t.Parallel()
	p := auth.Anyone()
	for _, wanted := range append(pbx.Permissions(), pbx.SignedIn) {
		if !p.May(wanted) {
			t.Errorf("%s is refused", wanted)
		}
	}
	_, person := p.Account()
	_, program := p.Token()
	if a := p.Actor("192.0.2.1", "id"); person || program || a.Kind != pbx.ActorAnonymous {
		t.Errorf("it is somebody: %+v", a)
	}
}

func TestTheZeroPrincipalHasNoPermissions(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]auth.Principal{
		"the zero principal":          {},
		"a context that names nobody": auth.PrincipalOf(t.Context()),
	} {
		for _, wanted := range append(pbx.Permissions(), pbx.Public, pbx.SignedIn, "") {
			if p.May(wanted) {
				t.Errorf("%s may %q", name, wanted)
			}
		}
		if p.Known() || p.Role() != "" || len(p.Permissions()) > 0 || p.Session() != "" {
			t.Errorf("%s is somebody: %+v", name, p)
		}
		if a := p.Actor("192.0.2.1", "id"); a != (pbx.Actor{Kind: pbx.ActorAnonymous, From: "192.0.2.1", RequestID: "id"}) {
			t.Errorf("%s acts as %+v", name, a)
		}
	}
}
