package httpapi_test

import (
	"cmp"
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

// expected is the users and ring groups as the API must have them, in the form of the contract, and the call settings of the organisation and the pool of users.
type expected struct {
	users, groups      []map[string]any
	organisation, pool map[string]any
}

// callSettings returns random call settings of a merge patch, which send calls on to one of some destinations.
func callSettings(random *rand.Rand, to func() any) any {
	values := map[string]func() any{
		"ring_seconds": func() any { return []any{nil, 5.0, 30.0}[random.IntN(3)] },
		"call_limit":   func() any { return []any{nil, 0.0, 1.0, 2.0}[random.IntN(4)] },
		"when_busy":    to, "when_unanswered": to, "when_unreachable": to,
		"caller_name":   func() any { return []any{nil, "Front desk"}[random.IntN(2)] },
		"caller_number": func() any { return []any{nil, "030"}[random.IntN(2)] },
		"pickup_groups": func() any { return []any{nil, []any{0.0, 63.0}}[random.IntN(2)] },
		"language":      func() any { return []any{nil, "de"}[random.IntN(2)] },
	}
	patch := map[string]any{}
	for _, field := range slices.Sorted(maps.Keys(values)) {
		if random.IntN(3) == 0 {
			patch[field] = values[field]()
		}
	}
	if len(patch) == 0 {
		return nil // all are inherited
	}
	return patch
}

// follows reports whether a field changes in a plan that a patch does not name, but that can follow from it.
func follows(patch map[string]any, field string) bool {
	_, number := patch["number"]
	_, calls := patch["calls"]
	return field == "members" || field == "fallback" || strings.HasPrefix(field, "calls.") && number || field == "name" && calls
}

// merged returns call settings after a patch.
func merged(settings map[string]any, patch any) map[string]any {
	after := maps.Clone(settings)
	fields, _ := patch.(map[string]any)
	if fields == nil || after == nil {
		after = map[string]any{}
	}
	for field, value := range fields {
		if after[field] = value; value == nil {
			delete(after, field)
		}
	}
	return after
}

// calls returns the call settings that apply to a user, with the texts of destinations.
func (e expected) calls(u map[string]any) map[string]any {
	own, _ := u["calls"].(map[string]any)
	levels := []map[string]any{own, e.organisation}
	if number := fmt.Sprint(u["number"]); len(number) == 4 && number[0] == '1' {
		levels = []map[string]any{own, e.pool, e.organisation}
	}
	applied := map[string]any{}
	for n, level := range slices.Backward(levels) {
		for field, value := range level {
			to, isDestination := value.(map[string]any)
			if isDestination && n > 0 && to["id"] == u["id"] {
				continue // it is not inherited that calls go on to the same user
			}
			if applied[field] = value; isDestination {
				applied[field] = "hangup"
				if to["id"] != nil {
					applied[field] = fmt.Sprint(to["kind"], e.numberOf(to["id"]))
				}
			}
		}
	}
	for _, field := range []string{"when_busy", "when_unanswered"} {
		applied[field] = cmp.Or(applied[field], any("hangup"))
	}
	applied["when_unreachable"] = cmp.Or(applied["when_unreachable"], applied["when_unanswered"])
	return applied
}

// ofUser does what depends does for a user and the phone with a suffix.
func (e expected) ofUser(u map[string]any, context, field, suffix string) string {
	calls, devices := e.calls(u), u["devices"].(map[string]any)
	enabled := u["enabled"] == true
	text := func(fields ...string) (all string) {
		for _, f := range fields {
			all += fmt.Sprint(calls[f], "/")
		}
		return all
	}
	dialling := text("ring_seconds", "when_busy", "when_unanswered", "when_unreachable")
	switch {
	case context == "synergy-internal":
		return "a user"
	case context == "sc-user" && !enabled && calls["when_unreachable"] == "hangup":
		return "disabled"
	case context == "sc-user":
		return dialling
	case !enabled || suffix != "" && devices[suffix] == nil:
		return ""
	case context == "sc-phones":
		return fmt.Sprint("phones ", slices.Sorted(maps.Keys(devices)))
	case context == "sc-limit":
		return strings.Trim(strings.Trim(text("call_limit"), "/"), "<nil>0")
	case context == "endpoint" && field == "@portal":
		return fmt.Sprint(cmp.Or(calls["caller_name"], u["name"]), text("caller_number", "pickup_groups", "language"))
	case context == "endpoint" && field == "callerid":
		return fmt.Sprint(cmp.Or(calls["caller_name"], u["name"]), text("caller_number"))
	case context == "endpoint" && field == "language":
		return strings.Trim(text("language"), "<nil>/")
	case context == "endpoint" && strings.HasPrefix(field, "named_"):
		return strings.Trim(text("pickup_groups"), "<nil>/")
	case context == "auth" && suffix != "": // a removed phone and another one may have the same name, but not the secret
		return fmt.Sprint(devices[suffix])
	case context == "auth": // users may get each other's number, but not the secret
		return fmt.Sprint(u["id"])
	}
	return "a phone"
}

// depends returns on what in the users and ring groups a value in the files depends, "" if there must be no such value.
func (e expected) depends(key string) string {
	where, field, _ := strings.Cut(key, " ")
	context, exten, _ := strings.Cut(where, "/")
	number, suffix, _ := strings.Cut(exten, "-")
	for _, u := range e.users {
		if u["number"] == number && context != "sc-group" {
			return e.ofUser(u, context, field, suffix)
		}
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
			if to["id"] == nil {
				return "hangup"
			}
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
	c := expected{copied(e.users), copied(e.groups), maps.Clone(e.organisation), maps.Clone(e.pool)}
	for _, u := range c.users {
		u["devices"] = maps.Clone(u["devices"].(map[string]any))
	}
	return c
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
			is.users[i]["devices"], is.users[i]["calls"] = map[string]any{}, map[string]any{}
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
			to := func() any {
				return []any{
					map[string]any{"kind": "user", "id": ids[random.IntN(len(ids))]},
					map[string]any{"kind": "hangup", "id": nil},
					map[string]any{"kind": "ring_group", "id": is.groups[random.IntN(len(is.groups))]["id"]},
				}[random.IntN(3)]
			}
			values["calls"] = func() any { return callSettings(random, to) }
			if random.IntN(2) == 0 {
				things, path, values = is.groups, "/api/v1/ring-groups/", groupValues(random, ids)
				values["fallback"] = to
			}
			values["number"] = func() any { return fmt.Sprint([]int{1000, 1000, 2000}[random.IntN(3)] + random.IntN(6)) } // also one that another has, or had
			n := random.IntN(len(things))
			patch := map[string]any{}
			for _, field := range slices.Sorted(maps.Keys(values)) {
				if random.IntN(3) == 0 {
					patch[field] = values[field]()
				}
			}
			path = fmt.Sprint(path, things[n]["id"])
			var a answer
			switch random.IntN(8) {
			case 0: // a further phone
				things, n = is.users, random.IntN(len(is.users))
				devices := things[n]["devices"].(map[string]any)
				path, patch = fmt.Sprint("/api/v1/users/", things[n]["id"], "/devices"), map[string]any{"phones": nil}
				if suffix := fmt.Sprint(2 + random.IntN(2)); devices[suffix] != nil {
					if a = p.request(here, "DELETE", fmt.Sprint("http://localhost", path, "/", devices[suffix]), ""); a.status == 204 {
						delete(devices, suffix)
					}
				} else if a = p.request(here, "POST", "http://localhost"+path, `{"name":"Phone"}`); a.status == 201 {
					devices[fmt.Sprint(a.at("suffix"))] = a.at("id")
				}
			case 1: // what users inherit
				patch = map[string]any{"calls": callSettings(random, to)}
				level := &is.organisation
				if path = organisation; random.IntN(2) == 0 {
					level, path = &is.pool, "/api/v1/pools/"+string(pbx.UserPoolID)
				}
				if a = p.patch(path, marshal(t, patch)); a.status == 200 {
					*level = merged(*level, patch["calls"])
				}
			default:
				if len(patch) == 0 {
					continue
				}
				if a = p.patch(path, marshal(t, patch)); a.status != 200 {
					break
				}
				for field, value := range patch {
					if field == "calls" {
						value = merged(things[n]["calls"].(map[string]any), value)
					}
					things[n][field] = value
				}
			}
			switch a.status {
			case 200, 201, 204:
			case 409, 400: // a number that is taken, a circle
				refused++
			default:
				t.Fatalf("%s %v: %d %s", path, patch, a.status, a.text)
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
				t.Fatalf("%v to %s: %s", patch, path, diff)
			}
			changes += len(got)
			for _, c := range render.Changes(inventory, files.Inventory) {
				for _, field := range c.What {
					group, _, _ := strings.Cut(field, ".")
					if _, named := patch[group]; !named && !follows(patch, field) {
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
