package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAPageOfAnAccountOtherThanTheSignedInOneChangesNothing(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	otto := p.session()
	ctx := pbx.WithActor(asLocal(t), pbx.Actor{Kind: pbx.ActorLocal, From: "127.0.0.1"})
	if _, err := p.auth.Create(ctx, pbx.NewAccount{Name: "Berta", Email: "berta@example.com", Role: pbx.Admin}, pbx.SecretFrom(password)); err != nil {
		t.Fatal(err)
	}
	// Berta signs in in another tab of Otto's browser: the browser has her cookie now, and Otto's page does not know.
	berta, err := p.auth.SignIn(ctx, auth.SignIn{Email: "berta@example.com", Password: pbx.SecretFrom(password), Replaces: otto.Token.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	account := func(o auth.SessionGrant) string {
		a, _ := o.Principal.Account()
		return string(a.ID)
	}
	cookie := "pbxportal=" + berta.Token.Reveal()
	ask := func(method, path, body string, expected ...string) answer {
		header := []string{"Cookie", cookie}
		for _, e := range expected {
			header = append(header, "Expected-Account", e)
		}
		return p.as("").request(here, method, "http://localhost"+path, body, header...)
	}
	const anna = `{"name":"Anna","email":"anna@example.com"}`
	for name, expected := range map[string][]string{"another": {account(otto)}, "none": {""}, "two": {account(berta), account(berta)}, "both": {account(otto), account(berta)}} {
		for _, r := range []struct{ method, path, body string }{
			{"POST", "/users", anna}, {"GET", "/users", ""}, {"GET", "/session", ""}, {"DELETE", "/session", ""}, {"GET", "/live/events", ""}, {"POST", "/apply", `{"triggered_by":"x"}`},
		} {
			if a := ask(r.method, r.path, r.body, expected...); a.status != 401 || a.code() != "other_account" || strings.Contains(a.text, "berta") || strings.Contains(a.text, account(berta)) {
				t.Errorf("%s, %s %s: %d %s", name, r.method, r.path, a.status, a.text)
			}
		}
	}
	if a := ask("GET", "/users", ""); a.length("users") != 0 {
		t.Errorf("something was changed: %s", a.text)
	}
	if a := ask("POST", "/users", anna, account(berta)); a.status != 201 {
		t.Errorf("as herself: %d %s", a.status, a.text)
	}
	if a := ask("GET", "/setup", "", account(otto)); a.status != 200 {
		t.Errorf("what anyone may ask: %d %s", a.status, a.text)
	}
	if events := ask("GET", "/audit?action=request.refused", ""); events.length("events") != 0 {
		t.Errorf("a page that is behind counts as somebody who asks for what is not allowed: %s", events.text)
	}
}

func TestAListWithoutSecretsHasNoneAndADefaultListStaysAsItWas(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	secret := p.create("Anna", "anna@example.com").at("extension.secret").(string)
	for path, shown := range map[string]bool{
		"/users": true, "/users?secrets=true": true, "/users?limit=1": true, "/users?secrets=false": false, "/users?secrets=false&limit=1": false, "/users?q=anna&secrets=false": false,
	} {
		if a := p.do("GET", path, ""); a.status != 200 || a.length("users") != 1 || strings.Contains(a.text, secret) != shown {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if a := p.do("GET", "/users", ""); !strings.Contains(a.text, secret) {
		t.Errorf("the list that others share has lost its secrets: %s", a.text)
	}
	for _, value := range []string{"", "no", "0", "False", "false&secrets=false"} {
		if a := p.do("GET", "/users?secrets="+value, ""); a.status != 400 {
			t.Errorf("secrets=%s: %d %s", value, a.status, a.text)
		}
	}
}

func TestASecretThatIsShownIsOnRecord(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	created := p.create("Anna", "anna@example.com")
	id, secret := created.json["id"].(string), created.at("extension.secret").(string)
	path := "/users/" + id + "/secret"
	if a := p.do("GET", path, ""); a.status != 200 || a.json["secret"] != secret {
		t.Errorf("%d %s", a.status, a.text)
	}
	events := p.do("GET", "/audit?action=user.reveal", "")
	if events.length("events") != 1 || events.at("events.0.object.id") != id || events.at("events.0.actor.name") != "tests" || events.at("events.0.after.number") != "1000" || strings.Contains(events.text, secret) {
		t.Errorf("the events are %s", events.text)
	}
	for _, role := range pbx.Roles() {
		a := p.as(grant(t, p.auth, pbx.NewToken{Name: string(role), Role: role})).do("GET", path, "")
		if shown := a.status == 200 && a.json["secret"] == secret; shown != role.May(pbx.SecretsRead) || !shown && a.code() != "forbidden" {
			t.Errorf("%s: %d %s", role, a.status, a.text)
		}
	}
	for _, none := range []string{"nobody", "2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11"} {
		if a := p.do("GET", "/users/"+none+"/secret", ""); a.status != 404 || a.code() != pbx.CodeUserNotFound {
			t.Errorf("%s: %d %s", none, a.status, a.text)
		}
	}
}

func TestAnswersAreCompressedUnlessTheyMayHoldASecret(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	id := ""
	var secrets []string
	for i := range 20 {
		created := p.create(fmt.Sprintf("Anna %d", i), fmt.Sprintf("anna%d@example.com", i))
		id = created.json["id"].(string)
		secrets = append(secrets, created.at("extension.secret").(string))
	}
	p.apply("")
	p.client.Transport.(*bearer).next = &http.Transport{DisableCompression: true} // what is sent is looked at, and not unpacked on the way
	for _, c := range []struct {
		path, accept string
		small        bool
	}{
		{"/users?secrets=false", "gzip", true},
		{"/users?secrets=false", "br;q=1, gzip;q=0.5", true},
		{"/users?secrets=false", "gzip;q=0", false},
		{"/users?secrets=false", "", false},
		{"/users?secrets=false&limit=1", "gzip", false}, // too little to be worth it
		{"/users", "gzip", false},
		{"/users?secrets=true", "gzip", false},
		{"/users?limit=20", "gzip", false},
		{"/users/" + id, "gzip", false},
		{"/users/" + id + "/secret", "gzip", false},
		{"/audit", "gzip", true},
		{"/apply/runs/" + p.lastRun(), "gzip", true},
		{"/users?secrets=maybe", "gzip", false},
	} {
		a := p.do("GET", c.path, "", "Accept-Encoding", c.accept)
		if packed := a.header.Get("Content-Encoding") == "gzip"; packed != c.small {
			t.Errorf("%s for %q: compressed %v, %v", c.path, c.accept, packed, a.header)
			continue
		}
		if !c.small {
			continue
		}
		unpacker, err := gzip.NewReader(strings.NewReader(a.text))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(unpacker)
		if err != nil || a.header.Get("Vary") != "Accept-Encoding" || len(a.text) >= len(plain) {
			t.Errorf("%s: %v, %v, %d bytes of %d", c.path, err, a.header, len(a.text), len(plain))
		}
		if same := p.do("GET", c.path, ""); !strings.HasPrefix(c.path, "/audit") && !bytes.Equal(plain, []byte(same.text)) {
			t.Errorf("%s is another when it is compressed:\n%s\n%s", c.path, plain, same.text)
		}
		for _, secret := range secrets {
			if bytes.Contains(plain, []byte(secret)) {
				t.Errorf("%s holds a secret and is compressed", c.path)
			}
		}
		t.Logf("%s: %d bytes of %d", c.path, len(a.text), len(plain))
	}
}

// No clock is moved: each change is seen within a second or so.
func TestAPageIsNotifiedOfChangesByAnyProcess(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	events := p.listen(t.Context())
	both := func(what string) {
		t.Helper()
		if line, _ := events.find(`^data: \{"plan":true,"users":(true|false)\}`); !strings.Contains(line, `"users":true`) {
			t.Errorf("%s: %s", what, line)
		}
	}
	both("the beginning")
	anna, _ := p.create("Anna", "anna@example.com").at("id").(string)
	both("a user of the API")
	p.patch("/api/v1/users/"+anna, `{"enabled":false}`)
	both("a user who is disabled")
	if _, err := p.directory.Create(asLocal(t), pbx.DefaultTenant, pbx.NewUser{Name: "Ben", Email: "ben@example.com"}); err != nil {
		t.Fatal(err)
	}
	both("a user of the command line")
	planAlone := func(what string) {
		t.Helper()
		if line, _ := events.find(`^data: \{"plan":true,`); !strings.Contains(line, `"users":false`) {
			t.Errorf("%s: %s", what, line)
		}
	}
	group := p.request(here, "POST", "http://localhost/api/v1/ring-groups", `{"name":"Sales","members":["`+anna+`"]}`).header.Get("Location")
	planAlone("a ring group")
	p.patch(group, `{"seconds":30}`)
	planAlone("a ring group that was changed")
	p.apply("")
	planAlone("an apply")
	p.asterisk.mu.Lock()
	p.asterisk.drift = []pbx.Drift{{Kind: pbx.Edited, Path: pbx.PJSIPPath}}
	p.asterisk.mu.Unlock()
	planAlone("a file that was edited")
}
