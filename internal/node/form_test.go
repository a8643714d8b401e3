package node_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render/rendertest"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// What an administrator wrote by hand: objects of every type, templates, and contexts that are added to.
const (
	handPJSIP = `
[phone](!)
type = endpoint
context = sales
disallow = all
allow = alaw
[1500](phone)
auth = 1500
[1500]
type = auth
auth_type = userpass
username = 1500
password = by-hand
[desk phone](phone)
[my-trunk]
type = registration
server_uri = sip:127.0.0.1:9
client_uri = sip:me@127.0.0.1
retry_interval = 3600
[my-trunk](phone)
[my-trunk]
type = aor
contact = sip:127.0.0.1:9
[my-trunk]
type = identify
endpoint = my-trunk
match = 192.0.2.7
`
	handDialplan = `
[base](!)
exten => 42,1,NoOp(by hand)
[sales](base)
exten => 1500,1,Dial(PJSIP/1500)
include => synergy-internal
[sales](+)
exten => 43,1,NoOp(more)
`
)

// newFormSite returns a site with modules for objects of every type, and what an administrator wrote by hand.
func newFormSite(t *testing.T) *site {
	t.Helper()
	a := labtest.Asterisk(t, lab.AsteriskOptions{Modules: []string{"res_pjsip_endpoint_identifier_ip.so", "res_pjsip_outbound_registration.so"}})
	db := storetest.New(t)
	local, err := node.New(a.ConfigDir, a.Control())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{a, local, db, directory.New(db, time.Now), apply.New(apply.Config{Store: db, Target: local, Now: time.Now})}
	s.above(t, "pjsip.conf", handPJSIP)
	s.above(t, "extensions.conf", handDialplan)
	s.reread(t)
	return s
}

// reread has Asterisk read what was written by hand.
func (s *site) reread(t *testing.T) {
	t.Helper()
	s.console(t, "module reload res_pjsip.so")
	s.console(t, "dialplan reload")
}

// keep puts a revision of a newer version into the database: the files in place of users, and these beside them.
func (s *site) keep(t *testing.T, number int, beside ...pbx.File) {
	t.Helper()
	state, err := s.node.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	users := slices.DeleteFunc(slices.Clone(state.Files), func(f pbx.File) bool { return f.Path != pbx.PJSIPPath && f.Path != pbx.DialplanPath })
	s.keepAll(t, number, slices.Concat(users, beside))
}

// keepAll puts a revision with these files into the database.
func (s *site) keepAll(t *testing.T, number int, files []pbx.File) {
	t.Helper()
	lock, err := s.store.TryApplyLock(t.Context())
	if err != nil || lock == nil {
		t.Fatal(lock, err)
	}
	defer lock.Release()
	if err := lock.SaveRun(t.Context(), pbx.Run{
		Log:      pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now(), TriggeredBy: "newer", Outcome: pbx.Success},
		Revision: number, Result: pbx.Applied, Verification: pbx.Confirmed, Files: files,
	}); err != nil {
		t.Fatal(err)
	}
}

// restore deploys a revision, which must be confirmed.
func (s *site) restore(t *testing.T, number int) pbx.Run {
	t.Helper()
	run, err := s.apply(t, apply.Request{Restore: number})
	if err != nil || run.Verification != pbx.Confirmed {
		t.Fatalf("revision %d: %s %q, error %v\nAsterisk's log:\n%s", number, run.Verification, run.Differences, err, s.asterisk.Log())
	}
	return run
}

// settled checks that nothing is pending but what the database lacks, and that Asterisk runs what the files say.
func (s *site) settled(t *testing.T, when string) {
	t.Helper()
	if plan, err := s.engine.Plan(t.Context()); err != nil || plan.Behind != "" || len(plan.Drift) > 0 || len(plan.Clashes) > 0 {
		t.Errorf("%s: behind %q, drift %v, clashes %v, error %v", when, plan.Behind, plan.Drift, plan.Clashes, err)
	}
}

