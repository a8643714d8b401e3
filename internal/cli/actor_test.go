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
	out = s.must(t, "audit", "list", "--json")
	if !regexp.MustCompile(`"triggered_by": ?"the president",\s*"actor": ?\{\s*"kind": ?"local",\s*"id": ?"",\s*"name": ?"[^"]+"`).MatchString(out) {
		t.Error(out)
	}
}
