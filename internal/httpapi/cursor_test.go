package httpapi_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// maxWhole is how many items a list can have at most that has no pages: the phones of a user.
const maxWhole = 5

func TestEveryListOfVersion1HasPagesWithAnOpaqueCursor(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	var users []string
	for i := range 3 {
		u := p.request(here, "POST", "http://localhost/api/v1/users", fmt.Sprintf(`{"name":"User %d"}`, i))
		id, _ := u.at("id").(string)
		users = append(users, id)
		p.request(here, "POST", "http://localhost/api/v1/ring-groups", fmt.Sprintf(`{"name":"Group %d","members":[%q]}`, i, id))
		p.request(here, "POST", "http://localhost/api/v1/apply", `{"triggered_by":"test"}`)
		p.request(here, "POST", "http://localhost/api/v1/accounts", fmt.Sprintf(`{"name":"Person %d","email":"p%[1]d@example.com","role":"auditor"}`, i))
		p.request(here, "POST", "http://localhost/api/v1/tokens", fmt.Sprintf(`{"name":"token %d","role":"auditor"}`, i))
	}
	lists := map[string]string{} // the cursor of each list
	for path, item := range contract(t).Paths.Map() {
		if item.Get == nil || item.Get.Parameters.GetByInAndName("query", "cursor") == nil && !strings.HasSuffix(path, "s") {
			continue
		}
		schema := item.Get.Responses.Status(200).Value.Content.Get("application/json")
		if schema == nil || !strings.HasPrefix(path, "/api/v1/") || strings.HasSuffix(path, "/switches") { // these are one object
			continue
		}
		properties := schema.Schema.Value.Properties
		if most := properties["items"]; most != nil && most.Value.MaxItems != nil && *most.Value.MaxItems <= maxWhole {
			continue // it cannot be longer, and is whole
		}
		for _, name := range []string{"limit", "cursor"} {
			if item.Get.Parameters.GetByInAndName("query", name) == nil {
				t.Errorf("GET %s has no parameter %s", path, name)
			}
		}
		if properties["items"] == nil || properties["next_cursor"] == nil {
			t.Errorf("GET %s answers with %v", path, slices.Sorted(maps.Keys(properties)))
		}
		lists[path] = ""
	}
	for _, path := range []string{"accounts", "tokens", "audit", "apply/logs", "apply/revisions", "account/sessions", "users", "ring-groups"} {
		if _, ok := lists["/api/v1/"+path]; !ok {
			t.Errorf("%s is not found in the contract: %v", path, slices.Sorted(maps.Keys(lists)))
		}
	}
	ctx := pbx.WithActor(asLocal(t), pbx.Actor{Kind: pbx.ActorLocal, From: "127.0.0.1"})
	if _, err := p.auth.Create(ctx, pbx.NewAccount{Name: "Berta", Email: "berta@example.com", Role: pbx.Owner}, pbx.SecretFrom(password)); err != nil {
		t.Fatal(err)
	}
	cookie := ""
	for range 2 {
		berta, err := p.auth.SignIn(ctx, auth.SignIn{Email: "berta@example.com", Password: pbx.SecretFrom(password)})
		if err != nil {
			t.Fatal(err)
		}
		cookie = "pbxportal=" + berta.Token.Reveal()
	}
	get := func(path string) answer {
		return p.as("").request(here, "GET", "http://localhost"+path, "", "Cookie", cookie)
	}
	for path := range lists {
		whole := get(path + "?limit=500")
		items, _ := whole.json["items"].([]any)
		var got []any
		for cursor := ""; ; {
			a := get(path + "?limit=1" + cursor)
			some, _ := a.json["items"].([]any)
			got = append(got, some...)
			next, more := a.json["next_cursor"].(string)
			if a.status != 200 || len(some) != 1 || len(got) > len(items) {
				t.Fatalf("%s%s: %d %s", path, cursor, a.status, a.text)
			}
			if !more {
				break
			}
			lists[path], cursor = next, "&cursor="+url.QueryEscape(next)
		}
		if len(items) < 2 || len(got) != len(items) || whole.json["next_cursor"] != nil {
			t.Errorf("%s: %d items in pages, %d in one", path, len(got), len(items))
		}
	}
	for path := range lists {
		for of, cursor := range lists {
			if a := get(path + "?cursor=" + cursor); (of == path) != (a.status == 200) || of != path && a.at("errors.0.code") != string(pbx.FieldCursor) {
				t.Errorf("%s with the cursor of %s: %d %s", path, of, a.status, a.text)
			}
		}
		for _, cursor := range []string{"7", "1000", "e30", users[0], lists[path] + "x"} {
			if a := get(path + "?cursor=" + cursor); a.status != 400 {
				t.Errorf("%s with the cursor %q: %d %s", path, cursor, a.status, a.text)
			}
		}
	}
	sorted := get("/api/v1/users?limit=1&sort=name")
	if a := get(fmt.Sprintf("/api/v1/users?sort=-name&cursor=%s", sorted.at("next_cursor"))); a.status != 400 {
		t.Errorf("the cursor of another order: %d %s", a.status, a.text)
	}
	for path, field := range map[string]string{"accounts": "accounts", "tokens": "tokens", "audit": "events", "apply/logs": "logs", "apply/revisions": "revisions", "account/sessions": "sessions"} {
		if a := get("/" + path); a.status != 200 || a.length(field) == 0 {
			t.Errorf("GET /%s at the root: %d %s", path, a.status, a.text)
		}
	}
}
