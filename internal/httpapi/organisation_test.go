package httpapi_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

const organisation = "/api/v1/organisation"

// read returns the response to a GET.
func (p *portal) read(path string) answer { return p.request(here, "GET", "http://localhost"+path, "") }

func TestTheOrganisationHasTheDefaultsUntilItIsChanged(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		a := p.read(organisation)
		if a.status != 200 || a.header.Get("Etag") != `"1"` || a.at("country") != nil || a.at("effective_calls.ring_seconds") != 25.0 || a.at("effective_cool_down_seconds") != 0.0 ||
			a.at("effective_phones.server_port") != 5060.0 || fmt.Sprint(a.at("effective_phones.codecs")) != "[ulaw alaw]" || a.at("effective_phones.srtp") != "off" {
			t.Errorf("%d %s", a.status, a.text)
		}
		if p.request(here, "GET", "http://localhost"+organisation, "", "If-None-Match", `"1"`).status != 304 {
			t.Error("the same version is sent again")
		}
		changed := p.patch(organisation, `{"country":"de","time_zone":"Europe/Berlin","cool_down_days":2,"phones":{"codecs":["g722","alaw"],"transport":"tls","srtp":"required"},
			"calls":{"ring_seconds":30,"call_limit":2}}`, "If-Match", `"1"`)
		origins, _ := changed.at("origins").(map[string]any)
		if changed.status != 200 || changed.header.Get("Etag") != `"2"` || changed.at("country") != "DE" || changed.at("effective_phones.server_port") != 5061.0 ||
			changed.at("effective_cool_down_seconds") != 172800.0 || origins["calls.ring_seconds"] != "organisation" || origins["calls.when_busy"] != "default" ||
			origins["phones.server_port"] != "default" || origins["phones.codecs"] != "organisation" {
			t.Errorf("changed %d %s", changed.status, changed.text)
		}
		if a := p.patch(organisation, `{"name":"x"}`, "If-Match", `"1"`); a.status != 412 {
			t.Errorf("at another version: %d %s", a.status, a.text)
		}
		if a := p.patch(organisation, `{"country":"DE"}`); a.header.Get("Etag") != `"2"` {
			t.Errorf("no change: %s", a.text)
		}
		if a := p.patch(organisation, `{"phones":null,"calls":null,"cool_down_days":null,"country":null,"time_zone":null}`); a.status != 200 || a.at("effective_calls.ring_seconds") != 25.0 ||
			a.at("effective_phones.srtp") != "off" || a.at("cool_down_days") != nil {
			t.Errorf("back to the defaults: %d %s", a.status, a.text)
		}
	})
}

func TestAnInvalidSettingOfTheOrganisationIsNamedAndNothingChanges(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	if a := p.patch(organisation, `{"country":"BR"}`); a.status != 200 {
		t.Fatal(a.text)
	}
	before := p.read(organisation).text
	for patch, field := range map[string]string{
		`{"country":"XX"}`:                          "country",
		`{"time_zone":"Europe/Entenhausen"}`:        "time_zone",
		`{"time_zone":"Local"}`:                     "time_zone",
		`{"time_zone":"../../etc/passwd"}`:          "time_zone",
		`{"main_number":"call me"}`:                 "main_number",
		`{"language":"german"}`:                     "language",
		`{"language":"d\u0000"}`:                    "language",
		`{"cool_down_days":-1}`:                     "cool_down_days",
		`{"phones":{"server_address":"a b"}}`:       "phones.server_address",
		`{"phones":{"server_address":"1.2.3"}}`:     "phones.server_address",
		`{"phones":{"server_address":"pbx:5060"}}`:  "phones.server_address",
		`{"phones":{"public_address":"x\n[evil]"}}`: "phones.public_address",
		`{"phones":{"server_port":0}}`:              "phones.server_port",
		`{"phones":{"transport":"sctp"}}`:           "phones.transport",
		`{"phones":{"codecs":[]}}`:                  "phones.codecs",
		`{"phones":{"codecs":["mp3"]}}`:             "phones.codecs",
		`{"phones":{"codecs":["ulaw,alaw\n"]}}`:     "phones.codecs",
		`{"phones":{"codecs":["ulaw","ulaw"]}}`:     "phones.codecs",
		`{"phones":{"srtp":"required"}}`:            "phones.srtp",
		`{"calls":{"ring_seconds":4}}`:              "calls.ring_seconds",
		`{"calls":{"when_busy":{"kind":"pool"}}}`:   "calls.when_busy",
		`{"calls":{"when_busy":{"kind":"user","id":"2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11"}}}`: "calls.when_busy",
		`{"version":7}`: "version",
		`{"name":""}`:   "name",
	} {
		if a := p.patch(organisation, patch); a.status != 400 || !strings.Contains(a.text, `"field":"`+field) {
			t.Errorf("%s: %d %s", patch, a.status, a.text)
		}
	}
	if now := p.read(organisation).text; now != before {
		t.Errorf("it changed: %s", gocmp.Diff(before, now))
	}
}