func TestObjectsOfEveryTypeAreDeployedChangedAndRemovedBesideHandWrittenOnes(t *testing.T) {
	t.Parallel()
	s := newFormSite(t)
	s.create(t, "Anna")
	s.create(t, "Berta")
	s.mustApply(t)
	s.settled(t, "with users only")
	paths := func() (there []string) {
		for _, f := range pbx.GeneratedFiles() {
			if _, err := os.Stat(s.path(f.Path)); err == nil {
				there = append(there, filepath.Base(f.Path))
			}
		}
		return there
	}
	if got := paths(); len(got) != 2 {
		t.Errorf("users have the files %v", got)
	}

	// Further files: both modules reload, every object and step is confirmed. Then one that changes the dialplan alone.
	s.keep(t, 50, rendertest.Trunks("one", "t-7"), rendertest.Callflow(20, "g17"))
	s.keep(t, 51, rendertest.Trunks("one", "t-7"), rendertest.Callflow(30, "g17", "g18"))
	s.keep(t, 52, rendertest.Trunks("two", "t-7", "t-8"), rendertest.Callflow(30, "g17", "g18"))
	s.keep(t, 53)
	s.restore(t, 50)
	s.settled(t, "with a trunk and a group")
	if got := paths(); len(got) != 4 {
		t.Errorf("with further ones the files are %v", got)
	}
	if run := s.restore(t, 51); run.Log.Reload.PJSIP != nil || run.Log.Reload.Dialplan == nil {
		t.Errorf("a change of the dialplan alone reloaded %+v", run.Log.Reload)
	}
	s.restore(t, 52)
	q := pbx.LiveQuery{Types: rendertest.Types(), Contexts: []string{rendertest.Groups, rendertest.Common}, Contents: []string{"registration/t-8", "identify/t-8"}, Ours: map[string]bool{}}
	live, err := s.node.Live(t.Context(), q)
	if err != nil || len(live.Hashes) != 2 || len(live.Steps) != 7 || !slices.Equal(live.Contexts[rendertest.Groups], []string{rendertest.Common}) {
		t.Errorf("Asterisk runs %+v, error %v", live, err)
	}
	for _, typ := range rendertest.Types() {
		ids := slices.DeleteFunc(live.IDs[typ], func(id string) bool { _, user := pbx.ParseNumber(id); return user })
		if !slices.Equal(ids, []string{"t-7", "t-8"}) {
			t.Errorf("the portal's objects of the type %s are %q", typ, ids)
		}
	}

	// More by hand, and then another user: confirmed as before.
	s.above(t, "pjsip.conf", strings.NewReplacer("1500", "1600", "my-trunk", "other-trunk", "[phone](!)", "[phone2](!)", "(phone)", "(phone2)", "desk phone", "sip:desk").Replace(handPJSIP))
	s.above(t, "extensions.conf", "[sales](+)\nexten => 1600,1,NoOp()\ninclude => sc-group\n[out]\nexten => _X.,1,NoOp()\n")
	s.reread(t)
	s.settled(t, "with more by hand")
	s.create(t, "Claus")
	if run := s.mustApply(t); len(run.Plan.UserChanges()) != 1 {
		t.Errorf("changes %v", run.Plan.Changes)
	}
	if got := paths(); len(got) != 2 {
		t.Errorf("without further ones the files are %v", got)
	}
	s.settled(t, "with users only again")
}

func TestOptionalFilesAreRolledBackGuardedAndRecovered(t *testing.T) {
	t.Parallel()
	s := newFormSite(t)
	s.create(t, "Anna")
	s.mustApply(t)
	s.keep(t, 50, rendertest.Trunks("one", "t-7"), rendertest.Callflow(20, "g17"))
	s.keep(t, 51, rendertest.Trunks("one", "t-7", "t-8"), rendertest.Callflow(20, "g17"))
	s.restore(t, 50)
	good, err := s.node.Inspect()
	if err != nil {
		t.Fatal(err)
	}

	// Asterisk does not take two objects with one name: it contradicts, and the revision before is back.
	byHand := regexp.MustCompile(`(?m)^@portal=.*\n`).ReplaceAllString(string(rendertest.Trunks("by hand", "t-8").Content), "")
	s.above(t, "pjsip.conf", byHand)
	run, err := s.apply(t, apply.Request{Restore: 51})
	if pbx.CodeOf(err) != pbx.CodeRolledBack || run.Verification != pbx.Contradicted || run.Result != pbx.RolledBack || !strings.Contains(strings.Join(run.Differences, "\n"), "t-8") {
		t.Errorf("with the same trunk by hand: %s, %s, %q, error %v", run.Result, run.Verification, run.Differences, err)
	}
	s.without(t, "pjsip.conf", byHand)
	if state, err := s.node.Inspect(); err != nil || state.Current != good.Current {
		t.Fatalf("revision %d is in place, want %d, error %v", state.Current, good.Current, err)
	}
	s.reread(t)
	s.settled(t, "after going back")

	// Edited by hand: shown, refused, and replaced only by force, which saves it.
	for _, path := range []string{pbx.TrunksPath, pbx.CallflowPath} {
		file, err := os.OpenFile(s.path(path), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteString("; by hand\n")
			_ = file.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.apply(t, apply.Request{Restore: 51}); pbx.CodeOf(err) != pbx.CodeDrift || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("%s edited by hand: error %v", path, err)
		}
		run, err := s.apply(t, apply.Request{Restore: 50, Force: true})
		if err != nil || run.Verification != pbx.Confirmed || !slices.ContainsFunc(run.Saved, func(f pbx.File) bool { return strings.Contains(string(f.Content), "by hand") }) {
			t.Errorf("%s with force: %s, saved %v, error %v", path, run.Verification, run.Saved, err)
		}
	}

	// A revision with further files that was never completed is set aside, also if it adds them.
	state, err := s.node.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.node.Stage(state.Next, state.Current, "", slices.Concat(state.Files[:2], []pbx.File{rendertest.Trunks("two", "t-9")})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.node.Recover(); err != nil {
		t.Fatal(err)
	}
	s.settled(t, "after a recovery")
	if findings := s.node.Examine(t.Context()); slices.ContainsFunc(findings, func(f node.Finding) bool { return f.Grade == node.Bad }) {
		t.Errorf("doctor finds %+v", findings)
	}
}
