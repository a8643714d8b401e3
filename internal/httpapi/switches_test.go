package httpapi_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

func TestSwitchesOfAUserAreReadAndChangedAtOnce(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	do := func(method, path, body string) answer {
		t.Helper()
		return p.request(here, method, "http://localhost"+path, body)
	}
	user := do("POST", "/api/v1/users", `{"name":"Anna"}`)
	id, path := user.at("id"), user.header.Get("Location")+"/switches"
	refused := func(a answer, status int, code, fix string) {
		t.Helper()
		if a.status != status || a.code() != code || !strings.Contains(a.text, fix) {
			t.Errorf("want %d %s with %q, got %d %s", status, code, fix, a.status, a.text)
		}
	}
	refused(do("GET", path, ""), 409, pbx.CodeNotDeployed, "apply")
	do("POST", "/apply", `{"triggered_by":"test"}`)
	refused(p.patch(path, `{"do_not_disturb":true}`), 409, pbx.CodeNotDeployed, "FEATURE_CODES=on")
	do("POST", "/api/v1/ring-groups", `{"name":"Sales","members":["`+id.(string)+`"]}`) // with which users are objects
	do("POST", "/apply", `{"triggered_by":"test"}`)
	if a := do("GET", path, ""); a.status != 200 || a.at("do_not_disturb") != false || a.at("forward_always") != nil {
		t.Fatalf("at first: %d %s", a.status, a.text)
	}
	if a := p.patch(path, `{"do_not_disturb":true,"forward_busy":"+49*#"}`); a.status != 200 || a.at("do_not_disturb") != true || a.at("forward_busy") != "+49*#" {
		t.Errorf("changed: %d %s", a.status, a.text)
	}
	if a := p.patch(path, `{"do_not_disturb":false,"forward_busy":null,"forward_always":"1001"}`); a.status != 200 || a.at("forward_busy") != nil || a.at("forward_always") != "1001" {
		t.Errorf("changed again: %d %s", a.status, a.text)
	}
	if want := (pbx.Switches{ForwardAlways: "1001"}); p.asterisk.switches[1000] != want {
		t.Errorf("Asterisk has %+v, want %+v", p.asterisk.switches[1000], want)
	}
	call := do("POST", "/api/v1/simulate", `{"dial":"1000"}`)
	if call.status != 200 || call.at("taken") != "gone:synergy-internal.1001" {
		t.Errorf("a call takes %d %s", call.status, call.text)
	}
	refused(p.patch(path, `{"forward_always":"1000"}`), 400, pbx.CodeInvalid, "own number")
	refused(p.patch(path, `{"forward_always":"1,2"}`), 400, pbx.CodeInvalid, "forward_always")
	refused(p.patch(path, `{"forward_always":""}`), 400, pbx.CodeInvalid, "forward_always")
	refused(p.patch(path, `{"dnd":true}`), 400, pbx.CodeInvalid, "dnd")
	refused(do("GET", "/api/v1/users/x/switches", ""), 404, pbx.CodeUserNotFound, "")

	// What the database has of the user is not in Asterisk yet.
	p.patch(user.header.Get("Location"), `{"number":"1500"}`)
	refused(p.patch(path, `{"do_not_disturb":true}`), 409, pbx.CodeNotDeployed, "apply")
	p.patch(user.header.Get("Location"), `{"number":"1000","enabled":false}`)
	refused(p.patch(path, `{"do_not_disturb":true}`), 409, pbx.CodeNotDeployed, "enable")
	p.patch(user.header.Get("Location"), `{"enabled":true}`)

	events, err := p.store.EventsBefore(t.Context(), store.EventQuery{Action: pbx.ActionUserSwitch}, 0, 10)
	if err != nil || len(events) != 2 || events[0].Event.Before["forward_busy"] != "+49*#" || events[0].Event.After["forward_always"] != "1001" || events[0].Event.After["forward_busy"] != "" {
		t.Errorf("the audit trail has %+v, %v", events, err)
	}
	p.asterisk.switchFault = errors.New("the secret inside")
	a := p.patch(path, `{"do_not_disturb":true}`)
	refused(a, 503, pbx.CodeAsteriskAway, "Asterisk")
	p.asterisk.deaf = errors.New("the secret inside")
	b := p.patch(path, `{"do_not_disturb":true}`)
	refused(b, 503, pbx.CodeAsteriskAway, "Asterisk")
	if strings.Contains(a.text+b.text, "inside") {
		t.Error("the cause is shown")
	}
	if events, _ = p.store.EventsBefore(t.Context(), store.EventQuery{Action: pbx.ActionUserSwitch}, 0, 10); !slices.ContainsFunc(events, func(e chain.Entry) bool { return e.Event.Result == pbx.AuditFailed }) {
		t.Error("a change that failed is not recorded as such")
	}
}
