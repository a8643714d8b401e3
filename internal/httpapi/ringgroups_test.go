package httpapi_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// users creates users and returns their ids.
func (p *portal) users(n int) (ids []string) {
	p.t.Helper()
	for i := range n {
		a := p.request(here, "POST", "http://localhost/api/v1/users", fmt.Sprintf(`{"name":"User %d"}`, i))
		id, _ := a.at("id").(string)
		ids = append(ids, id)
	}
	return ids
}

func TestARingGroupIsCreatedReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	ids := p.users(2)
	created := p.request(here, "POST", "http://localhost/api/v1/ring-groups", `{"name":" Sales ","members":["`+strings.ToUpper(ids[0])+`"]}`)
	path := created.header.Get("Location")
	if created.status != 201 || created.at("name") != "Sales" || created.at("number") != "600" || created.at("strategy") != "all" || created.at("seconds") != 20.0 ||
		created.at("skip_busy") != true || created.at("fallback.kind") != "hangup" || created.at("members.0") != ids[0] || created.header.Get("Etag") != `"1"` ||
		path != fmt.Sprintf("/api/v1/ring-groups/%v", created.at("id")) {
		t.Fatalf("created %d %s %v", created.status, created.text, created.header)
	}
	if a := p.request(here, "GET", "http://localhost"+path, ""); a.status != 200 || a.text != created.text {
		t.Errorf("read %d %s", a.status, a.text)
	}
	if a := p.request(here, "GET", "http://localhost"+path, "", "If-None-Match", `"1"`); a.status != 304 {
		t.Errorf("the same version: %d %s", a.status, a.text)
	}
	changed := p.patch(path, `{"fallback":{"kind":"user","id":"`+ids[1]+`"},"skip_busy":false}`, "If-Match", `"1"`)
	if changed.status != 200 || changed.at("fallback.id") != ids[1] || changed.at("skip_busy") != false || changed.header.Get("Etag") != `"2"` || changed.at("seconds") != 20.0 {
		t.Errorf("changed %d %s", changed.status, changed.text)
	}
	if a := p.patch(path, `{"name":"x"}`, "If-Match", `"1"`); a.status != 412 || a.code() != pbx.CodeChangedMeanwhile {
		t.Errorf("at another version: %d %s", a.status, a.text)
	}
	for _, at := range []string{"/users/", "/api/v1/users/"} {
		if a := p.request(here, "DELETE", "http://localhost"+at+ids[1], ""); a.status != 409 || a.code() != pbx.CodeInUse || a.at("uses.0.id") != created.at("id") || a.at("uses.0.field") != "fallback" {
			t.Errorf("the user of the fallback at %s: %d %s", at, a.status, a.text)
		}
	}
	if a := p.patch(path, `{"fallback":{"kind":"hangup"}}`); a.status != 400 || !slices.Equal(a.fields(), []string{"fallback.id"}) {
		t.Errorf("a merge keeps the id: %d %s", a.status, a.text)
	}
	if a := p.patch(path, `{"fallback":{"kind":"hangup","id":null},"number":"7000"}`); a.status != 200 || a.at("fallback.id") != nil || a.at("number") != "7000" {
		t.Errorf("back to hangup: %d %s", a.status, a.text)
	}
	for body, want := range map[string]struct {
		status int
		code   string
		fields []string
	}{
		`{"name":"SALES","members":["` + ids[0] + `"]}`:                                    {409, pbx.CodeNameTaken, []string{"name"}},
		`{"name":"x","members":["` + ids[0] + `"],"number":"1000"}`:                        {409, pbx.CodeNumberTaken, []string{"number"}},
		`{"name":"x","members":[]}`:                                                        {400, "invalid_input", []string{"members"}},
		`{"name":"x","members":["2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11"]}`:                  {400, "invalid_input", []string{"members"}},
		`{"members":["` + ids[0] + `"],"seconds":4,"strategy":"random","version":1}`:       {400, "invalid_input", []string{"name", "seconds", "strategy", "version"}},
		`{"name":"x","members":["` + ids[0] + `"],"fallback":{"kind":"nowhere","id":"1"}}`: {400, "invalid_input", []string{"fallback.kind"}},
	} {
		if a := p.request(here, "POST", "http://localhost/api/v1/ring-groups", body); a.status != want.status || a.code() != want.code || !slices.Equal(a.fields(), want.fields) {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
	if a := p.request(here, "DELETE", "http://localhost"+path, "", "If-Match", `"1"`); a.status != 412 {
		t.Errorf("deleted at another version: %d %s", a.status, a.text)
	}
	if a := p.request(here, "DELETE", "http://localhost"+path, ""); a.status != 204 {
		t.Errorf("deleted %d %s", a.status, a.text)
	}
	for _, path := range []string{path, "/api/v1/ring-groups/nonsense"} {
		if a := p.request(here, "GET", "http://localhost"+path, ""); a.status != 404 || a.code() != pbx.CodeThingNotFound {
			t.Errorf("afterwards: %d %s", a.status, a.text)
		}
	}
	key := func() answer {
		return p.request(here, "POST", "http://localhost/api/v1/ring-groups", `{"name":"Once","members":["`+ids[0]+`"]}`, "Idempotency-Key", "1")
	}
	first := key()
	if _, err := p.store.Reseal(t.Context()); err != nil { // forgets the response
		t.Fatal(err)
	}
	if again := key(); first.status != 201 || again.status != 201 || again.text != first.text || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("%d %s, and repeated %d %s", first.status, first.text, again.status, again.text)
	}
}

