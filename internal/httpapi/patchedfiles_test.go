package httpapi_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// settingsOf returns the values in the generated files by where they are: "endpoint/1000 callerid", "sc-group/g1 members".
func settingsOf(t *testing.T, files []pbx.File) map[string]string {
	t.Helper()
	all := map[string]string{}
	set := func(key, value string) {
		if _, twice := all[key]; twice {
			t.Fatalf("%s is there twice", key)
		}
		all[key] = value
	}
	for _, f := range files {
		section, object := "", ""
		for line := range strings.Lines(string(f.Content)) {
			line = strings.TrimSpace(line)
			key, value, _ := strings.Cut(line, "=")
			step, isStep := strings.CutPrefix(line, "exten => ")
			exten, app, _ := strings.Cut(step, ",1,")
			arguments := strings.Split(strings.TrimPrefix(app, "Gosub(sc-lib-4,group,1("), ",")
			switch {
			case f.Path == pbx.LibraryPath || line == "" || line[0] == ';':
			case line[0] == '[':
				section = strings.Trim(line, "[]")
			case isStep && section == "sc-group":
				if len(arguments) != 5 {
					t.Fatal(line)
				}
				for n, field := range []string{"strategy", "seconds", "skip_busy", "members", "fallback"} {
					set(section+"/"+exten+" "+field, arguments[n])
				}
			case isStep:
				set(section+"/"+exten, app)
			case key == "type":
				object = value + "/" + section
				set(object, "")
			default:
				set(object+" "+key, value)
			}
		}
	}
	return all
}

// expected is the users and ring groups as the API must have them, in the form of the contract.
type expected struct{ users, groups []map[string]any }

// depends returns on what in the users and ring groups a value in the files depends, "" if there must be no such value.
func (e expected) depends(key string) string {
	where, field, _ := strings.Cut(key, " ")
	context, exten, _ := strings.Cut(where, "/")
	for _, u := range e.users {
		if u["number"] != exten || context == "sc-group" {
			continue
		}
		switch {
		case context == "sc-user":
			return fmt.Sprint(u["enabled"])
		case context == "synergy-internal":
			return "a user"
		case u["enabled"] != true:
			return ""
		case context == "endpoint" && (field == "callerid" || field == "@portal"):
			return fmt.Sprint(u["name"])
		case context == "auth": // users may get each other's number, but not the secret
			return fmt.Sprint(u["id"])
		}
		return "a phone"
	}
	for n, g := range e.groups {
		switch key := fmt.Sprint("g", n+1); {
		case context == "synergy-internal" && g["number"] == exten:
			return key
		case context != "sc-group" || key != exten:
		case field == "members":
			var numbers []string
			for _, id := range g["members"].([]any) {
				numbers = append(numbers, e.numberOf(id))
			}
			return strings.Join(numbers, "-")
		case field == "fallback":
			to := g["fallback"].(map[string]any)
			return fmt.Sprint(to["kind"], e.numberOf(to["id"]))
		default:
			return fmt.Sprint(g[field])
		}
	}
	return ""
}

func (e expected) numberOf(id any) string {
	for _, u := range e.users {
		if u["id"] == id {
			return fmt.Sprint(u["number"])
		}
	}
	return fmt.Sprint(id) // a group is in the files by its key, which does not change
}

func (e expected) clone() expected {
	copied := func(all []map[string]any) (c []map[string]any) {
		for _, m := range all {
			c = append(c, maps.Clone(m))
		}
		return c
	}
	return expected{copied(e.users), copied(e.groups)}
}

func TestAPatchChangesInTheGeneratedFilesExactlyWhatDependsOnTheNamedFieldsAtLength(t *testing.T) {
	t.Parallel()
	steps := labtest.Soak(30, 3000)
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
		t.Logf("seed %d", seed)
		var is expected
		for i := range 4 {
			is.users = append(is.users, p.request(here, "POST", "http://localhost/api/v1/users", fmt.Sprintf(`{"name":"User %d"}`, i)).json)
		}
		for i := range 3 {
			is.groups = append(is.groups, p.request(here, "POST", "http://localhost/api/v1/ring-groups", fmt.Sprintf(`{"name":"Group %d","members":[%q]}`, i, is.users[i]["id"])).json)
		}
		var ids []string
		for _, u := range is.users {
			ids = append(ids, fmt.Sprint(u["id"]))
		}
		var files render.Rendered
		rendered := func() (settings map[string]string) {
			t.Helper()
			m, err := p.store.Model(t.Context(), pbx.DefaultTenant)
			if err == nil {
				files, err = render.Options{}.Next(files, m)
			}
			if err != nil {
				t.Fatal(err)
			}
			return settingsOf(t, files.Files)
		}
		before, changes, refused := rendered(), 0, 0
		for range steps {
			was, inventory := is.clone(), files.Inventory
			things, path, values := is.users, "/api/v1/users/", userValues(random)
			if random.IntN(2) == 0 {
				things, path, values = is.groups, "/api/v1/ring-groups/", groupValues(random, ids)
				values["fallback"] = func() any {
					return []any{
						map[string]any{"kind": "user", "id": ids[random.IntN(len(ids))]},
						map[string]any{"kind": "hangup", "id": nil},
						map[string]any{"kind": "ring_group", "id": is.groups[random.IntN(len(is.groups))]["id"]},
					}[random.IntN(3)]
				}
			}
			values["number"] = func() any { return fmt.Sprint(1000 + random.IntN(12)) } // also one that another has, or had
			n := random.IntN(len(things))
			patch := map[string]any{}
			for _, field := range slices.Sorted(maps.Keys(values)) {
				if random.IntN(3) == 0 {
					patch[field] = values[field]()
				}
			}
			if len(patch) == 0 {
				continue
			}
			a := p.patch(fmt.Sprint(path, things[n]["id"]), marshal(t, patch))
			switch a.status {
			case 200:
				for field, value := range patch {
					if to, ok := value.(map[string]any); ok && to["id"] == nil {
						value = map[string]any{"kind": "hangup"}
					}
					things[n][field] = value
				}
			case 409, 400: // a number that is taken, a circle
				refused++
			default:
				t.Fatalf("%v: %d %s", patch, a.status, a.text)
			}
			after := rendered()
			var got, want []string
			keys := maps.Clone(before)
			maps.Copy(keys, after)
			for key := range keys {
				a, had := before[key]
				b, has := after[key]
				if a != b || had != has {
					got = append(got, key)
				}
				if was.depends(key) != is.depends(key) {
					want = append(want, key)
				}
				if has != (is.depends(key) != "") {
					t.Errorf("%v: %s is there: %t", patch, key, has)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("%v to %v: %s", patch, things[n]["name"], diff)
			}
			changes += len(got)
			for _, c := range render.Changes(inventory, files.Inventory) {
				for _, field := range c.What {
					if _, named := patch[field]; !named && !(field == "members" || field == "fallback") {
						t.Errorf("%v: the plan says that %s of %s changes", patch, field, c.Title())
					}
				}
			}
			before = after
		}
		t.Logf("%d patches, %d refused, %d values in the files changed", steps, refused, changes)
		if changes < steps/2 || refused == steps {
			t.Error("hardly anything changed: this shows nothing")
		}
	})
}
