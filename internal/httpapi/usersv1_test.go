package httpapi_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// patch sends a merge patch.
func (p *portal) patch(path, body string, header ...string) answer {
	p.t.Helper()
	return p.request(here, "PATCH", "http://localhost"+path, body, append([]string{"Content-Type", "application/merge-patch+json"}, header...)...)
}

// newOn returns a portal whose users are in another database.
func newOn(t *testing.T, url string) *portal {
	t.Helper()
	s := storetest.Open(t, url)
	p := newUnserved(t, func(c *httpapi.Config) {
		c.Directory, c.Routing, c.Keys = directory.New(s, time.Now), routing.New(s, time.Now), idempotency.New(s, time.Now)
	})
	p.store = s
	return p
}

func TestAUserIsCreatedReadChangedAndDeletedInVersionOne(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	created := p.request(here, "POST", "http://localhost/api/v1/users", `{"name":" Anna  Müller","email":null}`)
	path := created.header.Get("Location")
	if created.status != 201 || created.at("name") != "Anna Müller" || created.at("email") != nil || created.at("number") != "1000" || created.at("enabled") != true ||
		created.at("version") != 1.0 || created.header.Get("Etag") != `"1"` || path != fmt.Sprintf("/api/v1/users/%v", created.at("id")) || created.at("created_at") != created.at("updated_at") {
		t.Fatalf("created %d %s %v", created.status, created.text, created.header)
	}
	secret, _ := created.at("secret").(string)
	read := p.request(here, "GET", "http://localhost"+path, "")
	if read.status != 200 || read.header.Get("Etag") != `"1"` || strings.Contains(read.text, secret) {
		t.Errorf("read %d %s", read.status, read.text)
	}
	for _, tag := range []string{`"1"`, `W/"1"`, `"0", "1"`, "*"} {
		if a := p.request(here, "GET", "http://localhost"+path, "", "If-None-Match", tag); a.status != 304 || a.text != "" {
			t.Errorf("If-None-Match: %s: %d %s", tag, a.status, a.text)
		}
	}
	if a := p.request(here, "GET", "http://localhost"+path, "", "If-None-Match", `"11"`); a.status != 200 {
		t.Errorf("an older version: %d", a.status)
	}
	changed := p.patch(path, `{"email":"anna@example.com"}`, "If-Match", `"1"`)
	if changed.status != 200 || changed.at("email") != "anna@example.com" || changed.at("name") != "Anna Müller" || changed.at("version") != 2.0 || changed.header.Get("Etag") != `"2"` {
		t.Errorf("changed %d %s", changed.status, changed.text)
	}
	for _, tag := range []string{`"1"`, `W/"2"`, `"x"`, `"02"`} {
		if a := p.patch(path, `{"name":"Bert"}`, "If-Match", tag); a.status != 412 || a.code() != pbx.CodeChangedMeanwhile {
			t.Errorf("If-Match: %s: %d %s", tag, a.status, a.text)
		}
	}
	if a := p.request(here, "DELETE", "http://localhost"+path, "", "If-Match", `"1"`); a.status != 412 {
		t.Errorf("deleted at another version: %d %s", a.status, a.text)
	}
	renewed := p.request(here, "POST", "http://localhost"+path+"/secret", "", "If-Match", `"2"`)
	again, _ := renewed.at("secret").(string)
	if renewed.status != 200 || len(again) != 22 || again == secret || renewed.at("version") != 3.0 {
		t.Errorf("a new secret: %d %s", renewed.status, renewed.text)
	}
	if a := p.request(here, "GET", "http://localhost"+path+"/secret", ""); a.at("secret") != again {
		t.Errorf("the secret is %s", a.text)
	}
	for _, tag := range []string{`"3"`, "*"} {
		if a := p.patch(path, `{"enabled":false}`, "If-Match", tag); a.status != 200 || a.at("enabled") != false {
			t.Errorf("If-Match: %s: %d %s", tag, a.status, a.text)
		}
	}
	if a := p.request(here, "DELETE", "http://localhost"+path, ""); a.status != 204 || a.text != "" {
		t.Errorf("deleted %d %s", a.status, a.text)
	}
	for _, a := range []answer{p.request(here, "GET", "http://localhost"+path, ""), p.patch(path, `{"name":"x"}`), p.request(here, "DELETE", "http://localhost"+path, "")} {
		if a.status != 404 || a.code() != pbx.CodeUserNotFound {
			t.Errorf("afterwards: %d %s", a.status, a.text)
		}
	}
}