func TestRingGroupsAreListedInOrderByPagesAndByField(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	ids := p.users(3)
	for i, name := range []string{"Verkauf", "äußere Stelle", "Lager", "Büro"} {
		p.request(here, "POST", "http://localhost/api/v1/ring-groups", marshal(t, map[string]any{
			"name": name, "members": ids[:1+i%3], "strategy": []string{"all", "hunt"}[i%2], "number": fmt.Sprint(700 - i*10),
		}))
	}
	last := p.request(here, "GET", "http://localhost/api/v1/ring-groups?number=670", "").at("items.0.id").(string)
	first := p.request(here, "GET", "http://localhost/api/v1/ring-groups?number=690", "").at("items.0.id").(string)
	p.patch("/api/v1/ring-groups/"+first, `{"fallback":{"kind":"ring_group","id":"`+last+`"}}`)
	for query, want := range map[string]string{
		"member=" + last:   "690",
		"":                 "690 670 680 700",
		"sort=-name":       "700 680 670 690",
		"sort=number":      "670 680 690 700",
		"sort=short":       "700 690 680 670",
		"strategy=hunt":    "690 670",
		"number=680":       "680",
		"member=" + ids[2]: "680",
		"q=AUSSERE":        "690",
		"q=70&sort=number": "670 700",
		"member=nobody":    "",
	} {
		for _, limit := range []int{1, 3, 100} {
			var got []string
			next := ""
			for pages := 0; pages < 10; pages++ {
				a := p.request(here, "GET", fmt.Sprintf("http://localhost/api/v1/ring-groups?%s&total=true&limit=%d%s", query, limit, next), "")
				items, _ := a.json["items"].([]any)
				for _, g := range items {
					got = append(got, g.(map[string]any)["number"].(string))
				}
				if a.at("total") != float64(len(strings.Fields(want))) {
					t.Errorf("%s: %d %s", query, a.status, a.text)
				}
				cursor, more := a.json["next_cursor"].(string)
				if !more {
					break
				}
				next = "&cursor=" + cursor
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s by %d: %v, want %s", query, limit, got, want)
			}
		}
	}
	for _, query := range []string{"sort=members", "cursor=x", "cursor=MTAw", "strategy=none", "limit=0"} {
		if a := p.request(here, "GET", "http://localhost/api/v1/ring-groups?"+query, ""); a.status != 400 {
			t.Errorf("%s: %d %s", query, a.status, a.text)
		}
	}
}

// groupValues returns random values for the fields of ring groups with users of these ids.
func groupValues(random *rand.Rand, ids []string) map[string]func() any {
	return map[string]func() any{
		"name":      func() any { return fmt.Sprintf("Name %d", random.Uint64()) },
		"number":    func() any { return fmt.Sprint(2000 + random.IntN(100_000)) },
		"strategy":  func() any { return []any{"all", "hunt", "memory"}[random.IntN(3)] },
		"seconds":   func() any { return float64(5 + random.IntN(116)) },
		"skip_busy": func() any { return random.IntN(2) == 0 },
		"fallback":  func() any { return map[string]any{"kind": "user", "id": ids[random.IntN(len(ids))]} },
		"members": func() (some any) {
			all := []any{}
			for _, i := range random.Perm(len(ids))[:1+random.IntN(len(ids))] {
				all = append(all, ids[i])
			}
			return all
		},
	}
}

