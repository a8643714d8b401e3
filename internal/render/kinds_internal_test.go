package render

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render/rendertest"
)

// gadget is a thing that only tests have: it has PJSIP objects, and extensions in two contexts.
type gadget struct {
	key, secret string
	ring        int
}

func gadgets() kind[gadget, gadget] {
	return kind[gadget, gadget]{
		take:  func(g gadget) gadget { return g },
		order: func(a, b gadget) int { return cmp.Compare(a.key, b.key) },
		same:  func(a, b gadget) bool { return a == b },
		piece: func(g gadget) piece {
			step := func(context string, priority int, app, args string) pbx.Step {
				return pbx.Step{Context: context, Exten: g.key, Priority: priority, App: app, Args: args}
			}
			return piece{
				owner: pbx.Thing{Kind: pbx.KindOther, Key: g.key}, path: pbx.TrunksPath,
				objects: []object{
					{"registration", g.key, seal([]setting{{"type", "registration"}, {"server_uri", "sip:127.0.0.1"}, {pbx.HashAttribute, ""}})},
					{"auth", g.key, seal([]setting{{"type", "auth"}, {"password", g.secret}, {pbx.HashAttribute, ""}})},
				},
				steps: []pbx.Step{
					step("sc-gadget", pbx.HintPriority, "hint", "PJSIP/1000"), step("sc-gadget", 1, "Dial", "PJSIP/1000,"+strconv.Itoa(g.ring)), step("sc-gadget", 2, "Hangup", ""),
					step("sc-direct", 1, "Goto", "sc-group,"+g.key+",1"),
				},
			}
		},
	}
}

// model holds the things of both kinds.
type model struct {
	users   []pbx.User
	gadgets []gadget
}

// both holds the rendered files of both kinds.
type both struct {
	Rendered
	gadgets layer[gadget]
}

func next(before both, m model) (now both, err error) {
	contexts := userContexts(false, false, false)
	if len(m.gadgets) > 0 {
		contexts = append(contexts, context{"sc-gadget", pbx.CallflowPath, []string{"sc-direct"}}, context{name: "sc-direct", path: pbx.CallflowPath})
	}
	now.users, now.gadgets = Options{}.users(1, false, userCalls{dialling: usualDialling(25)}, nil).next(before.users, m.users), gadgets().next(before.gadgets, m.gadgets)
	pieces := slices.Concat(now.gadgets.pieces, now.users.pieces)
	now.Files, now.Inventory, err = write(before.Rendered, pieces, contexts, now.users.sameSteps && now.gadgets.sameSteps)
	now.gadgets.pieces, now.users.pieces = pieces[:len(m.gadgets)], pieces[len(m.gadgets):]
	return now, err
}

func TestFilesOfSeveralKindsRenderedIncrementallyEqualThoseRenderedAnewAndAreReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		users, others := map[pbx.Number]pbx.User{}, map[string]gadget{}
		var before both
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				number := pbx.Number(rapid.IntRange(1000, 1003).Draw(t, "number"))
				users[number] = pbx.User{
					Name:      rapid.SampledFrom([]string{"Anna", "Bob"}).Draw(t, "name"),
					Extension: pbx.Extension{Number: number, Secret: pbx.SecretFrom(rapid.SampledFrom([]string{"one", "two;"}).Draw(t, "secret"))},
				}
				g := gadget{rapid.SampledFrom([]string{"g1", "g2", "g3"}).Draw(t, "key"), rapid.SampledFrom([]string{"one", "two;"}).Draw(t, "secret"), rapid.IntRange(1, 2).Draw(t, "ring")}
				others[g.key] = g
				if rapid.Bool().Draw(t, "deleted") {
					delete(users, number)
					delete(others, g.key)
				}
			}
			m := model{
				slices.SortedFunc(maps.Values(users), func(a, b pbx.User) int { return int(a.Extension.Number - b.Extension.Number) }),
				slices.SortedFunc(maps.Values(others), func(a, b gadget) int { return cmp.Compare(a.key, b.key) }),
			}
			now, err := next(before, m)
			anew, anewErr := next(both{}, m)
			if err != nil || anewErr != nil {
				t.Fatal(err, anewErr)
			}
			if diff := gocmp.Diff(anew.Files, now.Files); diff != "" {
				t.Fatal(diff)
			}
			read, err := Read(now.Files)
			if diff := gocmp.Diff(now.Inventory.Live(), read.Live()); diff != "" || err != nil {
				t.Fatalf("error %v\n%s", err, diff)
			}
			fromBefore, err := Read(before.Files)
			if err != nil {
				t.Fatal(err)
			}
			for name, there := range map[string]Inventory{"rendered": before.Inventory, "read": fromBefore} {
				if after, err := ReadAfter(before.Files, there, now.Files); !reflect.DeepEqual(read, after) || err != nil {
					t.Fatalf("files read after %s ones are %+v, error %v; want %+v", name, after, err, read)
				}
			}
			if diff := gocmp.Diff(Changes(fromBefore, read), Changes(before.Inventory, now.Inventory)); diff != "" {
				t.Fatalf("the changes between read inventories differ from those between rendered ones:\n%s", diff)
			}
			readNames, _ := ChangedObjects(fromBefore, read)
			keptNames, hashed := ChangedObjects(before.Inventory, now.Inventory)
			if diff := gocmp.Diff(readNames, keptNames); diff != "" || !hashed {
				t.Fatalf("the changed objects between read inventories differ from those between rendered ones; hashed %t:\n%s", hashed, diff)
			}
			if wanted := 2 + 2*min(len(others), 1); len(now.Files) != wanted {
				t.Fatalf("%d gadgets have %d files, want %d", len(others), len(now.Files), wanted)
			}
			before = now
		}
	})
}