func TestAPatchThatIsNotOneOfTheContractChangesNothing(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"Other","email":"other@example.com"}`)
	created := p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"Anna","email":"anna@example.com"}`)
	path := created.header.Get("Location")
	for body, want := range map[string]struct {
		status int
		code   string
		fields []string
	}{
		`[]`:                                {400, "invalid_input", []string{"body"}},
		`{"name":null}`:                     {400, "invalid_input", []string{"name"}},
		`{"name":" ","number":"0999"}`:      {400, "invalid_input", []string{"name", "number"}},
		`{"number":1001}`:                   {400, "invalid_input", []string{"number"}},
		`{"number":null}`:                   {400, "invalid_input", []string{"number"}},
		`{"enabled":null}`:                  {400, "invalid_input", []string{"enabled"}},
		`{"email":"nonsense","enabled":1}`:  {400, "invalid_input", []string{"email", "enabled"}},
		`{"id":"x","version":7,"secret":1}`: {400, "invalid_input", []string{"id", "secret", "version"}},
		`{"email":"OTHER@example.com"}`:     {409, pbx.CodeEmailTaken, []string{"email"}},
		`{"number":"1000"}`:                 {409, pbx.CodeNumberTaken, []string{"number"}},
		`{"name":"x","name":"y"}`:           {400, "invalid_json", nil},
	} {
		if a := p.patch(path, body); a.status != want.status || a.code() != want.code || !slices.Equal(a.fields(), want.fields) {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
	if a := p.request(here, "PATCH", "http://localhost"+path, `{"name":"x"}`, "Content-Type", "text/plain"); a.status != 415 {
		t.Errorf("another media type: %d %s", a.status, a.text)
	}
	if a := p.patch(path, `{"name":"x"}`, "If-Match", "1"); a.status != 400 || !slices.Equal(a.fields(), []string{"If-Match"}) {
		t.Errorf("a version that is no ETag: %d %s", a.status, a.text)
	}
	if a := p.request(here, "POST", "http://localhost/users", `{"name":"x","email":"x@example.com"}`, "Content-Type", "application/merge-patch+json"); a.status != 415 {
		t.Errorf("a merge patch that creates: %d %s", a.status, a.text)
	}
	if a := p.patch(path, `{}`); a.status != 200 || a.header.Get("Etag") != `"1"` {
		t.Errorf("a patch without fields: %d %s", a.status, a.text)
	}
	if a := p.request(here, "GET", "http://localhost"+path, ""); a.at("version") != 1.0 {
		t.Errorf("now it is %s", a.text)
	}
}

// userValues returns random values for the fields of users.
func userValues(random *rand.Rand) map[string]func() any {
	return map[string]func() any{
		"name":    func() any { return fmt.Sprintf("Name %d", random.IntN(1000)) },
		"email":   func() any { return []any{nil, fmt.Sprintf("u%d@example.com", random.Uint64())}[random.IntN(2)] },
		"number":  func() any { return fmt.Sprint(2000 + random.IntN(100_000)) },
		"enabled": func() any { return random.IntN(2) == 0 },
	}
}

func TestAPatchOfAUserChangesExactlyWhatItNames(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
		t.Logf("seed %d", seed)
		users := make([]map[string]any, 3)
		for i := range users {
			users[i] = p.request(here, "POST", "http://localhost/api/v1/users", fmt.Sprintf(`{"name":"User %d"}`, i)).json
			delete(users[i], "secret")
		}
		all := func() []any {
			t.Helper()
			items, _ := p.request(here, "GET", "http://localhost/api/v1/users", "").json["items"].([]any)
			slices.SortFunc(items, func(a, b any) int {
				return strings.Compare(fmt.Sprint(a.(map[string]any)["created_at"]), fmt.Sprint(b.(map[string]any)["created_at"]))
			})
			return items
		}
		values := userValues(random)
		for range 60 {
			i := random.IntN(len(users))
			patch := map[string]any{}
			for field, value := range values {
				if random.IntN(2) == 0 {
					patch[field] = value()
				}
			}
			if len(patch) == 0 {
				continue
			}
			a := p.patch(fmt.Sprintf("/api/v1/users/%v", users[i]["id"]), marshal(t, patch))
			if a.status == 409 { // the number of another one
				continue
			}
			differs := false
			for field, value := range patch {
				differs = differs || users[i][field] != value
				users[i][field] = value
			}
			if differs {
				users[i]["version"] = users[i]["version"].(float64) + 1
				users[i]["updated_at"] = a.json["updated_at"]
			}
			for _, field := range []string{"calls", "effective_calls", "call_origins", "pool"} { // the lists lack them
				delete(a.json, field)
			}
			if diff := gocmp.Diff(users[i], a.json); a.status != 200 || diff != "" {
				t.Fatalf("%v: %d %s", patch, a.status, diff)
			}
			for j, u := range all() {
				if diff := gocmp.Diff(any(users[j]), u); diff != "" {
					t.Fatalf("after %v to user %d, user %d: %s", patch, i, j, diff)
				}
			}
		}
	})
}

