package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

func TestAUserIsCreatedReadListedAndDeleted(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	if a := p.do("GET", "/users", ""); a.status != 200 || a.text != "{\"users\":[]}\n" {
		t.Errorf("empty list: %d %q", a.status, a.text)
	}
	created := p.create("  Anna Müller ", "Anna@example.com")
	id, _ := created.json["id"].(string)
	extension, _ := created.json["extension"].(map[string]any)
	if created.json["name"] != "Anna Müller" || created.json["tenant_id"] != string(pbx.DefaultTenant) || extension["number"] != 1000.0 ||
		len(extension["secret"].(string)) != 22 || created.header.Get("Location") != "/users/"+id {
		t.Errorf("created: %s %v", created.text, created.header)
	}
	got := p.do("GET", "/users/"+id, "")
	if got.status != 200 || got.text != created.text {
		t.Errorf("got %d %s, created was %s", got.status, got.text, created.text)
	}
	listed := p.do("GET", "/users", "")
	if want := "{\"users\":[" + strings.TrimSpace(created.text) + "]}\n"; listed.text != want {
		t.Errorf("list: %s", cmp.Diff(want, listed.text))
	}
	if a := p.do("HEAD", "/users", ""); a.status != 200 || a.text != "" || a.header.Get("Content-Length") != fmt.Sprint(len(listed.text)) {
		t.Errorf("HEAD: %d %q %v", a.status, a.text, a.header)
	}
	deleted := p.do("DELETE", "/users/"+strings.ToUpper(id), "")
	if deleted.status != 200 || deleted.json["deleted_user_id"] != id || deleted.json["freed_extension"] != 1000.0 || deleted.json["message"] == "" {
		t.Errorf("deleted: %d %s", deleted.status, deleted.text)
	}
	for _, method := range []string{"GET", "DELETE"} {
		for _, id := range []string{id, "nonsense", "%00", "a0000000-0000-0000-0000-00000000000g", strings.Repeat("x", 5000), "..%2fhealth%zz"[:9], "{" + id + "}"} {
			if a := p.do(method, "/users/"+id, ""); a.status != 404 {
				t.Errorf("%s %.60s: %d %s", method, id, a.status, a.text)
			}
		}
	}
}

func TestUsersAreListedByPagesAndByText(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for i := range 5 {
		p.create(fmt.Sprintf("User %c", 'A'+i), fmt.Sprintf("user%d@example.com", i))
	}
	var numbers []float64
	path := "/users?limit=2"
	for pages := 0; path != "" && pages < 10; pages++ {
		a := p.do("GET", path, "")
		for _, u := range a.json["users"].([]any) {
			numbers = append(numbers, u.(map[string]any)["extension"].(map[string]any)["number"].(float64))
		}
		path = ""
		if next, ok := a.json["next_cursor"].(string); ok {
			path = "/users?limit=2&cursor=" + next
		}
	}
	if diff := cmp.Diff([]float64{1000, 1001, 1002, 1003, 1004}, numbers); diff != "" {
		t.Error(diff)
	}
	for q, want := range map[string]int{"uSeR%20b": 1, "1003": 1, "example": 5, "": 5, "nobody": 0, "%F0%9F%98%80": 0} {
		if a := p.do("GET", "/users?q="+q, ""); a.status != 200 || len(a.json["users"].([]any)) != want {
			t.Errorf("q=%s: %d %s", q, a.status, a.text)
		}
	}
}

