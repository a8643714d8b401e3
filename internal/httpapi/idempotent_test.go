package httpapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

const anna = `{"name":"Anna","email":"anna@example.com"}`

func TestEveryPOSTOfAKnownCallerTakesAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	for path, item := range contract(t).Paths.Map() {
		op := item.Post
		if op == nil || op.Extensions["x-permission"] == "public" {
			continue
		}
		if op.Parameters.GetByInAndName("header", "Idempotency-Key") == nil {
			t.Errorf("POST %s takes no Idempotency-Key", path)
		}
		if op.Responses.Status(409) == nil {
			t.Errorf("POST %s has no response for a key that was used before", path)
		}
	}
}

func TestARequestThatIsRepeatedWithItsKeyGetsTheSameResponse(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	for _, c := range []struct{ path, body, another string }{
		{"/users", anna, `{"name":"Anna","email":"other@example.com"}`},
		{"/api/v1/users", `{"name":"Bert","email":"bert@example.com"}`, `{"name":"Bert","email":"bert@example.org"}`},
		{"/api/v1/users", `{"name":"Lobby"}`, `{"name":"Door"}`},
		{"/accounts", `{"name":"Emil","email":"emil@example.com","role":"auditor"}`, `{"name":"Emil","email":"emil@example.com","role":"owner"}`},
		{"/tokens", `{"name":"ci","role":"auditor"}`, `{"name":"cd","role":"auditor"}`},
	} {
		_, before := p.eventsOf(0)
		key := "key of " + c.path + c.body
		first := p.request(here, "POST", "http://localhost"+c.path, c.body, "Idempotency-Key", key)
		again := p.request(here, "POST", "http://localhost"+c.path, c.body, "Idempotency-Key", key)
		if first.status != 201 || again.status != 201 || first.text != again.text || first.header.Get("Location") != again.header.Get("Location") ||
			first.header.Get("Etag") != again.header.Get("Etag") || first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("POST %s: %d %s %v, then %d %s %v", c.path, first.status, first.text, first.header, again.status, again.text, again.header)
		}
		if did, _ := p.eventsOf(before); len(did) != 1 {
			t.Errorf("POST %s twice left the events %v", c.path, did)
		}
		if a := p.request(here, "POST", "http://localhost"+c.path, c.another, "Idempotency-Key", key); a.status != 409 || a.code() != pbx.CodeKeyReused {
			t.Errorf("POST %s with the key of another body: %d %s", c.path, a.status, a.text)
		}
		if a := p.request(here, "POST", "http://localhost/api/v1/account/totp", `{"password":"x"}`, "Idempotency-Key", key); a.code() != pbx.CodeKeyReused {
			t.Errorf("another path with the key of %s: %d %s", c.path, a.status, a.text)
		}
	}
	if a := p.request(here, "POST", "http://localhost/users", anna, "Idempotency-Key", "ungültig"); a.status != 400 {
		t.Errorf("a key that is not ASCII: %d %s", a.status, a.text)
	}
}

func TestKeysOfDifferentCallersAreIndependent(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	other := p.as(grant(t, p.auth, pbx.NewToken{Name: "other", Role: pbx.Operator}))
	limited := p.as(grant(t, p.auth, pbx.NewToken{Name: "limited", Role: pbx.Operator, Scopes: []pbx.Permission{pbx.UsersWrite}}))
	for i, caller := range []*portal{p, other, limited} {
		body := fmt.Sprintf(`{"name":"Anna","email":"anna%d@example.com"}`, i)
		a := caller.request(here, "POST", "http://localhost/users", body, "Idempotency-Key", "1")
		if a.status != 201 || strings.Contains(a.text, `"secret"`) != (i < 2) {
			t.Errorf("caller %d: %d %s", i, a.status, a.text)
		}
	}
}

func TestAFailedRequestCanBeRepeatedWithItsKey(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	taken := p.request(here, "POST", "http://localhost/users", anna)
	id, _ := taken.at("id").(string)
	if a := p.request(here, "POST", "http://localhost/users", anna, "Idempotency-Key", "1"); a.code() != pbx.CodeEmailTaken {
		t.Errorf("%d %s", a.status, a.text)
	}
	p.request(here, "DELETE", "http://localhost/users/"+id, "")
	if a := p.request(here, "POST", "http://localhost/users", anna, "Idempotency-Key", "1"); a.status != 201 {
		t.Errorf("after the cause was removed: %d %s", a.status, a.text)
	}
}