// Two administrators change different fields of the same user, both from the version that they have read: one of them reads again, and no change is lost.
func TestOfTwoChangesFromTheSameVersionOneIsRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		path := p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"Anna"}`).header.Get("Location")
		answers := make(chan answer, 2)
		for _, body := range []string{`{"name":"Anna Schmidt"}`, `{"email":"anna@example.com"}`} {
			go func() { answers <- p.patch(path, body, "If-Match", `"1"`) }()
		}
		first, second := <-answers, <-answers
		if first.status+second.status != 200+412 {
			t.Fatalf("%d %s, %d %s", first.status, first.text, second.status, second.text)
		}
	})
}

func TestUsersAreListedInOrderByPagesAndByField(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	names := []string{"Émile", "anna", "Zoë", "Bert", "anna", "Ümit", "Carl"}
	for i, name := range names {
		body := map[string]any{"name": name}
		if i%2 == 0 {
			body["email"] = fmt.Sprintf("user%d@Example.com", 9-i)
		}
		created := p.request(here, "POST", "http://localhost/api/v1/users", marshal(t, body))
		if i >= 5 {
			p.patch(created.header.Get("Location"), `{"enabled":false}`)
		}
	}
	list := func(query string) (numbers []string, total any) {
		t.Helper()
		next := ""
		for pages := 0; pages < 20; pages++ {
			a := p.request(here, "GET", "http://localhost/api/v1/users?"+query+next, "")
			if a.status != 200 {
				t.Fatalf("%s: %d %s", query, a.status, a.text)
			}
			for _, u := range a.json["items"].([]any) {
				number, _ := u.(map[string]any)["number"].(string)
				numbers = append(numbers, number)
			}
			total = a.json["total"]
			if a.json["next_cursor"] == nil {
				return numbers, total
			}
			next = "&cursor=" + a.json["next_cursor"].(string)
		}
		t.Fatalf("%s: no end", query)
		return nil, nil
	}
	for query, want := range map[string]string{
		"":                                 "1000 1001 1002 1003 1004 1005 1006",
		"sort=-number":                     "1006 1005 1004 1003 1002 1001 1000",
		"sort=name":                        "1001 1004 1003 1006 1000 1005 1002",
		"sort=-name":                       "1002 1005 1000 1006 1003 1004 1001",
		"sort=email":                       "1001 1003 1005 1006 1004 1002 1000",
		"sort=created_at":                  "1000 1001 1002 1003 1004 1005 1006",
		"sort=-updated_at":                 "1006 1005 1004 1003 1002 1001 1000",
		"enabled=false":                    "1005 1006",
		"enabled=true&sort=name":           "1001 1004 1003 1000 1002",
		"q=ANNA":                           "1001 1004",
		"q=emile":                          "1000",
		"q=user":                           "1000 1002 1004 1006",
		"q=ser9":                           "1000",
		"number=1003":                      "1003",
		"email=USER7@example.com":          "1002",
		"email=nobody@example.com":         "",
		"email=%20":                        "", // not any
		"q=anna&sort=-number&enabled=true": "1004 1001",
	} {
		for _, limit := range []string{"", "&limit=1", "&limit=2", "&limit=7"} {
			got, total := list(query + limit + "&total=true")
			if strings.Join(got, " ") != want || total != float64(len(got)) {
				t.Errorf("%s%s: %v, total %v, want %s", query, limit, got, total, want)
			}
		}
	}
	a := p.request(here, "GET", "http://localhost/api/v1/users?sort=name&limit=1", "")
	if _, ok := a.json["total"]; ok || strings.Contains(a.text, "secret") {
		t.Errorf("%s", a.text)
	}
	cursor, _ := a.json["next_cursor"].(string)
	for _, query := range []string{"cursor=" + cursor, "sort=email&cursor=" + cursor, "sort=-name&cursor=" + cursor, "cursor=1000", "cursor=%00", "cursor=", "sort=secret", "limit=0", "limit=501", "total=1", "number=7", "enabled=no"} {
		if a := p.request(here, "GET", "http://localhost/api/v1/users?"+query, ""); a.status != 400 {
			t.Errorf("%s: %d %s", query, a.status, a.text)
		}
	}
	var none map[string]any
	if err := json.Unmarshal([]byte(newUnserved(t).request(here, "GET", "http://localhost/api/v1/users", "").text), &none); err != nil || len(none["items"].([]any)) != 0 {
		t.Errorf("without users: %v %v", none, err)
	}
}

func TestTheConsequencesOfLeavingAndHandingOverAreAnnouncedAndThenDoneOnce(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	ids := p.users(2)
	group := p.request(here, "POST", "http://localhost/api/v1/ring-groups", `{"name":"Sales","members":["`+ids[0]+`"]}`)
	at := func(id, action, body string, header ...string) answer {
		return p.request(here, "POST", "http://localhost/api/v1/users/"+id+"/"+action, body, header...)
	}
	swap := `{"to":"` + ids[1] + `","number":"1001"`
	would := at(ids[0], "hand-over", swap+`,"dry_run":true}`, "If-Match", `"1"`, "Idempotency-Key", "a")
	done := at(ids[0], "hand-over", swap+`}`, "If-Match", `"1"`, "Idempotency-Key", "b")
	if would.status != 200 || done.status != 200 || strings.Replace(would.text, `"dry_run":true`, `"dry_run":false`, 1) != done.text {
		t.Fatalf("announced %d %s, done %d %s", would.status, would.text, done.status, done.text)
	}
	if done.at("users.0.was") != "1000" || done.at("users.0.number") != "1001" || done.at("users.0.phones.0.sip_user") != "1001" || done.at("users.0.switches") != "moved" ||
		done.at("users.1.id") != ids[1] || done.at("users.1.number") != "1000" || done.at("account") != nil {
		t.Errorf("done %s", done.text)
	}
	if again := at(ids[0], "hand-over", swap+`}`, "If-Match", `"1"`, "Idempotency-Key", "b"); again.text != done.text || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("repeated: %d %s", again.status, again.text)
	}
	if a := p.request(here, "GET", "http://localhost/api/v1/users/"+ids[0], ""); a.at("number") != "1001" {
		t.Errorf("the user is %s", a.text)
	}
	for what, a := range map[string]struct {
		answer
		status int
		code   string
	}{
		"in use":          {at(ids[0], "leave", `{}`), 409, pbx.CodeInUse},
		"another version": {at(ids[0], "leave", `{"successor":"`+ids[1]+`"}`, "If-Match", `"1"`), 412, pbx.CodeChangedMeanwhile},
		"no successor":    {at(ids[0], "leave", `{"successor":"x"}`), 400, pbx.CodeInvalid},
		"to two":          {at(ids[0], "hand-over", `{"to":"`+ids[1]+`","name":"Dora"}`), 400, pbx.CodeInvalid},
		"no user":         {at("x", "hand-over", `{"name":"Dora"}`), 404, pbx.CodeUserNotFound},
		"a bad number":    {at(ids[0], "hand-over", `{"name":"Dora","number":"01"}`), 400, pbx.CodeInvalid},
	} {
		if a.answer.status != a.status || a.code != a.answer.code() {
			t.Errorf("%s: %d %s", what, a.answer.status, a.text)
		}
	}
	left := at(ids[0], "leave", `{"successor":"`+ids[1]+`"}`)
	if left.status != 200 || left.at("users.0.number") != nil || left.at("users.0.phones.0.sip_user") != nil || left.at("users.0.switches") != "cleared" ||
		left.at("released.0.number") != "1001" || left.at("references.0.field") != "members" || left.at("references.0.successor") != true {
		t.Errorf("left %d %s", left.status, left.text)
	}
	if a := p.request(here, "GET", "http://localhost"+group.header.Get("Location"), ""); a.at("members.0") != ids[1] {
		t.Errorf("the group is %s", a.text)
	}
}

func TestAnAccountIsLinkedToTheUserWhoIsTheSamePerson(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	olga := p.person(pbx.Owner)
	user := olga.want(201, "", "POST", "/api/v1/users", `{"name":"Emil","email":"emil@example.com"}`)
	account := olga.want(201, "", "POST", "/accounts", `{"name":"Emil","email":"Emil@example.com","role":"operator"}`)
	path := fmt.Sprintf("/api/v1/accounts/%v", account.at("account.id"))
	listed := func(which string) any {
		t.Helper()
		for i := range 2 {
			if a := olga.want(200, "", "GET", "/api/v1/accounts", ""); a.at(fmt.Sprintf("items.%d.name", i)) == "Emil" {
				return a.at(fmt.Sprintf("items.%d.%s.number", i, which))
			}
		}
		return nil
	}
	if listed("user") != nil || listed("proposed_user") != "1000" {
		t.Errorf("proposed is %v, linked %v", listed("proposed_user"), listed("user"))
	}
	id, _ := user.at("id").(string)
	if a := olga.want(200, "", "PATCH", path, `{"user_id":"`+id+`"}`); a.at("user.name") != "Emil" || listed("user") != "1000" || listed("proposed_user") != nil {
		t.Errorf("linked %s", a.text)
	}
	olga.want(400, pbx.CodeInvalid, "PATCH", path, `{"user_id":"x"}`)
	if a := olga.want(200, "", "POST", "/api/v1/users/"+id+"/leave", `{"dry_run":true}`); a.at("account.email") != "Emil@example.com" {
		t.Errorf("the account of one who leaves: %s", a.text)
	}
	if a := olga.want(200, "", "PATCH", path, `{"user_id":""}`); a.at("user") != nil || a.at("proposed_user.id") != id {
		t.Errorf("unlinked %s", a.text)
	}
}