func TestConflictsSayWhatCollidesAndWhatToDo(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	a := p.do("POST", "/users", `{"name":"Other","email":"ANNA@example.com"}`)
	if a.status != 409 || a.code() != pbx.CodeEmailTaken || !slices.Equal(a.fields(), []string{"email"}) {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestAFullPoolIsSaidClearly(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	fill(t, p, pbx.PoolSize)
	a := p.do("POST", "/users", `{"name":"One","email":"one@example.com"}`)
	if a.status != 409 || a.code() != pbx.CodePoolExhausted || !strings.Contains(a.text, "1000–1999") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.do("GET", "/users", ""); len(a.json["users"].([]any)) != pbx.PoolSize {
		t.Errorf("list of %d bytes", len(a.text))
	}
}

// fill creates n users concurrently: group commit makes this much faster.
func fill(t testing.TB, p *portal, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		if i%100 == 99 { // more at once would wait too long for each other under the race detector
			all.Wait()
		}
		all.Go(func() {
			if _, err := p.directory.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: fmt.Sprintf("Bénédicte Müller %d", i), Email: fmt.Sprintf("user%d@example.com", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestHealthNamesTheFailingPart(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	if a := p.do("GET", "/health", ""); a.status != 200 || a.json["status"] != "ok" || a.json["database"] != "ok" || a.json["version"] != "1.2.3" || a.json["files"] != "ok" {
		t.Errorf("%d %s", a.status, a.text)
	}
	p.health.Asterisk = "Asterisk does not answer: start it"
	if a := p.do("GET", "/health", ""); a.status != 200 || a.json["asterisk"] != p.health.Asterisk {
		t.Errorf("%d %s", a.status, a.text)
	}
	p.health.Database = errInside
	a := p.do("GET", "/health", "")
	if a.status != 503 || a.code() != pbx.CodeDatabaseAway || a.json["database"] == "ok" || strings.Contains(a.text, "secret") {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestEachOKOfHealthNamesTheLookBehindItAndItsAge(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	parts := func() (ok []string) {
		a := p.do("GET", "/health", "")
		looked, _ := a.json["looked"].(map[string]any)
		for part, state := range a.json {
			look, _ := looked[part].(map[string]any)
			if state != "ok" || part == "status" {
				continue
			}
			ok = append(ok, part)
			if look["look"] == "" || look["at"] == nil || look["age_ms"] == nil {
				t.Errorf("%s is ok without a look: %s", part, a.text)
			}
		}
		slices.Sort(ok)
		return ok
	}
	if got := parts(); !slices.Equal(got, []string{"asterisk", "audit", "database", "files", "key"}) {
		t.Errorf("ok are %v", got)
	}
	p.health.Looked = pbx.Looked{Database: time.Now()}
	if got := parts(); !slices.Equal(got, []string{"database", "files"}) {
		t.Errorf("without a look at Asterisk, the trail and the key, ok are %v", got)
	}
}

func TestLivenessAsksNothingAndReadinessTheDatabaseAlone(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.health.Asterisk = "Asterisk does not answer: start it"
	if a := p.do("GET", "/readyz", ""); a.status != 200 || a.json["status"] != "ok" || a.at("database.look") == nil || a.at("database.age_ms") == nil {
		t.Errorf("readiness without Asterisk: %d %s", a.status, a.text)
	}
	p.health.Database = errInside
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := p.do("GET", "/readyz", ""); a.status != 503 || a.code() != pbx.CodeDatabaseAway || a.header.Get("Retry-After") == "" || strings.Contains(a.text, "secret") {
		t.Errorf("readiness without the database: %d %s", a.status, a.text)
	}
	if a := p.as("").do("GET", "/livez", ""); a.status != 200 || a.json["status"] != "ok" {
		t.Errorf("liveness without the database: %d %s", a.status, a.text)
	}
}

func TestHealthAndMetricsSayHowTheFilesStand(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.asterisk.reloadFault = errors.New("start it")
	p.do("POST", "/apply", `{"triggered_by":"admin"}`)
	if a := p.do("GET", "/health", ""); a.status != 200 || a.json["files"] != "ahead of Asterisk" {
		t.Errorf("%d %s", a.status, a.text)
	}
	p.asterisk.drift = []pbx.Drift{{Kind: pbx.Edited, Path: pbx.PJSIPPath}, {Kind: pbx.External, Path: "pjsip.d/synergycall/backup.conf"}}
	text := p.do("GET", "/metrics", "").text
	for _, must := range []string{
		"pbxportal_files_ahead 1", "pbxportal_drift 2", "pbxportal_revision 2", `pbxportal_apply_results_total{result="files_ahead"} 1`, `pbxportal_apply_results_total{result="applied"} 0`,
	} {
		if !strings.Contains(text, must+"\n") {
			t.Errorf("the metrics lack %s", must)
		}
	}
	drift := p.asterisk.drift
	p.asterisk.reloadFault, p.asterisk.drift = nil, nil
	if done, err := p.engine.CatchUp(t.Context()); !done || err != nil {
		t.Fatal(err)
	}
	p.asterisk.drift = drift
	if a := p.do("GET", "/health", ""); a.status != 200 || a.json["files"] != "drift: pjsip.d/synergycall/generated_endpoints.conf edited, pjsip.d/synergycall/backup.conf foreign" {
		t.Errorf("%d %s", a.status, a.text)
	}
	for i := range 10 {
		p.asterisk.drift = append(p.asterisk.drift, pbx.Drift{Kind: pbx.External, Path: fmt.Sprint(i)})
	}
	p.health.Database = errInside
	if a := p.do("GET", "/health", ""); a.status != 503 || !strings.HasSuffix(a.json["files"].(string), ", and 7 more") {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestAnUnavailableDatabaseIsReportedWithRetryAfter(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/users", "/users/2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11", "/apply/logs", "/apply/plan", "/apply/revisions", "/apply/revisions/1",
		"/apply/revisions/1/diff", "/apply/runs/6d0f5b0e-52c5-4f0c-9d55-0b6b1d2c7a90", "/apply/runs/6d0f5b0e-52c5-4f0c-9d55-0b6b1d2c7a90/events",
	} {
		a := p.do("GET", path, "")
		if a.status != 503 && a.status != 500 || strings.Contains(a.text, "sql") {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if a := p.do("GET", "/metrics", ""); a.status < 500 { // who asks cannot be known
		t.Errorf("/metrics: %d %s", a.status, a.text)
	}
}

func TestAPanicIsA500ThatSaysNothingOfTheInside(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.health.Asterisk = "panic"
	a := p.do("GET", "/health", "", "X-Request-Id", "my-id.1_A")
	if a.status != 500 || a.code() != "internal" || strings.Contains(a.text, "secret") || a.json["request_id"] != "my-id.1_A" || a.header.Get("X-Request-Id") != "my-id.1_A" {
		t.Errorf("%d %s", a.status, a.text)
	}
	log := p.log.String()
	for _, must := range []string{"the secret inside", "my-id.1_A", "harness_test.go", `"status":500`} {
		if !strings.Contains(log, must) {
			t.Errorf("the log lacks %q:\n%s", must, log)
		}
	}
}

func TestTheLogHasRequestsWithoutTheirContents(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	created := p.create("Anna", "anna@example.com")
	p.do("GET", "/users?q=confidential", "")
	p.do("POST", "/users", `{"name":"Bob","email":"bob@@example.com"}`)
	secret := created.json["extension"].(map[string]any)["secret"].(string)
	log := p.log.String()
	for _, must := range []string{`"route":"/users"`, `"status":201`, `"status":400`, `"request_id":"` + created.header.Get("X-Request-Id"), `"duration_ms":`, `"bytes":`} {
		if !strings.Contains(log, must) {
			t.Errorf("the log lacks %s", must)
		}
	}
	for _, never := range []string{secret, "anna", "Bob", "confidential"} {
		if strings.Contains(log, never) {
			t.Errorf("the log holds %q", never)
		}
	}
}

func TestMetricsCountByRouteAndOutcome(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.do("GET", "/users/nobody", "")
	p.do("POST", "/apply", `{"triggered_by":"admin"}`)
	p.do("WEIRD", "/nowhere", "")
	text := p.do("GET", "/metrics", "").text
	for _, must := range []string{
		`pbxportal_http_requests_total{method="POST",route="/users",status="201"} 1`,
		`pbxportal_http_requests_total{method="GET",route="/users/{userId}",status="404"} 1`,
		`pbxportal_http_requests_total{method="other",route="none",status="404"} 1`,
		`pbxportal_http_request_duration_seconds_count{method="POST",route="/apply",status="200"} 1`,
		`pbxportal_applies_total{outcome="success"} 1`, `pbxportal_applies_total{outcome="failure"} 0`,
		"pbxportal_extensions_in_use 1", "pbxportal_extensions_capacity 1000", `pbxportal_build_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(text, must+"\n") {
			t.Errorf("the metrics lack %s", must)
		}
	}
}

func TestOnlyCountersAreNamedTotal(t *testing.T) {
	t.Parallel()
	text := newPortal(t).do("GET", "/metrics", "").text
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" && strings.HasSuffix(f[2], "_total") != (f[3] == "counter") {
			t.Errorf("%s is a %s", f[2], f[3])
		}
	}
}

func TestTheServerBoundsEverythingAClientCouldStretch(t *testing.T) {
	t.Parallel()
	s := newUnserved(t).handler.Server("127.0.0.1:0")
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout <= 90*time.Second || s.IdleTimeout == 0 || s.MaxHeaderBytes > 32<<10 || s.HTTP2.MaxReceiveBufferPerConnection > 64<<10 || s.HTTP2.MaxConcurrentStreams > 100 {
		t.Errorf("%+v", s)
	}
}

func TestAPortalWithoutItsServicesIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := httpapi.New(httpapi.Config{}); err == nil {
		t.Error("no error")
	}
}

func TestACachedListShowsSecretsOnlyToCallersWithPermission(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	auditor := p.as(grant(t, p.auth, pbx.NewToken{Name: "reader", Role: pbx.Auditor}))
	secrets := 0
	for round, name := range []string{"Anna", "Ben", "Cleo"} {
		p.create(name, name+"@example.com")
		secrets++
		for range 2 {
			if text := p.do("GET", "/users", "").text; strings.Count(text, `"secret"`) != secrets || !strings.Contains(text, name) {
				t.Errorf("an owner reads in round %d: %s", round, text)
			}
			if text := auditor.do("GET", "/users", "").text; strings.Contains(text, `"secret"`) || !strings.Contains(text, name) {
				t.Errorf("an auditor reads in round %d: %s", round, text)
			}
			if text := p.do("GET", "/users?q=cleo", "").text; strings.Contains(text, "Anna") {
				t.Errorf("a search finds everybody in round %d: %s", round, text)
			}
		}
	}
	user := p.do("GET", "/users", "").json["users"].([]any)[1].(map[string]any)["id"].(string)
	p.do("DELETE", "/users/"+user, "")
	if text := p.do("GET", "/users", "").text; strings.Count(text, `"secret"`) != 2 || strings.Contains(text, "Ben") {
		t.Errorf("after Ben was deleted an owner reads: %s", text)
	}
}

func TestAUserOutsideThePoolIsListedReadAndDeletedAsAnyOther(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	for i, number := range []pbx.Number{250_000, 20} {
		now := time.Now().UTC().Truncate(time.Microsecond)
		u := pbx.User{
			ID: pbx.UserID(uuid.NewString()), TenantID: pbx.DefaultTenant, Name: "Other", Email: fmt.Sprintf("%d@example.com", i), CreatedAt: now,
			Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: number, Secret: pbx.NewSecret(), CreatedAt: now},
		}
		err := p.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertUsers(ctx, store.NewUser{User: u, Event: pbx.NewAuditEvent(ctx, now, pbx.ActionUserCreate, pbx.AuditObject{Type: "user", ID: string(u.ID)})})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	numbers := func(a answer) (all []float64) {
		for _, u := range a.json["users"].([]any) {
			all = append(all, u.(map[string]any)["extension"].(map[string]any)["number"].(float64))
		}
		return all
	}
	all := p.do("GET", "/users", "")
	if got := numbers(all); !slices.Equal(got, []float64{20, 1000, 250_000}) {
		t.Fatalf("listed as %v", got)
	}
	if first := p.do("GET", "/users?limit=1", ""); !slices.Equal(numbers(first), []float64{20}) || first.at("next_cursor") != "20" {
		t.Errorf("the first page: %s", first.text)
	}
	if rest := p.do("GET", "/users?limit=2&cursor=20", ""); !slices.Equal(numbers(rest), []float64{1000, 250_000}) {
		t.Errorf("the next page: %s", rest.text)
	}
	if found := p.do("GET", "/users?q=2500", ""); !slices.Equal(numbers(found), []float64{250_000}) {
		t.Errorf("found by number: %s", found.text)
	}
	for _, number := range []float64{20, 250_000} {
		if a := p.do("GET", fmt.Sprintf("/extensions/%.0f/status", number), ""); a.status != 200 || a.at("number") != number {
			t.Errorf("status of %.0f: %d %s", number, a.status, a.text)
		}
	}
	if a := p.do("DELETE", "/users/"+all.json["users"].([]any)[0].(map[string]any)["id"].(string), ""); a.status != 200 || a.json["freed_extension"] != 20.0 {
		t.Errorf("deleting 20: %d %s", a.status, a.text)
	}
	if a := p.do("POST", "/users", `{"name":"Next","email":"next@example.com"}`); a.status != 201 || a.at("extension.number") != 1001.0 {
		t.Errorf("the next user: %d %s", a.status, a.text)
	}
}