// settingValues returns random valid values of the fields that a merge patch of the organisation can have.
func settingValues(random *rand.Rand) map[string]func() any {
	one := func(values ...any) func() any { return func() any { return values[random.IntN(len(values))] } }
	return map[string]func() any{
		"name": one("Example", "Beispiel"), "country": one(nil, "DE", "US"), "time_zone": one(nil, "Europe/Berlin", "UTC"), "main_number": one(nil, "+4930", "030"),
		"language": one(nil, "de", "pt_BR"), "cool_down_days": one(nil, 0.0, 30.0),
		"phones.server_address": one(nil, "pbx.example.com", "192.0.2.1", "2001:db8::1"), "phones.server_port": one(nil, 5060.0, 5070.0), "phones.public_address": one(nil, "sip.example.com"),
		"phones.codecs": one(nil, []any{"opus", "ulaw"}, []any{"alaw"}), "phones.transport": one(nil, "udp", "tcp", "tls"),
		"calls.ring_seconds": one(nil, 5.0, 120.0), "calls.call_limit": one(nil, 0.0, 3.0), "calls.caller_name": one(nil, "Example"), "calls.record": one(nil, "always"),
	}
}

func TestAPatchOfTheOrganisationChangesExactlyWhatItNames(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
		t.Logf("seed %d", seed)
		values, want := settingValues(random), map[string]any{}
		for range 60 {
			patch := map[string]any{}
			for field, value := range values {
				if random.IntN(4) > 0 {
					continue
				}
				v := value()
				want[field] = v
				group, name, nested := strings.Cut(field, ".")
				if !nested {
					patch[field] = v
					continue
				}
				inner, _ := patch[group].(map[string]any)
				if inner == nil {
					inner = map[string]any{}
				}
				inner[name] = v
				patch[group] = inner
			}
			a := p.patch(organisation, marshal(t, patch))
			if a.status != 200 {
				t.Fatalf("%v: %d %s", patch, a.status, a.text)
			}
			for field, value := range want {
				if diff := gocmp.Diff(value, a.at(field)); diff != "" {
					t.Fatalf("after %v: %s: %s", patch, field, diff)
				}
			}
			if again := p.read(organisation); again.text != a.text {
				t.Fatalf("read %s, changed %s", again.text, a.text)
			}
		}
	})
}

func TestTheEmergencyNumbersOfTheCountryAreNoNumbersOfAnybody(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		ids := p.users(1)
		user := "/api/v1/users/" + ids[0]
		if a := p.patch(user, `{"number":"190"}`); a.status != 200 {
			t.Fatal(a.text)
		}
		if a := p.patch(organisation, `{"country":"BR"}`); a.status != 409 || a.code() != pbx.CodeNumberTaken || !slices.Equal(a.fields(), []string{"country"}) {
			t.Errorf("a country whose emergency number is in use: %d %s", a.status, a.text)
		}
		if a := p.patch(user, `{"number":"1000"}`); a.status != 200 {
			t.Fatal(a.text)
		}
		if a := p.patch(organisation, `{"country":"BR"}`); a.status != 200 || !strings.Contains(fmt.Sprint(a.at("emergency_numbers")), "190") {
			t.Errorf("%d %s", a.status, a.text)
		}
		for _, number := range []string{"190", "112"} {
			if a := p.patch(user, `{"number":"`+number+`"}`); a.status != 400 || !slices.Equal(a.fields(), []string{"number"}) {
				t.Errorf("a user with %s: %d %s", number, a.status, a.text)
			}
			if a := p.request(here, "POST", "http://localhost/api/v1/ring-groups", `{"name":"Help","number":"`+number+`","members":["`+ids[0]+`"]}`); a.status != 400 {
				t.Errorf("a ring group with %s: %d %s", number, a.status, a.text)
			}
		}
		if a := p.request(here, "POST", "http://localhost/api/v1/pools", `{"name":"Short","from":"189","to":"191"}`); a.status != 201 {
			t.Fatal(a.text)
		} else {
			for _, want := range []string{"189", "191"} {
				if got := p.request(here, "POST", "http://localhost/api/v1/users", fmt.Sprintf(`{"name":"In between","pool":%q}`, a.at("id"))); got.at("number") != want {
					t.Errorf("want %s: %s", want, got.text)
				}
			}
		}
	})
}

