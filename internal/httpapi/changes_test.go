package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/totp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// eventsOf returns the events of the audit trail after an event, by their actions, and the number of the last.
func (p *portal) eventsOf(after int64) (actions []string, last int64) {
	p.t.Helper()
	entries, err := p.store.EventsAfter(p.t.Context(), store.EventQuery{}, after, 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		actions, after = append(actions, e.Event.Action), e.Event.Seq
	}
	return actions, after
}

// Every operation of the contract that changes something is done once. One that is new has no row, and the test fails until it has.
func TestEveryOperationThatChangesSomethingLeavesItsEvents(t *testing.T) {
	t.Parallel()
	did := []string{}
	change := func(b *visitor, status int, operation, path, body string, want ...string) answer {
		t.Helper()
		method, route, _ := strings.Cut(operation, " ")
		if path == "" {
			path = route
		}
		_, before := b.eventsOf(0)
		a := b.want(status, "", method, path, body)
		if got, _ := b.eventsOf(before); !slices.Equal(got, want) {
			t.Errorf("%s left the events %v, want %v", operation, got, want)
		}
		did = append(did, operation)
		return a
	}

	fresh := storetest.New(t)
	service := auth.New(auth.Config{Store: fresh, Now: time.Now, HashMemory: 64})
	empty := newUnserved(t, func(c *httpapi.Config) { c.Auth = service })
	empty.store = fresh
	link, _, err := service.SetupLink(asLocal(t))
	if err != nil {
		t.Fatal(err)
	}
	change(empty.visitor(), 201, "POST /setup", "", `{"code":"`+link.Code.Reveal()+`","name":"Anna","email":"anna@example.com","password":"`+password+`"}`,
		auth.ActionAccountCreate, auth.ActionSignIn)

	p := newUnserved(t)
	anna := p.person(pbx.Owner)
	change(anna, 200, "POST /session", "", `{"email":"anna@example.com","password":"`+password+`"}`, auth.ActionSignIn)
	user := change(anna, 201, "POST /users", "", `{"name":"Bert","email":"bert@example.com"}`, pbx.ActionUserCreate)
	first := change(anna, 201, "POST /api/v1/users", "", `{"name":"Carl"}`, pbx.ActionUserCreate).header.Get("Location")
	change(anna, 200, "PATCH /api/v1/users/{userId}", first, `{"name":"Carla"}`, pbx.ActionUserChange)
	change(anna, 200, "POST /api/v1/users/{userId}/secret", first+"/secret", "", pbx.ActionUserSecret)
	device := change(anna, 201, "POST /api/v1/users/{userId}/devices", first+"/devices", `{"name":"Desk"}`, pbx.ActionDeviceCreate).header.Get("Location")
	change(anna, 200, "PATCH /api/v1/users/{userId}/devices/{deviceId}", device, `{"name":"Mobile"}`, pbx.ActionDeviceChange)
	change(anna, 200, "POST /api/v1/users/{userId}/devices/{deviceId}/secret", device+"/secret", "", pbx.ActionDeviceSecret)
	change(anna, 204, "DELETE /api/v1/users/{userId}/devices/{deviceId}", device, "", pbx.ActionDeviceDelete)
	member, _ := user.at("id").(string)
	group := change(anna, 201, "POST /api/v1/ring-groups", "", `{"name":"Sales","members":["`+member+`"]}`, "ring_group.create").header.Get("Location")
	change(anna, 200, "PATCH /api/v1/ring-groups/{id}", group, `{"seconds":30}`, "ring_group.change")
	change(anna, 204, "DELETE /api/v1/ring-groups/{id}", group, "", "ring_group.delete")
	pool := change(anna, 201, "POST /api/v1/pools", "", `{"name":"Berlin","from":"2000","to":"2999"}`, "pool.create").header.Get("Location")
	change(anna, 200, "PATCH /api/v1/pools/{id}", pool, `{"order":"next"}`, "pool.change")
	change(anna, 204, "DELETE /api/v1/pools/{id}", pool, "", "pool.delete")
	change(anna, 200, "PATCH /api/v1/organisation", "", `{"country":"DE"}`, "organisation.change")
	change(anna, 204, "DELETE /api/v1/users/{userId}", first, "", pbx.ActionUserDelete)
	change(anna, 200, "POST /apply", "", `{"triggered_by":"anna"}`, pbx.ActionApplyStarted, pbx.ActionApplyRun)
	id, _ := user.at("id").(string)
	change(anna, 200, "DELETE /users/{userId}", "/users/"+id, "", pbx.ActionUserDelete)
	anna.want(200, "", "POST", "/apply", `{"triggered_by":"anna"}`)
	change(anna, 200, "POST /apply/revisions/{number}/restore", "/apply/revisions/2/restore", `{"triggered_by":"anna"}`, pbx.ActionApplyStarted, pbx.ActionApplyRestore)
	change(anna, 200, "POST /apply/revisions/{number}/users", "/apply/revisions/2/users", "", pbx.ActionUserCreate)

	leaver := change(anna, 201, "POST /api/v1/users", "", `{"name":"Dora"}`, pbx.ActionUserCreate).header.Get("Location")
	did = did[:len(did)-1]
	change(anna, 200, "POST /api/v1/users/{userId}/hand-over", leaver+"/hand-over", `{"name":"Emil"}`, pbx.ActionUserHandOver, pbx.ActionUserChange, pbx.ActionUserCreate)
	change(anna, 200, "POST /api/v1/users/{userId}/leave", leaver+"/leave", `{}`, pbx.ActionUserLeave, pbx.ActionUserDelete)

	other := newUnserved(t).person(pbx.Owner) // where the user is in Asterisk
	user = other.want(201, "", "POST", "/api/v1/users", `{"name":"Bert"}`)
	other.want(201, "", "POST", "/api/v1/ring-groups", `{"name":"Sales","members":["`+fmt.Sprint(user.at("id"))+`"]}`)
	other.want(200, "", "POST", "/apply", `{"triggered_by":"anna"}`)
	change(other, 200, "PATCH /api/v1/users/{userId}/switches", user.header.Get("Location")+"/switches", `{"do_not_disturb":true}`, pbx.ActionUserSwitch)

	emil := change(anna, 201, "POST /accounts", "", `{"name":"Emil","email":"emil@example.com","role":"auditor"}`, auth.ActionAccountCreate)
	id, _ = emil.at("account.id").(string)
	change(anna, 200, "PATCH /accounts/{id}", "/accounts/"+id, `{"role":"operator"}`, auth.ActionAccountUpdate)
	reset := change(anna, 200, "POST /accounts/{id}/reset", "/accounts/"+id+"/reset", "", auth.ActionAccountReset)
	code, _ := reset.at("link.code").(string)
	change(p.visitor(), 201, "POST /invitations", "", `{"code":"`+code+`","password":"`+password+`"}`, auth.ActionPassword, auth.ActionSignIn)
	emilThere := auth.FederatedLogin{Identity: pbx.Identity{Issuer: "https://id.example.com", Subject: "emil"}, Email: "emil@example.com"}
	if _, err := p.auth.SignInFederated(asLocal(t), emilThere); err != nil {
		t.Fatal(err)
	}
	change(anna, 204, "DELETE /accounts/{id}/identity", "/accounts/"+id+"/identity", "", auth.ActionUnlink)
	change(anna, 204, "DELETE /accounts/{id}", "/accounts/"+id, "", auth.ActionAccountDelete)

	token := change(anna, 201, "POST /tokens", "", `{"name":"ci","role":"auditor"}`, auth.ActionTokenCreate)
	id, _ = token.at("token.id").(string)
	change(anna, 204, "DELETE /tokens/{id}", "/tokens/"+id, "", auth.ActionTokenRevoke)

	right := `{"password":"` + password + `"}`
	started := change(anna, 200, "POST /account/totp", "", right) // nothing is changed until it is confirmed
	secret, _ := started.at("secret").(string)
	otp, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	codes := change(anna, 200, "POST /account/totp/confirm", "", `{"otp":"`+otp+`"}`, auth.ActionTOTPOn)
	recovery, _ := codes.json["recovery_codes"].([]any)[0].(string)
	outside, err := p.auth.SignInFederated(asLocal(t), auth.FederatedLogin{Identity: pbx.Identity{Issuer: "https://id.example.com", Subject: "anna"}, Email: "anna@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	owing := p.visitor()
	owing.cookie = "pbxportal=" + outside.Token.Reveal()
	change(owing, 200, "POST /session/otp", "", `{"otp":"`+recovery+`"}`, auth.ActionSignIn)
	change(anna, 204, "DELETE /account/totp", "", right, auth.ActionTOTPOff)
	p.visitor().want(200, "", "POST", "/session", `{"email":"anna@example.com","password":"`+password+`"}`)
	sessions, _ := anna.want(200, "", "GET", "/account/sessions", "").json["sessions"].([]any)
	for _, s := range sessions {
		if s, _ := s.(map[string]any); s["current"] == false {
			id, _ = s["id"].(string)
		}
	}
	change(anna, 204, "DELETE /account/sessions/{id}", "/account/sessions/"+id, "", auth.ActionSessionEnd)
	change(anna, 204, "POST /account/password", "", `{"current":"`+password+`","new":"zwei grosse Hunde lachen"}`, auth.ActionPassword, auth.ActionSignIn)
	change(anna, 204, "DELETE /session", "", "", auth.ActionSignOut)

	var writes []string
	for _, r := range routes(t) {
		if r.method != http.MethodGet && r.prefix == "" && r.operation != "POST /api/v1/simulate" { // which changes nothing
			writes = append(writes, r.operation)
		}
	}
	slices.Sort(writes)
	slices.Sort(did)
	if diff := gocmp.Diff(writes, did); diff != "" {
		t.Errorf("operations that change something (-) and those that were done here (+): %s", diff)
	}
}
