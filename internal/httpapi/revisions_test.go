package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// withRevisions makes a portal with n applies done, each with one user more than the one before: the revisions from 2.
func withRevisions(t *testing.T, n int) *portal {
	t.Helper()
	p := newPortal(t)
	for i := range n {
		p.create(fmt.Sprintf("User %d", i), fmt.Sprintf("user%d@example.com", i))
		p.apply(fmt.Sprintf(`,"comment":"user %d"`, i))
	}
	return p
}

func TestRevisionsAreListedNewestFirstInPages(t *testing.T) {
	t.Parallel()
	if a := newPortal(t).do("GET", "/apply/revisions", ""); a.text != "{\"revisions\":[]}\n" {
		t.Errorf("empty: %q", a.text)
	}
	p := withRevisions(t, 3)
	first := p.do("GET", "/apply/revisions?limit=2", "")
	second := p.do("GET", "/apply/revisions?limit=2&cursor="+first.json["next_cursor"].(string), "")
	got := []any{first.at("revisions.0.revision"), first.at("revisions.1.revision"), second.at("revisions.0.revision"), second.json["next_cursor"]}
	if diff := cmp.Diff([]any{4.0, 3.0, 2.0, nil}, got); diff != "" || first.at("revisions.0.comment") != "user 2" || first.at("revisions.0.plan.added") != 1.0 {
		t.Errorf("%s%s", diff, first.text)
	}
	if all := p.do("GET", "/apply/revisions", ""); all.length("revisions") != 3 || all.json["next_cursor"] != nil {
		t.Errorf("%s", all.text)
	}
}

