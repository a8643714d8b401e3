package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestPhonesOfAUserAreAddedReadRenamedAndRemoved(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		do := func(method, path, body string, header ...string) answer {
			t.Helper()
			return p.request(here, method, "http://localhost"+path, body, header...)
		}
		user := do("POST", "/api/v1/users", `{"name":"Anna"}`)
		devices := user.header.Get("Location") + "/devices"
		created := do("POST", devices, `{"name":" Desk  phone "}`, "If-Match", `"1"`, "Idempotency-Key", "k")
		path, secret := created.header.Get("Location"), fmt.Sprint(created.at("secret"))
		if created.status != 201 || created.at("name") != "Desk phone" || created.at("sip_user") != "1000-2" || created.at("suffix") != 2.0 || len(secret) != 22 ||
			path != fmt.Sprint(devices, "/", created.at("id")) || created.header.Get("Etag") != `"2"` {
			t.Fatalf("created %d %s %v", created.status, created.text, created.header)
		}
		if again := do("POST", devices, `{"name":" Desk  phone "}`, "If-Match", `"1"`, "Idempotency-Key", "k"); again.status != 201 || again.text != created.text {
			t.Errorf("repeated with its key: %d %s", again.status, again.text)
		}
		listed := do("GET", devices, "")
		if listed.status != 200 || listed.header.Get("Etag") != `"2"` || strings.Contains(listed.text, secret) || listed.at("items.0.sip_user") != "1000" || listed.at("items.0.name") != "" ||
			listed.at("items.1.id") != created.at("id") || listed.at("items.2") != nil || listed.at("next_cursor") != nil {
			t.Errorf("listed %d %s", listed.status, listed.text)
		}
		if renamed := p.patch(path, `{"name":"Mobile"}`, "If-Match", `"2"`); renamed.status != 200 || renamed.at("name") != "Mobile" || renamed.header.Get("Etag") != `"3"` {
			t.Errorf("renamed %d %s", renamed.status, renamed.text)
		}
		if a := do("GET", path+"/secret", ""); a.status != 200 || a.at("secret") != secret {
			t.Errorf("the secret is %d %s", a.status, a.text)
		}
		renewed := do("POST", path+"/secret", "", "If-Match", `"3"`)
		if a := do("GET", path+"/secret", ""); renewed.status != 200 || a.at("secret") != renewed.at("secret") || a.at("secret") == secret {
			t.Errorf("a new secret: %d %s, then %s", renewed.status, renewed.text, a.text)
		}
		first := fmt.Sprint(devices, "/", listed.at("items.0.id"))
		for _, c := range []struct {
			answer answer
			status int
			code   string
		}{
			{p.patch(path, `{"name":"x"}`, "If-Match", `"3"`), 412, pbx.CodeChangedMeanwhile},
			{p.patch(path, `{"name":null}`), 400, pbx.CodeInvalid},
			{p.patch(path, `{"suffix":3}`), 400, pbx.CodeInvalid},
			{p.patch(first, `{"name":"x"}`), 409, pbx.CodeFirstDevice},
			{do("DELETE", first, ""), 409, pbx.CodeFirstDevice},
			{do("DELETE", devices+"/2", ""), 404, pbx.CodeDeviceNotFound},
			{do("GET", "/api/v1/users/x/devices", ""), 404, pbx.CodeUserNotFound},
			{do("POST", devices, `{"name":"x","secret":"mine"}`), 400, pbx.CodeInvalid},
		} {
			if c.answer.status != c.status || c.answer.code() != c.code {
				t.Errorf("want %d %s, got %d %s", c.status, c.code, c.answer.status, c.answer.text)
			}
		}
		for i := range 3 {
			if a := do("POST", devices, fmt.Sprintf(`{"name":"Phone %d"}`, i)); a.status != 201 {
				t.Errorf("phone %d: %d %s", i, a.status, a.text)
			}
		}
		if a := do("POST", devices, `{"name":"One more"}`); a.status != 409 || a.code() != pbx.CodeTooManyDevices {
			t.Errorf("a sixth phone: %d %s", a.status, a.text)
		}
		if a := do("DELETE", path, "", "If-Match", `"7"`); a.status != 204 {
			t.Errorf("removed %d %s", a.status, a.text)
		}
		if a := do("POST", devices, `{"name":"Again"}`); a.status != 201 || a.at("sip_user") != "1000-2" {
			t.Errorf("added again: %d %s", a.status, a.text)
		}
	})
}
