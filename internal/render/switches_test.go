package render_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// Switches follow a user whose secret is known, and are never given to another user: without the secrets no user with digests is recognised.
func TestSwitchesFollowAUserByTheSecretAndNoOtherUser(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	user := func(number pbx.Number, secret string, created time.Time) pbx.User {
		return pbx.User{
			Name: "User", CreatedAt: created, Extension: pbx.Extension{Number: number, Secret: pbx.SecretFrom(secret)}, Devices: []pbx.Device{{Suffix: 2, Secret: pbx.SecretFrom("phone" + secret)}},
		}
	}
	anna, berta := user(1000, "secretofanna1234", at), user(1001, "secretofberta123", at)
	moved, claus, renewed := anna, user(1500, "secretofclaus123", at.Add(2*time.Hour)), anna
	moved.Extension.Number = 1500
	renewed.Extension.Secret = pbx.SecretFrom("anothersecret123")
	reused := user(1000, "secretofclaus123", at.Add(2*time.Hour))
	off := func(u pbx.User) pbx.User {
		u.Disabled = true
		return u
	}
	bertaThere := berta // at the number of Anna
	bertaThere.Extension.Number = 1000
	move := pbx.Effect{Verb: pbx.MoveSwitches, Number: 1000, To: 1500, Reversible: true}
	clearAll := pbx.Effect{Verb: pbx.ClearSwitches, Number: 1000}
	came := func(u pbx.User) bool { return u.CreatedAt.After(at.Add(time.Hour)) }
	for name, options := range map[string]render.Options{"passwords": {}, "digests": {DigestRealm: "asterisk"}} {
		inventory := func(users ...pbx.User) render.Inventory {
			r, err := options.Next(render.Rendered{}, pbx.Model{Users: users})
			if err != nil {
				t.Fatal(err)
			}
			return r.Inventory
		}
		from := inventory(anna, berta)
		for what, tc := range map[string]struct {
			users []pbx.User
			want  []pbx.Effect
		}{
			"nothing changes":                {[]pbx.User{anna, berta}, nil},
			"another number":                 {[]pbx.User{berta, moved}, []pbx.Effect{move}},
			"deleted, and another is added":  {[]pbx.User{berta, claus}, []pbx.Effect{clearAll}},
			"a new secret":                   {[]pbx.User{renewed, berta}, nil},
			"the number of a deleted user":   {[]pbx.User{reused, berta}, []pbx.Effect{clearAll}},
			"another number, which was free": {[]pbx.User{reused, berta, moved}, []pbx.Effect{move}},
			"disabled":                       {[]pbx.User{off(anna), berta}, nil},
			"disabled with another number":   {[]pbx.User{berta, off(moved)}, []pbx.Effect{move}},
			"disabled, and the number is that of one created later": {[]pbx.User{off(reused), berta}, []pbx.Effect{clearAll}},
			"the number of a disabled user":                         {[]pbx.User{off(bertaThere)}, []pbx.Effect{clearAll, {Verb: pbx.MoveSwitches, Number: 1001, To: 1000, Reversible: true}}},
		} {
			asked := 0
			got := render.SwitchEffects(from, inventory(tc.users...), tc.users, func(u pbx.User) bool { asked++; return came(u) })
			if !cmp.Equal(got, tc.want) {
				t.Errorf("%s, %s: %v, want %v", name, what, got, tc.want)
			}
			if what == "nothing changes" && asked > 0 {
				t.Errorf("%s: the time is asked for although nothing changes", name)
			}
		}
		for what, tc := range map[string]struct {
			users []pbx.User
			want  []pbx.Effect
		}{
			"disabled as before":          {[]pbx.User{off(anna), berta}, nil},
			"enabled again":               {[]pbx.User{anna, berta}, nil},
			"deleted":                     {[]pbx.User{berta}, []pbx.Effect{clearAll}},
			"the number of another":       {[]pbx.User{reused, berta}, []pbx.Effect{clearAll}},
			"that of another, disabled":   {[]pbx.User{off(reused), berta}, []pbx.Effect{clearAll}},
			"the number of who was there": {[]pbx.User{bertaThere}, []pbx.Effect{{Verb: pbx.MoveSwitches, Number: 1001, To: 1000, Reversible: true}}},
		} {
			got := render.SwitchEffects(inventory(off(anna), berta), inventory(tc.users...), tc.users, came)
			if !cmp.Equal(got, tc.want) {
				t.Errorf("%s, of a disabled user, %s: %v, want %v", name, what, got, tc.want)
			}
		}
		if name == "digests" {
			got := render.SwitchEffects(from, inventory(berta, claus), nil, came)
			if want := []pbx.Effect{clearAll}; !cmp.Equal(got, want) {
				t.Errorf("without the secrets: %v, want %v", got, want)
			}
		}
	}
}