func TestARevisionIsShownWithoutItsBytes(t *testing.T) {
	t.Parallel()
	p := withRevisions(t, 1)
	secret := p.do("GET", "/users", "").at("users.0.extension.secret").(string)
	a := p.do("GET", "/apply/revisions/2", "")
	if a.status != 200 || a.json["revision"] != 2.0 || a.length("files") != 2 || len(a.at("files.0.sha256").(string)) != 64 || a.at("files.0.path") != pbx.PJSIPPath ||
		a.at("files.0.size").(float64) < 100 || a.json["comment"] != "user 0" || strings.Contains(a.text, secret) {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestRevisionsAreComparedWithoutSecrets(t *testing.T) {
	t.Parallel()
	p := withRevisions(t, 3)
	secret := p.do("GET", "/users", "").at("users.2.extension.secret").(string)
	before := p.do("GET", "/apply/revisions/4/diff", "")
	if before.status != 200 || before.json["against"] != 3.0 || !strings.Contains(before.at("diffs.1.text").(string), "+exten => 1002,1,") || strings.Contains(before.text, secret) {
		t.Errorf("%d %s", before.status, before.text)
	}
	back := p.do("GET", "/apply/revisions/2/diff?against=4", "")
	if back.status != 200 || back.json["revision"] != 2.0 || !strings.Contains(back.at("diffs.1.text").(string), "-exten => 1002,1,") {
		t.Errorf("%d %s", back.status, back.text)
	}
}

func TestTheUsersOfARestoredRevisionAreRestoredAsWell(t *testing.T) {
	t.Parallel()
	p := withRevisions(t, 2)
	before := p.do("GET", "/users", "")
	p.do("DELETE", "/users/"+before.at("users.0.id").(string), "")
	p.create("Later", "later@example.com") // with the number of the deleted one
	p.create("Last", "last@example.com")
	p.apply("")
	if a := p.do("POST", "/apply/revisions/3/restore", `{"triggered_by":"test"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	restored := int(p.do("GET", "/apply/plan", "").at("revision").(float64))
	for _, revision := range []int{3, restored} { // the same, by its own number, and by that of the revision that restored it
		a := p.do("POST", fmt.Sprintf("/apply/revisions/%d/users", revision), "")
		if diff := cmp.Diff([]any{1000.0}, a.json["created"]); a.status != 200 || (revision == 3) != (diff == "") || a.length("new_secrets") != 0 || a.length("unknown") != 0 {
			t.Errorf("%d %s", a.status, a.text)
		}
	}
	plan := p.do("GET", "/apply/plan", "")
	if plan.json["pending"] != false || plan.length("changes") != 0 {
		t.Errorf("an apply would undo the restore: %s", plan.text)
	}
	after := p.do("GET", "/users", "")
	for i := range 2 {
		for _, field := range []string{"id", "name", "email", "extension.number", "extension.secret"} {
			if path := fmt.Sprintf("users.%d.%s", i, field); before.at(path) != after.at(path) {
				t.Errorf("%s is %v, was %v", path, after.at(path), before.at(path))
			}
		}
	}
	if a := p.do("POST", "/apply/revisions/77/users", ""); a.status != 404 || a.json["code"] != pbx.CodeNoRevision {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestMissingAndDeletedRevisionsAreReported(t *testing.T) {
	t.Parallel()
	p := withRevisions(t, keep+2) // the first is forgotten: of revision 2 only the record is left
	for _, c := range []struct{ method, path, code string }{
		{"GET", "77", pbx.CodeNoRevision},
		{"GET", "0", pbx.CodeNoRevision},
		{"GET", "-1", pbx.CodeNoRevision},
		{"GET", "02", pbx.CodeNoRevision},
		{"GET", "+2", pbx.CodeNoRevision},
		{"GET", "2.0", pbx.CodeNoRevision},
		{"GET", "%32%00", pbx.CodeNoRevision},
		{"GET", "99999999999999999999", pbx.CodeNoRevision},
		{"GET", "current'--", pbx.CodeNoRevision},
		{"GET", "77/diff", pbx.CodeNoRevision},
		{"GET", "77/diff?against=6", pbx.CodeNoRevision},
		{"GET", "6/diff?against=77", pbx.CodeNoRevision},
		{"GET", "x/diff", pbx.CodeNoRevision},
		{"GET", "2/diff", pbx.CodeNoRevision},
		{"GET", "2/diff?against=6", pbx.CodeForgotten},
		{"GET", "6/diff?against=2", pbx.CodeForgotten},
		{"POST", "0/restore", pbx.CodeNoRevision},
		{"POST", "-2/restore", pbx.CodeNoRevision},
		{"POST", "database/restore", pbx.CodeNoRevision},
		{"POST", "77/restore", pbx.CodeNoRevision},
		{"POST", "2/restore", pbx.CodeForgotten},
	} {
		body := ""
		if c.method == "POST" {
			body = `{"triggered_by":"admin"}`
		}
		if a := p.do(c.method, "/apply/revisions/"+c.path, body); a.status != 404 || a.code() != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.text)
		}
	}
	if a := p.do("GET", "/apply/revisions/2", ""); a.status != 200 || a.length("files") != 0 || a.json["comment"] != "user 0" {
		t.Errorf("a forgotten revision: %d %s", a.status, a.text)
	}
	if site, _ := p.asterisk.Inspect(); site.Current != keep+3 {
		t.Errorf("revision %d is in place", site.Current)
	}
}

func TestARestoredRevisionLeavesTheDatabaseAhead(t *testing.T) {
	t.Parallel()
	p := withRevisions(t, 2)
	rehearsal := p.do("POST", "/apply/revisions/2/restore", `{"triggered_by":"admin","dry_run":true}`)
	if rehearsal.status != 200 || rehearsal.json["result"] != "dry_run" || rehearsal.at("plan.removed") != 1.0 {
		t.Fatalf("%d %s", rehearsal.status, rehearsal.text)
	}
	hash := rehearsal.at("plan.hash").(string)
	a := p.do("POST", "/apply/revisions/2/restore", `{"triggered_by":"admin","comment":"User 1 cannot call"}`, "If-Match", `"`+hash+`"`, "Idempotency-Key", "back")
	if a.status != 200 || a.json["revision"] != 4.0 || a.json["users_applied"] != 1.0 || !strings.Contains(a.json["message"].(string), "revision 2 was restored") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if run := p.do("GET", a.header.Get("Location"), ""); run.json["restored"] != 2.0 || run.json["revision"] != 4.0 {
		t.Errorf("%s", run.text)
	}
	plan := p.do("GET", "/apply/plan", "")
	if plan.json["pending"] != true || plan.at("changes.0.kind") != "added" || plan.at("changes.0.number") != 1001.0 || plan.json["users"] != 2.0 {
		t.Errorf("the plan does not say that the database is ahead: %s", plan.text)
	}
	if a := p.do("POST", "/apply/revisions/3/restore", `{"triggered_by":"admin"}`, "If-Match", `"`+hash+`"`); a.status != 412 || a.code() != pbx.CodePlanMoved {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.do("POST", "/apply/revisions/3/restore", `{"triggered_by":"admin"}`, "Idempotency-Key", "back"); a.status != 409 || a.code() != pbx.CodeKeyReused {
		t.Errorf("%d %s", a.status, a.text)
	}
	later := p.do("POST", "/apply/revisions/3/restore", `{"triggered_by":"admin"}`, "Prefer", "respond-async")
	p.handler.Wait()
	if run := p.do("GET", later.header.Get("Location"), ""); later.status != 202 || run.json["restored"] != 3.0 || run.json["result"] != "applied" {
		t.Errorf("%d %s", later.status, run.text)
	}
}
