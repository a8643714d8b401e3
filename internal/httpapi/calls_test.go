package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestCallSettingsArePatchedFieldByFieldAndNullInheritsThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		create := func(name string) string {
			return p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"`+name+`"}`).header.Get("Location")
		}
		anna, ben := create("Anna"), create("Ben")
		benID := strings.TrimPrefix(ben, "/api/v1/users/")
		toBen := `{"kind":"user","id":"` + benID + `"}`
		for i, c := range []struct{ patch, calls, effective string }{
			{`{}`, `{}`, `{"ring_seconds":25,"when_busy":{"kind":"hangup"},"when_unanswered":{"kind":"hangup"},"when_unreachable":{"kind":"hangup"},"caller_name":"Anna","caller_number":"1000","record":"never"}`},
			{
				`{"calls":{"ring_seconds":40,"when_unanswered":` + toBen + `,"pickup_groups":[63,0],"caller_name":" Front  desk"}}`,
				`{"ring_seconds":40,"when_unanswered":` + toBen + `,"pickup_groups":[0,63],"caller_name":"Front desk"}`,
				`{"ring_seconds":40,"when_busy":{"kind":"hangup"},"when_unanswered":` + toBen + `,"when_unreachable":` + toBen +
					`,"caller_name":"Front desk","caller_number":"1000","pickup_groups":[0,63],"record":"never"}`,
			},
			{
				`{"calls":{"ring_seconds":null,"when_unreachable":{"kind":"hangup"},"pickup_groups":[],"caller_name":null,"call_limit":2,"language":"de","dial_class":"local","record":"always","caller_number":"+49301"}}`,
				`{"when_unanswered":` + toBen + `,"when_unreachable":{"kind":"hangup"},"call_limit":2,"language":"de","dial_class":"local","record":"always","caller_number":"+49301"}`,
				`{"ring_seconds":25,"when_busy":{"kind":"hangup"},"when_unanswered":` + toBen + `,"when_unreachable":{"kind":"hangup"},"call_limit":2,"language":"de","dial_class":"local",` +
					`"caller_name":"Anna","caller_number":"+49301","record":"always"}`,
			},
			{
				`{"calls":{"when_unanswered":{"kind":"hangup","id":null},"when_unreachable":null}}`,
				`{"when_unanswered":{"kind":"hangup"},"call_limit":2,"language":"de","dial_class":"local","record":"always","caller_number":"+49301"}`, "",
			},
			{`{"calls":null}`, `{}`, ""},
		} {
			a := p.patch(anna, c.patch)
			for field, want := range map[string]string{"calls": c.calls, "effective_calls": c.effective} {
				var value any
				if want != "" && json.Unmarshal([]byte(want), &value) != nil {
					t.Fatal(want)
				}
				if diff := gocmp.Diff(value, a.at(field)); want != "" && (diff != "" || a.status != 200) {
					t.Errorf("%d: %s: %d %s\n%s", i, field, a.status, a.text, diff)
				}
			}
			if read := p.request(here, "GET", "http://localhost"+anna, ""); read.text != a.text {
				t.Errorf("%d: read %s, want %s", i, read.text, a.text)
			}
		}
		for patch, field := range map[string]string{
			`{"ring_seconds":4}`:                       "calls.ring_seconds",
			`{"call_limit":11}`:                        "calls.call_limit",
			`{"call_limit":"2"}`:                       "calls.call_limit",
			`{"pickup_groups":[64]}`:                   "calls.pickup_groups",
			`{"pickup_groups":[1,1]}`:                  "calls.pickup_groups",
			`{"record":"maybe"}`:                       "calls.record",
			`{"language":"x"}`:                         "calls.language",
			`{"caller_number":"*1"}`:                   "calls.caller_number",
			`{"when_busy":{"kind":"user"}}`:            "calls.when_busy",
			`{"when_busy":{"id":"` + benID + `"}}`:     "calls.when_busy",
			`{"when_busy":{"kind":"prompt","id":"x"}}`: "calls.when_busy",
			`{"when_busy":"hangup"}`:                   "calls.when_busy",
			`{"forward":"1000"}`:                       "calls.forward",
		} {
			a := p.patch(anna, `{"calls":`+patch+`}`)
			if a.status != 400 || !strings.Contains(a.text, `"field":"`+field) {
				t.Errorf("%s: %d %s", patch, a.status, a.text)
			}
		}
		if a := p.patch(anna, `{"calls":{"when_busy":`+toBen+`}}`); a.status != 200 {
			t.Fatal(a.text)
		}
		gone := p.request(here, "DELETE", "http://localhost"+ben, "")
		if gone.status != 409 || gone.code() != pbx.CodeInUse || !strings.Contains(gone.text, `"kind":"user"`) || !strings.Contains(gone.text, `"field":"calls.when_busy"`) {
			t.Errorf("a user to whom calls go on: %d %s", gone.status, gone.text)
		}
		if circle := p.patch(ben, `{"calls":{"when_unanswered":`+toBen+`}}`); circle.status != 400 || !strings.Contains(circle.text, "1001 Ben → 1001 Ben") {
			t.Errorf("a circle: %d %s", circle.status, circle.text)
		}
		if each := p.patch(ben, `{"calls":{"when_unanswered":{"kind":"user","id":"`+strings.TrimPrefix(anna, "/api/v1/users/")+`"}}}`); each.status != 200 {
			t.Errorf("users who go on to each other: %d %s", each.status, each.text)
		}
	})
}

func TestASimulatedCallKnowsTheCallSettings(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	var paths [2]string
	for i := range paths {
		paths[i] = p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"User"}`).header.Get("Location")
	}
	ben := strings.TrimPrefix(paths[1], "/api/v1/users/")
	if a := p.patch(paths[0], `{"calls":{"call_limit":1,"when_busy":{"kind":"user","id":"`+ben+`"}}}`); a.status != 200 {
		t.Fatal(a.text)
	}
	for busy, want := range map[string]string{`[]`: "1000 User rings for 25 seconds without an answer; the call ends", `["1000"]`: "1000 User is busy; the call goes on to 1001 User"} {
		a := p.request(here, "POST", "http://localhost/api/v1/simulate", `{"dial":"1000","busy":`+busy+`}`)
		if a.status != 200 || !strings.Contains(a.text, want) || strings.Contains(a.text, `"field":"call_limit"`) != (busy != "[]") {
			t.Errorf("%s in a call: %d %s", busy, a.status, a.text)
		}
	}
}