func TestAPatchOfARingGroupChangesExactlyWhatItNames(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		ids := p.users(4)
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
		t.Logf("seed %d", seed)
		groups := make([]map[string]any, 3)
		for i := range groups {
			groups[i] = p.request(here, "POST", "http://localhost/api/v1/ring-groups", fmt.Sprintf(`{"name":"Group %d","members":[%q]}`, i, ids[i])).json
		}
		values := groupValues(random, ids)
		for range 60 {
			i := random.IntN(len(groups))
			patch := map[string]any{}
			for field, value := range values {
				if random.IntN(3) == 0 {
					patch[field] = value()
				}
			}
			a := p.patch(fmt.Sprintf("/api/v1/ring-groups/%v", groups[i]["id"]), marshal(t, patch))
			if a.status == 409 { // the number of another one
				continue
			}
			differs := false
			for field, value := range patch {
				differs = differs || !gocmp.Equal(groups[i][field], value)
				groups[i][field] = value
			}
			if differs {
				groups[i]["version"] = groups[i]["version"].(float64) + 1
				groups[i]["updated_at"] = a.json["updated_at"]
			}
			if diff := gocmp.Diff(groups[i], a.json); a.status != 200 || diff != "" {
				t.Fatalf("%v: %d %s", patch, a.status, diff)
			}
			all, _ := p.request(here, "GET", "http://localhost/api/v1/ring-groups?sort=short", "").json["items"].([]any)
			for j, g := range all {
				if diff := gocmp.Diff(any(groups[j]), g); diff != "" {
					t.Fatalf("after %v to group %d, group %d: %s", patch, i, j, diff)
				}
			}
		}
	})
}

// JSON has one type of numbers: 20, 20.0 and 2e1 are the same one.
func TestAWholeNumberIsAcceptedInEveryFormOfJSONAndOthersAreRefusedWithTheField(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	members := `"members":["` + p.users(1)[0] + `"]`
	path := ""
	for i, number := range []string{"20", "20.0", "2e1", "2.0E+1", "200e-1"} {
		a := p.request(here, "POST", "http://localhost/api/v1/ring-groups", fmt.Sprintf(`{"name":"N%d",%s,"seconds":%s}`, i, members, number))
		path = a.header.Get("Location")
		if a.status != 201 || a.at("seconds") != 20.0 {
			t.Errorf("created with %s: %d %s", number, a.status, a.text)
		}
		if a = p.patch(path, `{"seconds":25}`); a.status != 200 {
			t.Fatal(a.text)
		}
		if a = p.patch(path, `{"seconds":`+number+`}`); a.status != 200 || a.at("seconds") != 20.0 {
			t.Errorf("changed with %s: %d %s", number, a.status, a.text)
		}
	}
	if a := p.request(here, "POST", "http://localhost/tokens", `{"name":"ci","role":"auditor","expires_in_days":3.0e1}`); a.status != 201 {
		t.Errorf("another operation: %d %s", a.status, a.text)
	}
	for body, want := range map[string]string{
		`{"at":"yesterday"}`:                         "at must be an existing time, such as",
		`{"at":"2026-02-30T1:00"}`:                   "at must be an existing time, such as",
		`{"dial":"` + strings.Repeat("9", 33) + `"}`: "dial must be ",
	} {
		a := p.request(here, "POST", "http://localhost/api/v1/simulate", body)
		if said := fmt.Sprint(a.at("errors.0.field"), " ", a.at("errors.0.message")); a.status != 400 || !strings.Contains(said, want) {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
	for body, want := range map[string]string{
		`{"seconds":20.5}`:   "must be an integer",
		`{"seconds":1e-400}`: "must be ",
		`{"seconds":1e400}`:  "must be ",
		`{"seconds":-0.0}`:   "must be from 5 to 120",
		`{"seconds":1e30}`:   "must be from 5 to 120",
		`{"members":null}`:   "must be an array",
		`{"fallback":null}`:  "must be an object",
		`{"name":""}`:        "must not be empty",
		`{"name":"` + strings.Repeat("x", 256) + `"}`: "must have at most 255 characters",
	} {
		if a := p.patch(path, body); a.status != 400 || len(a.fields()) != 1 || !strings.Contains(a.text, want) {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
}