func TestAPoolIsNotDeletedIfCallsWouldThenGoInACircle(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		const api = "http://localhost/api/v1/"
		pool := p.request(here, "POST", api+"pools", `{"name":"Berlin","from":"2000","to":"2999","calls":{"when_unanswered":{"kind":"hangup"},"when_unreachable":{"kind":"hangup"}}}`)
		user := p.request(here, "POST", api+"users", fmt.Sprintf(`{"name":"Anna","pool":%q}`, pool.at("id")))
		group := p.request(here, "POST", api+"ring-groups", fmt.Sprintf(`{"name":"Sales","members":[%q],"fallback":{"kind":"user","id":%[1]q}}`, user.at("id")))
		if a := p.patch("/api/v1/organisation", fmt.Sprintf(`{"calls":{"when_unanswered":{"kind":"ring_group","id":%q}}}`, group.at("id"))); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.text)
		}
		path := pool.header.Get("Location")
		if a := p.request(here, "DELETE", "http://localhost"+path, ""); a.status != 409 || a.code() != pbx.CodeInUse || !strings.Contains(a.text, "600 Sales → 2000 Anna → 600 Sales") {
			t.Errorf("%d %s", a.status, a.text)
		}
		if a := p.patch("/api/v1/organisation", `{"calls":null}`); a.status != 200 {
			t.Errorf("%d %s", a.status, a.text)
		}
		if a := p.request(here, "DELETE", "http://localhost"+path, ""); a.status != 204 {
			t.Errorf("%d %s", a.status, a.text)
		}
	})
}

func TestCallSettingsAreInheritedFromTheOrganisationThenThePoolThenTheUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		ids := p.users(2)
		anna, ben := "/api/v1/users/"+ids[0], "/api/v1/users/"+ids[1]
		pool := "/api/v1/pools/" + string(pbx.UserPoolID)
		must := func(path, patch string) {
			t.Helper()
			a := p.patch(path, patch)
			if a.status != 200 {
				t.Fatalf("%s: %d %s", patch, a.status, a.text)
			}
		}
		shows := func(path, field string, want any, from any) {
			t.Helper()
			a := p.read(path)
			origins, _ := a.at("call_origins").(map[string]any)
			if a.at("effective_calls."+field) != want || origins[field] != from {
				t.Errorf("%s is %v from %v, want %v from %v", field, a.at("effective_calls."+field), origins[field], want, from)
			}
		}
		shows(anna, "ring_seconds", 25.0, "default")
		must(organisation, `{"language":"de","calls":{"ring_seconds":30,"call_limit":2}}`)
		shows(anna, "ring_seconds", 30.0, "organisation")
		shows(anna, "language", "de", "organisation")
		must(pool, `{"calls":{"ring_seconds":40,"call_limit":3}}`)
		shows(anna, "ring_seconds", 40.0, "pool")
		shows(anna, "call_limit", 3.0, "pool")
		must(anna, `{"calls":{"ring_seconds":50,"call_limit":0}}`)
		shows(anna, "ring_seconds", 50.0, "user")
		shows(anna, "call_limit", nil, "user")
		if a := p.read(anna); a.at("calls.call_limit") != 0.0 || a.at("pool") != string(pbx.UserPoolID) {
			t.Errorf("a limit that is lifted: %s", a.text)
		}
		must(anna, `{"calls":null}`)
		shows(anna, "call_limit", 3.0, "pool")
		must(pool, `{"calls":{"call_limit":0}}`)
		shows(anna, "call_limit", nil, "pool")
		must(ben, `{"number":"5000"}`) // in no pool
		shows(ben, "ring_seconds", 30.0, "organisation")
		shows(ben, "call_limit", 2.0, "organisation")

		// Calls of all users go on to Anna, and those of Anna to nobody else.
		must(organisation, `{"calls":{"when_unanswered":{"kind":"user","id":"`+ids[0]+`"}}}`)
		if a := p.read(ben); a.at("effective_calls.when_unanswered.id") != ids[0] || a.at("call_origins.when_unreachable") != "organisation" {
			t.Errorf("%s", a.text)
		}
		shows(anna, "when_unanswered.kind", "hangup", nil)
		if a := p.request(here, "DELETE", "http://localhost"+anna, ""); a.status != 409 || a.at("uses.0.kind") != "organisation" || a.at("uses.0.field") != "calls.when_unanswered" {
			t.Errorf("the user that calls go on to: %d %s", a.status, a.text)
		}
		must(anna, `{"calls":{"when_unanswered":{"kind":"user","id":"`+ids[1]+`"}}}`) // who inherits that calls go on to Anna
		must(anna, `{"calls":null}`)

		// Calls of all users go on to a group, which goes on to nobody who inherits that.
		created := p.request(here, "POST", "http://localhost/api/v1/ring-groups", `{"name":"Office","members":["`+ids[1]+`"]}`)
		group, toGroup := created.header.Get("Location"), fmt.Sprintf(`{"calls":{"when_unanswered":{"kind":"ring_group","id":%q}}}`, created.at("id"))
		toAnna := `{"fallback":{"kind":"user","id":"` + ids[0] + `"}}`
		must(organisation, toGroup)
		if a := p.patch(group, toAnna); a.status != 400 || !slices.Equal(a.fields(), []string{"fallback"}) {
			t.Errorf("a circle by what another inherits: %d %s", a.status, a.text)
		}
		must(anna, `{"calls":{"when_unanswered":{"kind":"hangup"},"when_unreachable":{"kind":"hangup"}}}`)
		must(group, toAnna)
		if a := p.patch(anna, `{"calls":null}`); a.status != 400 {
			t.Errorf("a circle by what the user would inherit: %d %s", a.status, a.text)
		}
		must(organisation, `{"calls":null}`)
		must(anna, `{"calls":null}`)
		if a := p.patch(organisation, toGroup); a.status != 400 || !slices.Equal(a.fields(), []string{"calls.when_unanswered"}) {
			t.Errorf("a circle by the organisation: %d %s", a.status, a.text)
		}
	})
}

func TestAPoolIsCreatedReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		const pools = "http://localhost/api/v1/pools"
		created := p.request(here, "POST", pools, `{"name":"Berlin","from":"2000","to":"2009","cool_down_days":1}`)
		path := created.header.Get("Location")
		if created.status != 201 || created.at("kind") != "users" || created.at("order") != "lowest" || created.at("size") != 10.0 || created.at("default") != false || created.header.Get("Etag") != `"1"` {
			t.Fatalf("%d %s", created.status, created.text)
		}
		if read := p.read(path); read.text != created.text {
			t.Errorf("read %s", read.text)
		}
		id, _ := created.at("id").(string)
		for i := range 10 {
			a := p.request(here, "POST", "http://localhost/api/v1/users", fmt.Sprintf(`{"name":"User %d","pool":%q}`, i, id))
			if a.at("number") != fmt.Sprint(2000+i) || (a.at("warnings") != nil) != (i >= 8) {
				t.Errorf("%d: %d %s", i, a.status, a.text)
			}
		}
		if a := p.read(path); a.at("used") != 10.0 || a.at("warning") == nil {
			t.Errorf("the full pool: %s", a.text)
		}
		if a := p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"Eleven","pool":"`+id+`"}`); a.status != 409 || a.code() != pbx.CodePoolExhausted || !strings.Contains(a.text, `pool \"Berlin\" (2000–2009)`) {
			t.Errorf("the eleventh user: %d %s", a.status, a.text)
		}
		list := p.read("/api/v1/pools?total=true&kind=users")
		if list.at("total") != 2.0 || list.at("items.0.name") != "Berlin" || list.at("items.0.used") != 10.0 || list.at("items.1.default") != true || list.at("items.1.used") != 0.0 {
			t.Errorf("list: %s", list.text)
		}
		for body, fields := range map[string][]string{
			`{"name":"A","from":"1999","to":"2500"}`:                                               {"from", "from"},
			`{"name":"A","from":"3000","to":"2999"}`:                                               {"to"},
			`{"name":"A","from":"650","to":"655","kind":"features"}`:                               {"from"},
			`{"name":"A","from":"5000","to":"5001","kind":"fax"}`:                                  {"kind"},
			`{"name":"A","from":"5000","to":"5001","order":"highest"}`:                             {"order"},
			`{"name":"A","from":"0","to":"5001"}`:                                                  {"from"},
			`{"name":"A","from":"5000","to":"5001","cool_down_days":4000}`:                         {"cool_down_days"},
			`{"name":"A","from":"5000","to":"5001","kind":"features","calls":{"record":"always"}}`: {"calls"},
		} {
			if a := p.request(here, "POST", pools, body); a.status != 400 || !slices.Equal(a.fields(), fields) {
				t.Errorf("%s: %d %s", body, a.status, a.text)
			}
		}
		if a := p.request(here, "POST", pools, `{"name":"BERLIN","from":"7000","to":"7001"}`); a.status != 409 || a.code() != pbx.CodeNameTaken {
			t.Errorf("the same name: %d %s", a.status, a.text)
		}
		if a := p.patch(path, `{"to":"2019"}`, "If-Match", `"1"`); a.status != 200 || a.at("size") != 20.0 || a.at("warning") != nil {
			t.Errorf("extended: %d %s", a.status, a.text)
		}
		for body, want := range map[string]string{
			`{"name":"X","number":"2015"}`:                             "2015",
			`{"name":"X","number":"2016","pool":"` + id + `"}`:         "pool",
			`{"name":"X","number":"4000"}`:                             "number",
			`{"name":"X","number":"112"}`:                              "number",
			`{"name":"X","pool":"` + string(pbx.FeaturePoolID) + `"}`:  "pool",
			`{"name":"X","pool":"` + string(pbx.OrganisationID) + `"}`: "pool",
		} {
			if a := p.request(here, "POST", "http://localhost/api/v1/users", body); a.at("number") != want && !slices.Equal(a.fields(), []string{want}) {
				t.Errorf("%s: %d %s", body, a.status, a.text)
			}
		}
		if a := p.request(here, "POST", "http://localhost/api/v1/users", `{"name":"X","number":"2001"}`); a.status != 409 || a.code() != pbx.CodeNumberTaken {
			t.Errorf("a number that is taken: %d %s", a.status, a.text)
		}
		for _, id := range []pbx.ThingID{pbx.UserPoolID, pbx.FeaturePoolID} {
			if a := p.request(here, "DELETE", pools+"/"+string(id), ""); a.status != 409 || a.code() != pbx.CodeInUse {
				t.Errorf("a default pool: %d %s", a.status, a.text)
			}
			if a := p.patch("/api/v1/pools/"+string(id), `{"kind":"`+map[pbx.ThingID]string{pbx.UserPoolID: "features", pbx.FeaturePoolID: "users"}[id]+`"}`); a.status != 400 {
				t.Errorf("a default pool for something else: %d %s", a.status, a.text)
			}
		}
		if a := p.request(here, "DELETE", "http://localhost"+path, ""); a.status != 204 {
			t.Errorf("%d %s", a.status, a.text)
		}
		if a := p.request(here, "GET", "http://localhost/api/v1/users?number=2001", ""); a.at("items.0.number") != "2001" {
			t.Errorf("the users of the deleted pool: %s", a.text)
		}
	})
}