func TestRequestsWithTheSameKeyAtTheSameTimeMakeOneObject(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	second := newUnserved(t, func(c *httpapi.Config) { // as if another process on the same database
		c.Directory, c.Auth, c.Keys = directory.New(p.store, time.Now), p.auth, idempotency.New(p.store, time.Now)
	})
	second.token = p.token
	var all sync.WaitGroup
	answers := make([]answer, 16)
	for i := range answers {
		all.Go(func() {
			of := []*portal{p, second}[i%2]
			answers[i] = of.request(here, "POST", "http://localhost/users", anna, "Idempotency-Key", "1")
		})
	}
	all.Wait()
	for _, a := range answers {
		if a.status != 201 || a.at("id") != answers[0].at("id") || a.at("extension.secret") != answers[0].at("extension.secret") {
			t.Errorf("%d %s, and first %s", a.status, a.text, answers[0].text)
		}
	}
}

// What is in the database when a process is killed after the commit and before it responds is exactly a claim without a response.
func TestARequestWhoseResponseWasLostIsNotCarriedOutAgain(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	lose := func() { // a new key has the same effect
		if _, err := p.store.Reseal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	again := func(path, body, key string) answer {
		return p.request(here, "POST", "http://localhost"+path, body, "Idempotency-Key", key)
	}
	for path, body := range map[string]string{"/users": anna, "/api/v1/users": `{"name":"Bert","email":"bert@example.com"}`} {
		first := again(path, body, path)
		lose()
		second := again(path, body, path)
		if first.status != 201 || second.status != 201 || first.text != second.text || second.header.Get("Location") != first.header.Get("Location") ||
			second.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("POST %s: %s, then %d %s %v", path, first.text, second.status, second.text, second.header)
		}
	}
	token := again("/tokens", `{"name":"ci","role":"auditor"}`, "token")
	lose()
	lost := again("/tokens", `{"name":"ci","role":"auditor"}`, "token")
	if id, _ := token.at("token.id").(string); lost.status != 409 || lost.code() != pbx.CodeAnswerLost || !strings.Contains(lost.text, id) {
		t.Errorf("%s, then %d %s", token.text, lost.status, lost.text)
	}
	if a := p.request(here, "GET", "http://localhost/tokens", ""); a.length("tokens") != 2 { // with that of the test
		t.Errorf("the tokens are %s", a.text)
	}
	if a := p.request(here, "GET", "http://localhost/users", ""); a.length("users") != 2 {
		t.Errorf("the users are %s", a.text)
	}
}

func TestAKeyIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	first := p.request(here, "POST", "http://localhost/tokens", `{"name":"ci","role":"auditor"}`, "Idempotency-Key", "1")
	p.ahead.Store(int64(store.ClaimLife))
	second := p.request(here, "POST", "http://localhost/tokens", `{"name":"ci","role":"auditor"}`, "Idempotency-Key", "1")
	if first.status != 201 || second.status != 201 || first.text == second.text {
		t.Errorf("%d %s, a day later %d %s", first.status, first.text, second.status, second.text)
	}
}

func TestKeysOfAppliesBelowTheVersionedPrefixBelongToTheirCaller(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	other := p.as(grant(t, p.auth, pbx.NewToken{Name: "other", Role: pbx.Applier}))
	const body = `{"triggered_by":"test"}`
	ids := map[any]string{}
	for _, c := range []struct {
		name, path string
		caller     *portal
	}{
		{"the first", "/api/v1/apply", p}, {"another caller", "/api/v1/apply", other}, {"the root", "/apply", p},
	} {
		first := c.caller.request(here, "POST", "http://localhost"+c.path, body, "Idempotency-Key", "1")
		again := c.caller.request(here, "POST", "http://localhost"+c.path, body, "Idempotency-Key", "1")
		id := first.at("audit_log_id")
		if first.status != 200 || again.status != 200 || again.at("audit_log_id") != id || ids[id] != "" {
			t.Errorf("%s: %d %v, then %d %v, as that of %q", c.name, first.status, id, again.status, again.at("audit_log_id"), ids[id])
		}
		ids[id] = c.name
		if a := c.caller.request(here, "POST", "http://localhost"+c.path, `{"triggered_by":"test","force":true}`, "Idempotency-Key", "1"); a.code() != pbx.CodeKeyReused {
			t.Errorf("%s, another body: %d %s", c.name, a.status, a.text)
		}
	}
	shared := other.request(here, "POST", "http://localhost/apply", body, "Idempotency-Key", "1")
	if shared.status != 200 || ids[shared.at("audit_log_id")] != "the root" {
		t.Errorf("another caller at the root: %d %s", shared.status, shared.text)
	}
	restore := func(caller *portal, path string) any {
		return caller.request(here, "POST", "http://localhost"+path, body, "Idempotency-Key", "2").at("audit_log_id")
	}
	const v1 = "/api/v1/apply/revisions/1/restore"
	if a, b := restore(p, v1), restore(other, v1); a == nil || a == b || restore(p, v1) != a || restore(p, "/apply/revisions/1/restore") == a {
		t.Errorf("restores: %v, %v", a, b)
	}
}
