package httpapi_test

import (
	"errors"
	"strings"
	"testing"
)

func TestThePlanReportsWhatAnApplyWouldDo(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	created := p.create("Anna", "anna@example.com")
	plan := p.do("GET", "/apply/plan", "")
	if plan.status != 200 || plan.json["revision"] != 0.0 || plan.json["users"] != 1.0 || plan.json["pending"] != true || plan.at("changes.0.number") != 1000.0 ||
		plan.at("changes.0.name") != "Anna" || plan.length("diffs") != 2 || plan.header.Get("Etag") != `"`+plan.json["hash"].(string)+`"` {
		t.Errorf("%d %v %s", plan.status, plan.header, plan.text)
	}
	if strings.Contains(plan.text, created.at("extension.secret").(string)) {
		t.Error("the plan shows a secret")
	}
	if site, _ := p.asterisk.Inspect(); site.Current != 0 {
		t.Error("the plan touched the files")
	}
	p.apply("")
	p.asterisk.deaf = errors.New("it is down")
	plan = p.do("GET", "/apply/plan", "")
	if plan.json["pending"] != false || plan.length("changes") != 0 || !strings.Contains(plan.json["behind"].(string), "it is down") || plan.json["revision"] != 2.0 {
		t.Errorf("after an apply: %s", plan.text)
	}
}

func TestThePlanAClientHasIsNotSentAgain(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.apply("")
	etag := p.do("GET", "/apply/plan", "").header.Get("Etag")
	for _, have := range []string{etag, `"other", ` + etag, "W/" + etag} {
		if a := p.do("GET", "/apply/plan", "", "If-None-Match", have); a.status != 304 || a.text != "" || a.header.Get("Etag") != etag {
			t.Errorf("%s: %d %v %s", have, a.status, a.header, a.text)
		}
	}
	p.create("Anna", "anna@example.com")
	if a := p.do("GET", "/apply/plan", "", "If-None-Match", etag); a.status != 200 || a.header.Get("Etag") == etag {
		t.Errorf("after a change: %d %s", a.status, a.text)
	}
}

func TestAPlanThatCannotBeMadeIsAFailure(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.asterisk.lookFault = errors.New("input/output error")
	if a := p.do("GET", "/apply/plan", ""); a.status != 500 || a.code() != "write_failed" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.do("GET", "/health", ""); a.status != 200 || a.json["files"] != "cannot be checked: see the portal's log for the reason" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.do("GET", "/metrics", ""); !strings.Contains(a.text, "pbxportal_files_ahead NaN\n") || !strings.Contains(a.text, "pbxportal_revision NaN\n") {
		t.Error("the metrics do not say that the files cannot be looked at")
	}
}