func TestTheUsersOfAnUnchangedFileAreNotReadAgain(t *testing.T) {
	t.Parallel()
	users, there, err := Config([]pbx.User{{Extension: pbx.Extension{Number: 1000, Secret: pbx.SecretFrom("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadAfter(users, there, append(slices.Clone(users), rendertest.Callflow(20, "g17")))
	if err != nil {
		t.Fatal(err)
	}
	last := len(again.pieces) - 1
	if p := &again.pieces[last]; !p.sharesObjects(&there.pieces[0]) || p.owner.Key != "1000" {
		t.Errorf("%+v was read again", p)
	}
}

func TestMaliciousTextInAThingOfAnyKindIsRefused(t *testing.T) {
	t.Parallel()
	for _, g := range []gadget{{key: "g1", secret: "a\nb"}, {key: "g1]\n[g2", secret: "x"}, {key: "g1,1,System(id)\nexten => x", secret: "x"}, {key: "g;1", secret: "x"}} {
		if _, err := next(both{}, model{gadgets: []gadget{g}}); pbx.CodeOf(err) != pbx.CodeRefused {
			t.Errorf("%+v: error %v", g, err)
		}
	}
}

func TestADiffShowsObjectsOfAnyKindWithoutSecrets(t *testing.T) {
	t.Parallel()
	users, _, err := Config(nil)
	if err != nil {
		t.Fatal(err)
	}
	with := func(secret string, ring int) []pbx.File {
		return slices.Concat(users, []pbx.File{rendertest.Trunks(secret, "t-7"), rendertest.Callflow(ring, "g17")})
	}
	text := ""
	for _, d := range Diff("a", users, "b", with("one", 20)) {
		text += d.Text
	}
	for _, d := range Diff("a", with("one", 20), "b", with("two", 20)) {
		text += d.Text
	}
	for _, want := range []string{"+[t-7]", "+server_uri=sip:127.0.0.1:9", "+password=[hidden]", "+password=[hidden, new]"} {
		if !strings.Contains(text, want) {
			t.Errorf("the diff lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "=one") || strings.Contains(text, "=two") || strings.Contains(text, "@portal") {
		t.Errorf("the diff shows a secret or a hash:\n%s", text)
	}
	removed := fmt.Sprint(Diff("a", with("one", 20), "b", users))
	if !strings.Contains(removed, "-[t-7]") {
		t.Errorf("the diff does not show the removed object:\n%s", removed)
	}
}

// The last objects and extensions represent an unchanged file: Asterisk reads it from the top.
func TestTheLastObjectOfEachTypeAndExtensionOfEachContextAreReturned(t *testing.T) {
	t.Parallel()
	users, _, err := Config([]pbx.User{{Extension: pbx.Extension{Number: 1000, Secret: pbx.SecretFrom("x")}}, {Extension: pbx.Extension{Number: 1001, Secret: pbx.SecretFrom("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	inventory, err := Read(slices.Concat(users, []pbx.File{rendertest.Trunks("one", "t-7", "t-8"), rendertest.Callflow(20, "g17", "g18")}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"aor/1001", "aor/t-8", "auth/1001", "auth/t-8", "endpoint/1001", "endpoint/t-8", "identify/t-8", "registration/t-8"}
	if diff := gocmp.Diff(want, inventory.Last()); diff != "" {
		t.Error(diff)
	}
	for context, want := range map[string]string{pbx.Context: "1000@synergy-internal", rendertest.Groups: "g18@sc-gadget", rendertest.Common: "busy@sc-common"} {
		if got := inventory.LastExten(context); got != want {
			t.Errorf("the last of %s is %q, want %q", context, got, want)
		}
	}
}
