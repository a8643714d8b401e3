package render_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// ringingHouse returns a model with a ring group of each strategy, which go on to a user, to another group and to the end of the call.
func ringingHouse() pbx.Model {
	m := pbx.Model{Users: []pbx.User{
		{ID: "a", Name: "Anna", Extension: pbx.Extension{Number: 1000, Secret: pbx.SecretFrom("aaaaaaaaaaaaaaaa")}},
		{ID: "b", Name: "Ben", Disabled: true, Extension: pbx.Extension{Number: 99999}},
	}}
	for i, g := range []*pbx.RingGroup{
		{Number: "600", Strategy: pbx.RingAll, Seconds: 20, Members: []pbx.UserID{"b", "a"}, SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.KindUser, ID: "b"}},
		{Number: "", Strategy: pbx.RingHunt, Seconds: 5, Members: []pbx.UserID{"a"}, Fallback: pbx.Destination{Kind: pbx.KindRingGroup, ID: "x"}},
		{Number: "611", Strategy: pbx.RingMemory, Seconds: 120, Members: []pbx.UserID{"a"}, Fallback: pbx.Destination{Kind: pbx.Hangup}},
	} {
		m.Items = append(m.Items, pbx.Item{
			Meta: pbx.Meta{ID: pbx.ThingID("xyz"[i : i+1]), Kind: pbx.KindRingGroup, Short: 7 + 2*i, Name: "Group"}, Body: g,
		})
	}
	return m
}

// inventory renders a model, and reads the files back.
func inventory(t *testing.T, m pbx.Model) render.Inventory {
	t.Helper()
	r, err := render.Options{}.Next(render.Rendered{}, m)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := render.Read(r.Files)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestTheFilesGiveTheModelBackWithoutSecrets(t *testing.T) {
	t.Parallel()
	want := ringingHouse()
	want.Users[0].Calls = pbx.CallSettings{
		RingSeconds: 30, CallLimit: 3, WhenBusy: pbx.Destination{Kind: pbx.KindRingGroup, ID: "x"}, WhenUnanswered: pbx.Destination{Kind: pbx.KindUser, ID: "b"},
		WhenUnreachable: pbx.Destination{Kind: pbx.Hangup},
	}
	want.Users[1].Calls = pbx.CallSettings{RingSeconds: 25, WhenUnreachable: pbx.Destination{Kind: pbx.KindRingGroup, ID: "y"}}
	inv := inventory(t, want)
	got, ok := inv.Model(want)
	want.Users[0].Extension.Secret = pbx.Secret{}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b pbx.Secret) bool { return a.Reveal() == b.Reveal() })); diff != "" || !ok {
		t.Error(ok, diff)
	}
	// Without the other model the keys stand for the ids.
	got, ok = inv.Model(pbx.Model{})
	g, _ := got.Items[0].Body.(*pbx.RingGroup)
	if !ok || got.Users[0].ID != "1000" || got.Users[0].Name != "Anna" || got.Items[0].ID != "g7" || g.Members[1] != "1000" || g.Fallback.ID != "99999" {
		t.Errorf("%t, %+v, %+v", ok, got.Items, g)
	}
}

func TestFilesThatThisVersionDidNotWriteGiveNoModel(t *testing.T) {
	t.Parallel()
	r, err := render.Options{}.Next(render.Rendered{}, ringingHouse())
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"group,1(all,20": "group,1(all,soon", "sc-lib-4,group,1(hunt": "sc-lib-9,group,1(hunt", "(memory,120,,1000,": "(memory,120,,", "sc-user.99999)": "sc-other.1)", "user,1(1000,25,": "user,1(1000,soon,"} {
		files := append([]pbx.File(nil), r.Files...)
		changed := false
		for i := range files {
			if files[i].Path == pbx.CallflowPath {
				text := strings.Replace(string(files[i].Content), from, to, 1)
				changed, files[i].Content = text != string(files[i].Content), []byte(text)
			}
		}
		if !changed {
			t.Errorf("the files lack %s", from)
		}
		inv, err := render.Read(files)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := inv.Model(ringingHouse()); ok {
			t.Errorf("%s instead of %s", to, from)
		}
	}
}
