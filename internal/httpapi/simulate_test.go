package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

func TestASimulatedCallIsDescribedInASentenceStepsAndReasons(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	anna, _ := p.create("Anna", "anna@example.com").json["id"].(string)
	p.create("Ben", "ben@example.com")
	sales, err := routing.New(p.store, time.Now).Create(t.Context(), pbx.DefaultTenant, "Sales", &pbx.RingGroup{
		Strategy: pbx.RingAll, Members: []pbx.UserID{pbx.UserID(anna)}, SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := p.do("POST", "/api/v1/simulate", `{"as":"1001","dial":"600","keys":["answer:1000"]}`)
	thing := func(kind string, id any, number, name string) string {
		return fmt.Sprintf(`{"id":"%s","kind":"%s","name":"%s","number":"%s"}`, id, kind, name, number)
	}
	group, user := thing("ring_group", sales.ID, "600", "Sales"), thing("user", anna, "1000", "Anna")
	want := `{"faults":[],"sentence":"1001 Ben calls 600 Sales; 1000 Anna rings for 20 seconds, and 1000 Anna answers.","steps":[` +
		`{"cause":null,"kind":"enter","outcome":null,"rings":[],"seconds":0,"text":"1001 Ben calls 600 Sales","thing":` + group + `},` +
		`{"cause":null,"kind":"ring","outcome":"answer","rings":[` + user + `],"seconds":20,"text":"1000 Anna rings for 20 seconds","thing":` + group + `},` +
		`{"cause":null,"kind":"answer","outcome":null,"rings":[],"seconds":0,"text":"1000 Anna answers","thing":` + user + `}],` +
		`"taken":"ring:+1000:20=a end","why":[{"field":"number","text":"600 is the number of Sales.","thing":` + group + `},` +
		`{"field":"strategy","text":"All members ring at once.","thing":` + group + `},{"field":"seconds","text":"Each attempt rings for 20 seconds.","thing":` + group + `}]}`
	if got := strings.TrimSpace(a.text); a.status != 200 || got != want {
		t.Errorf("%d\n%s\nwant\n%s", a.status, got, want)
	}
	for _, c := range []struct{ body, want string }{
		{`{"to":"` + string(sales.ID) + `","busy":["1000"],"at":"2026-11-29T20:00:00+01:00"}`, "hangup:19"},
		{`{"to":"600","away":["` + anna + `"],"from":"+49301234"}`, "ring:+1000:20=u hangup:19"},
		{`{"dial":"1001","keys":["busy"]}`, "ring:+1001:25=b hangup:17"},
		{`{"dial":"4711"}`, ""},
	} {
		if a := p.do("POST", "/api/v1/simulate", c.body); a.status != 200 || a.json["taken"] != c.want {
			t.Errorf("%s: %d %s", c.body, a.status, a.text)
		}
	}
	for body, fields := range map[string]string{
		`{}`: "dial", `{"dial":"600","to":"600"}`: "dial", `{"as":"4711","dial":"600"}`: "as", `{"dial":"600","keys":["maybe"]}`: "keys.0",
		`{"dial":"600","away":["600"],"busy":["x"]}`: "away busy", `{"dial":"${EXTEN}"}`: "dial", `{"dial":"600","at":"noon"}`: "at", `{"dial":"600","then":"x"}`: "then",
	} {
		if a := p.do("POST", "/api/v1/simulate", body); a.status != 400 || strings.Join(a.fields(), " ") != fields {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
}
