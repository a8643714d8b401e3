package cli_test

import (
	"regexp"
	"testing"
)

func TestTheAuthenticatedActorIsSeparateFromTheClaimedOne(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.run(t, "apply", "--by", "the president") // it fails, for want of an Asterisk, and is on record
	out := s.must(t, "audit", "list")
	if !regexp.MustCompile(`WHO +TRIGGERED BY`).MatchString(out) || !regexp.MustCompile(`local \S.* {2,}the president`).MatchString(out) {
		t.Error(out)
	}
	logs, _ := decode(t, s.must(t, "audit", "list", "--json"))["logs"].([]any)
	log, _ := logs[0].(map[string]any)
	actor, _ := log["actor"].(map[string]any)
	if log["triggered_by"] != "the president" || actor["kind"] != "local" || actor["id"] != "" || actor["name"] == "" {
		t.Error(log)
	}
}