func TestAPatchOfAPoolChangesExactlyWhatItNames(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newOn(t, url)
		random := rand.New(rand.NewPCG(1, 2))
		created := p.request(here, "POST", "http://localhost/api/v1/pools", `{"name":"Berlin","from":"2000","to":"2999"}`)
		want := created.json
		one := func(values ...any) func() any { return func() any { return values[random.IntN(len(values))] } }
		values := map[string]func() any{
			"name": one("Berlin", "München"), "from": one("2000", "2100"), "to": one("2999", "3999"), "order": one("lowest", "next", "random"), "cool_down_days": one(nil, 0.0, 7.0),
			"calls": one(nil, map[string]any{"ring_seconds": 30.0}, map[string]any{"ring_seconds": nil}),
		}
		for range 40 {
			patch := map[string]any{}
			for field, value := range values {
				if random.IntN(3) == 0 {
					patch[field] = value()
				}
			}
			a := p.patch("/api/v1/pools/"+fmt.Sprint(want["id"]), marshal(t, patch))
			if a.status != 200 {
				t.Fatalf("%v: %d %s", patch, a.status, a.text)
			}
			for field, value := range patch {
				if field == "calls" {
					calls, _ := value.(map[string]any)
					value = map[string]any{}
					if calls["ring_seconds"] != nil {
						value = calls
					}
				}
				want[field] = value
			}
			for _, field := range []string{"size", "effective_cool_down_seconds", "version", "updated_at"} {
				want[field] = a.json[field]
			}
			if diff := gocmp.Diff(want, a.json); diff != "" {
				t.Fatalf("%v: %s", patch, diff)
			}
		}
		events, err := p.store.EventsAfter(t.Context(), store.EventQuery{Action: "pool.change"}, 0, 100)
		if err != nil || len(events) == 0 || events[0].Event.Before["version"] != "" || events[0].Event.Object.Name == "" {
			t.Errorf("the audit trail has %v, error %v", events, err)
		}
	})
}
