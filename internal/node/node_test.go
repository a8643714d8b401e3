package node_test

import (
	order "cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// site is a portal beside a real Asterisk.
type site struct {
	asterisk  *lab.Asterisk
	node      *node.Local
	store     *store.Store
	directory *directory.Directory
	engine    *apply.Engine
}

func newSite(t *testing.T) *site {
	t.Helper()
	a := labtest.Asterisk(t)
	db := storetest.New(t)
	local, err := node.New(a.ConfigDir, a.Control())
	if err != nil {
		t.Fatal(err)
	}
	return &site{a, local, db, directory.New(db, time.Now), apply.New(apply.Config{Store: db, Target: local, Now: time.Now})}
}

func (s *site) create(t *testing.T, name string) pbx.User {
	t.Helper()
	u, err := s.directory.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: name, Email: fmt.Sprintf("%x@example.com", rand.Uint64())})
	if err != nil {
		t.Error(err) // not Fatal: tests create users concurrently
	}
	return u
}

// apply applies, and checks that the returned run equals the recorded one.
func (s *site) apply(t *testing.T, r apply.Request) (pbx.Run, error) {
	t.Helper()
	r.TriggeredBy = "test"
	run, err := s.engine.Apply(t.Context(), r)
	story, storyErr := s.engine.RunDetails(t.Context(), run.Log.ID)
	if diff := cmp.Diff(run, story, cmpopts.EquateEmpty()); diff != "" || storyErr != nil || (story.Log.Outcome == pbx.Success) != (err == nil) {
		t.Errorf("apply: %v; record: %v\n%s", err, storyErr, diff)
	}
	return run, err
}

func (s *site) mustApply(t *testing.T) pbx.Run {
	t.Helper()
	run, err := s.apply(t, apply.Request{})
	if err != nil || run.Verification != pbx.Confirmed {
		t.Fatalf("verification %s, error %v\nAsterisk's log:\n%s", run.Verification, err, s.asterisk.Log())
	}
	return run
}

func TestARealAsteriskRunsExactlyTheUsersOfTheDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	created := 0
	for _, count := range []int{0, 1, 3, 1000, 1000} {
		var all sync.WaitGroup
		for ; created < count; created++ { // concurrently: a group commit is much faster
			if created%100 == 99 { // more would wait too long for each other under the race detector
				all.Wait()
			}
			name := fmt.Sprintf("User %d", created)
			all.Go(func() { s.create(t, name) })
		}
		all.Wait()
		if report := s.mustApply(t); report.Users != count {
			t.Errorf("%d users applied, want %d", report.Users, count)
		}
		live, err := s.node.Live(t.Context(), pbx.WholeQuery())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range count {
			want = append(want, fmt.Sprint(1000+i))
		}
		for _, kind := range pbx.UserTypes() {
			if diff := cmp.Diff(want, live.IDs[kind], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%d users, %s:\n%s", count, kind, diff)
			}
		}
		if len(live.Steps) != 4*count {
			t.Errorf("%d users have %d dialplan steps, want four each", count, len(live.Steps))
		}
	}
	page, err := s.directory.List(t.Context(), pbx.DefaultTenant, directory.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range page.Users {
		if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	s.mustApply(t)
	if live, err := s.node.Live(t.Context(), pbx.WholeQuery()); err != nil || loadedBy(live) != 0 {
		t.Errorf("with all users deleted Asterisk runs %+v, error %v", live, err)
	}
	if strings.Contains(s.asterisk.Log(), "ERROR") {
		t.Errorf("Asterisk complained:\n%s", s.asterisk.Log())
	}
}

// Each row breaks Asterisk, applies, and repairs it. The apply must report the failure, and the next one must succeed.
func TestAFailureOfAsteriskIsReportedAndTheNextApplySucceeds(t *testing.T) {
	t.Parallel()
	rename := func(s *site, from, to string) error {
		return os.Rename(filepath.Join(s.asterisk.ConfigDir, from), filepath.Join(s.asterisk.ConfigDir, to))
	}
	// write changes one of the administrator's files, and keeps the original beside it.
	write := func(name, before string) func(*site) error {
		return func(s *site) error {
			path := filepath.Join(s.asterisk.ConfigDir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(path+".kept", text, 0o600), os.WriteFile(path, []byte(before+string(text)), 0o600))
		}
	}
	restore := func(name string) func(*site) error {
		return func(s *site) error { return rename(s, name+".kept", name) }
	}
	for name, tc := range map[string]struct {
		fail, fix func(*site) error
		code      string
		result    pbx.Result
		said      string
		inPlace   int // the revision in place afterwards; before, it is 2
		within    time.Duration
	}{
		"stopped": {
			func(s *site) error { return s.asterisk.Kill() },
			func(s *site) error { return s.asterisk.Restart(context.Background()) },
			pbx.CodeReloadFailed, pbx.FilesAhead, "the new files are in place", 3, time.Second,
		},
		"hung": {
			func(s *site) error { return s.asterisk.Suspend() },
			func(s *site) error { return s.asterisk.Resume() },
			pbx.CodeReloadFailed, pbx.FilesAhead, "the new files are in place", 3, 7 * time.Second,
		},
		"rejecting the file": {
			write("pjsip.conf", "[trunk]\ntype=endpoint\n[trunk]\ntype=endpoint\n"), restore("pjsip.conf"),
			pbx.CodeRolledBack, pbx.RolledBack, "revision 2 is in place and running again", 2, 2 * time.Second,
		},
		"with an administrator's file that is broken": {
			write("pjsip.conf", "[broken\n"), restore("pjsip.conf"),
			pbx.CodeRolledBack, pbx.RolledBack, "endpoint 1001 is missing", 2, 2 * time.Second,
		},
		"without a dialplan": {
			func(s *site) error { return rename(s, "extensions.conf", "extensions.conf.kept") }, restore("extensions.conf"),
			pbx.CodeRolledBack, pbx.RolledBack, "1001,1,Dial(PJSIP/1001,25) is missing", 2, 2 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.create(t, "Anna")
			s.mustApply(t)
			s.create(t, "Ben")
			if err := tc.fail(s); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			run, err := s.apply(t, apply.Request{})
			if took := time.Since(start); took > tc.within {
				t.Errorf("the answer took %s, want at most %s", took, tc.within)
			}
			if pbx.CodeOf(err) != tc.code || run.Result != tc.result || !strings.Contains(run.Log.ErrorDetails, tc.said) {
				t.Errorf("error %v\nwant code %s, result %s, saying %q; got %+v", err, tc.code, tc.result, tc.said, run.Log)
			}
			if site, err := s.node.Inspect(); err != nil || site.Current != tc.inPlace || site.LastVerified != 2 {
				t.Errorf("revision %d is in place, %d was seen to run, error %v; want %d and 2", site.Current, site.LastVerified, err, tc.inPlace)
			}
			if users, err := s.store.Users(t.Context(), pbx.DefaultTenant); err != nil || len(users) != 2 {
				t.Errorf("%d users in the database, error %v; want 2", len(users), err)
			}
			if err := tc.fix(s); err != nil {
				t.Fatal(err)
			}
			if run := s.mustApply(t); run.Users != 2 {
				t.Errorf("%d users applied, want 2", run.Users)
			}
		})
	}
}

// engineAt returns an engine for a folder without Asterisk, with target as its control.
func engineAt(t *testing.T, dir, target string) *apply.Engine {
	t.Helper()
	control, err := asterisk.NewControl(target)
	if err != nil {
		t.Fatal(err)
	}
	local, err := node.New(dir, control)
	if err != nil {
		t.Fatal(err)
	}
	return apply.New(apply.Config{Store: storetest.New(t), Target: local, Now: time.Now})
}

func TestAMissingAsteriskIsReported(t *testing.T) {
	t.Parallel()
	for _, target := range []string{filepath.Join(t.TempDir(), "none.ctl"), "exec:/nowhere/asterisk"} {
		run, err := engineAt(t, t.TempDir(), target).Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		if run.Result == pbx.Unchanged { // nothing was pending: the empty files were adopted
			t.Errorf("%s: unchanged", target)
		}
		if pbx.CodeOf(err) != pbx.CodeReloadFailed || run.Log.Reload.PJSIP.ExitCode == 0 || run.Log.Reload.Dialplan.ExitCode == 0 {
			t.Errorf("%s: error %v, record %+v", target, err, run.Log)
		}
	}
}

// A stub for asterisk that answers nothing, as in test environments: it is only known that the commands were sent and did not fail.
func TestACommandThatIsNotAsteriskConfirmsNothing(t *testing.T) {
	t.Parallel()
	run, err := engineAt(t, t.TempDir(), "exec:true").Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if pbx.CodeOf(err) != pbx.CodeNotConfirmed || run.Result != pbx.NotConfirmed || run.Log.Outcome != pbx.Failure || run.Verification != pbx.Inconclusive || len(run.Differences) == 0 {
		t.Errorf("result %s, verification %s %v, error %v", run.Result, run.Verification, run.Differences, err)
	}
}

// everything returns the query for all objects of users, by name and content.
func everything(want pbx.Live) pbx.LiveQuery {
	q := pbx.WholeQuery()
	q.Contents = slices.Sorted(maps.Keys(want.Hashes))
	return q
}

// loadedBy returns the number of objects and steps that Asterisk has loaded.
func loadedBy(live pbx.Live) int {
	n := len(live.Steps)
	for _, ids := range live.IDs {
		n += len(ids)
	}
	return n
}

// honest starts a simulated Asterisk that reads the generated files of a folder at a reload, and returns their content in answers.
func honest(t *testing.T, dir string) *asterisktest.Server {
	t.Helper()
	return asterisktest.New(t, asterisktest.Reading(func() asterisktest.Objects { return loaded(dir) }))
}

// loaded returns the objects in the generated files of a folder.
func loaded(dir string) asterisktest.Objects {
	var files []pbx.File
	for _, path := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return asterisktest.Objects{}
		}
		files = append(files, pbx.File{Path: path, Content: text})
	}
	inventory, err := render.Read(files)
	if err != nil {
		return asterisktest.Objects{}
	}
	live := inventory.Live()
	o := asterisktest.Objects{IDs: live.IDs, Context: pbx.Context, Hashes: live.Hashes}
	for _, s := range live.Steps {
		o.Steps = append(o.Steps, asterisk.Extension{Exten: s.Exten, Priority: s.Priority, App: s.App, AppData: s.Args})
	}
	return o
}

// The files of the Python portal are adopted as a revision of their own, whose users are counted.
func TestAnAdoptedRevisionCountsItsUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, text := range map[string]string{
		pbx.PJSIPPath: "[1000]\ntype=endpoint\ncontext=synergy-internal\ndisallow=all\nallow=ulaw,alaw\nauth=1000\naors=1000\n\n" +
			"[1000]\ntype=auth\nauth_type=userpass\nusername=1000\npassword=x\n\n[1000]\ntype=aor\nmax_contacts=1\n",
		pbx.DialplanPath: "[synergy-internal]\nexten => 1000,1,Dial(PJSIP/1000,25)\n same => n,Hangup()\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700), os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	engine := engineAt(t, dir, honest(t, dir).Socket)
	if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err != nil {
		t.Fatal(err)
	}
	runs, err := engine.Revisions(t.Context(), 0, 10)
	if err != nil || len(runs) != 2 || runs[1].Users != 1 || runs[0].Users != 0 {
		t.Errorf("revisions %+v, error %v; want two, of one user and of none", runs, err)
	}
}

func TestAMissingConfigurationFolderIsNotCreated(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mistyped")
	control, err := asterisk.NewControl(filepath.Join(t.TempDir(), "none.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	local, err := node.New(dir, control)
	if err != nil {
		t.Fatal(err)
	}
	engine := apply.New(apply.Config{Store: storetest.New(t), Target: local, Now: time.Now})
	run, applyErr := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if log, err := engine.Log(t.Context(), run.Log.ID); err != nil || !strings.Contains(log.ErrorDetails, dir+" does not exist") {
		t.Errorf("on record is %+v, error %v", log, err)
	}
	_, forceErr := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Force: true})
	_, planErr := engine.Plan(t.Context())
	_, installErr := engine.Install(t.Context())
	for what, err := range map[string]error{"apply": applyErr, "apply with force": forceErr, "plan": planErr, "install": installErr} {
		if err == nil || !strings.Contains(err.Error(), dir+" does not exist") || !strings.Contains(err.Error(), "set ASTERISK_CONFIG_DIR") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

func TestAsteriskIsNotReloadedIfTheFilesCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create(t, "Anna")
	s.mustApply(t)
	before, err := s.node.Live(t.Context(), pbx.WholeQuery())
	if err != nil {
		t.Fatal(err)
	}
	// A file in the place of the folder for revisions: nothing can be staged, even by root.
	gen := filepath.Join(s.asterisk.ConfigDir, "pjsip.d/synergycall/.portal/gen")
	if err := errors.Join(os.Rename(gen, gen+".away"), os.WriteFile(gen, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s.create(t, "Ben")
	run, err := s.apply(t, apply.Request{})
	if pbx.KindOf(err) != pbx.KindApply || run.Result != pbx.Refused || run.Log.Reload.PJSIP != nil {
		t.Errorf("error %v, record %+v", err, run.Log)
	}
	if err := errors.Join(os.Remove(gen), os.Rename(gen+".away", gen)); err != nil {
		t.Fatal(err)
	}
	if live, err := s.node.Live(t.Context(), pbx.WholeQuery()); err != nil || !cmp.Equal(before, live) {
		t.Errorf("Asterisk runs something else: %v, error %v", live, err)
	}
	s.mustApply(t)
}

// maliciousName returns a text that would be more than a name in a file or in the dialplan of Asterisk.
func maliciousName(rng *rand.Rand) string {
	spice := []string{
		"\n[evil]\ntype=endpoint\n", "\r\n", ";--", "--;", ";", `\;`, `\`, `"`, `'`, "<1999>", ">", "#include x", "#exec x", "[1000]", "(!)", "]", "=", "=>",
		"+=", "${SHELL}", "$[1+1]", "`id`", "$(id)", ",", "&", "|", "\x00", "\x7f", "\x1b[2J", "\xff\xfe", "é", "王", "🙂", "\u202e", "\u2028", " ", "\t",
		strings.Repeat("x", 300), "anonymous", "%s%n", "..", "/etc/passwd", "callerid=", "auth=", "type=auth",
	}
	var name strings.Builder
	for range 1 + rng.IntN(6) {
		name.WriteString(spice[rng.IntN(len(spice))])
		name.WriteRune(rune(rng.IntN(0x2fff)))
	}
	return name.String()
}

// Whatever the names of users are, a real Asterisk loads exactly one endpoint, auth and AOR for each, and no endpoint without its auth.
func TestRow35MaliciousNamesDoNotChangeWhatARealAsteriskLoads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const rounds = 5 // of 1,000 names
	rng := rand.New(rand.NewPCG(22, 10))
	for round := range rounds {
		users := make([]pbx.User, 0, pbx.PoolSize)
		for n := pbx.FirstNumber; n <= pbx.LastNumber; n++ {
			name := maliciousName(rng)
			users = append(users, pbx.User{Name: name, Email: name, Extension: pbx.Extension{Number: n, Secret: pbx.NewSecret()}})
		}
		files, inventory, err := render.Config(users)
		if err != nil {
			t.Fatal(err)
		}
		want := inventory.Live()
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(s.asterisk.ConfigDir, f.Path), f.Content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		reload, err := s.node.Reload(t.Context(), pbx.AllModules())
		if err != nil || !reload.Understood {
			t.Fatal(err)
		}
		live, err := s.node.Live(t.Context(), everything(want))
		for tries := 0; err != nil && tries < 5; tries++ { // Asterisk drops a part of its answer when nothing reads it for 100 ms, as on a busy machine
			live, err = s.node.Live(t.Context(), everything(want))
		}
		if err != nil {
			t.Fatal(err)
		}
		byExten := cmpopts.SortSlices(func(a, b pbx.Step) int {
			return order.Or(order.Compare(a.Exten, b.Exten), order.Compare(a.Priority, b.Priority))
		})
		if diff := cmp.Diff(want, live, byExten); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
		reply, err := s.asterisk.Control().Run(t.Context(), "pjsip show endpoints")
		if err != nil {
			t.Fatal(err)
		}
		withAuth := map[string]bool{}
		for _, found := range regexp.MustCompile(`InAuth:\s+(\d+)/(\d+)\s`).FindAllStringSubmatch(reply.Stdout, -1) {
			withAuth[found[1]] = found[1] == found[2]
		}
		for _, u := range users {
			if !withAuth[fmt.Sprint(u.Extension.Number)] {
				t.Fatalf("round %d: endpoint %d, named %q, has no auth", round, u.Extension.Number, u.Name)
			}
		}
	}
	if log := s.asterisk.Log(); strings.Contains(log, "ERROR") || strings.Contains(log, "WARNING") {
		t.Errorf("Asterisk complained:\n%.2000s", log)
	}
	t.Logf("%d malicious names, 0 objects missing, added or without auth", rounds*pbx.PoolSize)
}

// registered returns a phone that has registered as the user.
func (s *site) registered(t *testing.T, u pbx.User) *phone.Phone {
	t.Helper()
	p, err := phone.New(phone.Config{Server: s.asterisk.SIPAddr, Number: fmt.Sprint(u.Extension.Number), Secret: u.Extension.Secret.Reveal(), Name: "spoofed"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if err := p.Register(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAReusedNumberRingsAtItsNewOwnersPhone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	former, caller := s.create(t, "Former"), s.create(t, `Zoë O'Brien, "R&D" (Ops); x`)
	s.mustApply(t)
	formerPhone, callersPhone := s.registered(t, former), s.registered(t, caller)
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, former.ID); err != nil {
		t.Fatal(err)
	}
	owner := s.create(t, "New owner")
	if owner.Extension.Number != former.Extension.Number {
		t.Fatalf("the new owner has %d, want the freed %d", owner.Extension.Number, former.Extension.Number)
	}
	s.mustApply(t)
	ownersPhone := s.registered(t, owner) // with max_contacts=1 alone this would be refused with 403
	out, err := callersPhone.Dial(t.Context(), fmt.Sprint(owner.Extension.Number))
	if err != nil {
		t.Fatal(err)
	}
	in, err := ownersPhone.Incoming(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if from := in.From(); from.Name != "Zoë O'Brien, R&D (Ops) x" || from.Number != "1001" {
		t.Errorf("the phone shows %s; want the name of the database, not the phone's own", from)
	}
	if err := out.Hangup(t.Context()); err != nil {
		t.Error(err)
	}
	if err := formerPhone.Register(t.Context(), time.Minute); err == nil {
		t.Error("the former owner's phone registered with the old secret")
	}
}

func TestTheRegistrationOfAFormerOwnerIsDeletedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	former, other := s.create(t, "Former"), s.create(t, "Other")
	s.mustApply(t)
	formerPhone, otherPhone := s.registered(t, former), s.registered(t, other)
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, former.ID); err != nil {
		t.Fatal(err)
	}
	s.create(t, "New owner") // of the same number
	run := s.mustApply(t)
	if !slices.ContainsFunc(run.Events, func(e pbx.Event) bool { return e.Stage == "forget" && strings.Contains(e.Message, "[1000]") }) {
		t.Errorf("the record does not say that the phone was forgotten: %+v", run.Events)
	}
	contacts, err := s.asterisk.Control().Contacts(t.Context())
	if err != nil || len(contacts) != 1 || contacts[0].AOR != "1001" {
		t.Errorf("registered are %v, error %v; want the phone of 1001 alone", contacts, err)
	}
	if _, err := otherPhone.Call(t.Context(), "1000"); err == nil {
		t.Error("a call to the number rang at the former owner's phone")
	}
	_ = formerPhone
}

// handEdit is an external change of the files.
type handEdit struct {
	edit  func(*site) error
	kind  pbx.DriftKind
	saved string // what a forced apply saves; "": nothing
}

func (s *site) path(name string) string { return filepath.Join(s.asterisk.ConfigDir, name) }

func TestRow24AFileEditedByHandIsShownAndOverwrittenOnlyWithForce(t *testing.T) {
	t.Parallel()
	neverOverwritten(t, map[string]handEdit{
		"through its link": {
			func(s *site) error { return os.WriteFile(s.path(pbx.PJSIPPath), []byte("; by hand\n"), 0o600) }, pbx.Edited, "; by hand\n",
		},
		"through the other link": {
			func(s *site) error { return os.WriteFile(s.path(pbx.DialplanPath), nil, 0o600) }, pbx.Edited, "",
		},
	})
}

func TestRow25AReplacedLinkIsShownAndOverwrittenOnlyWithForce(t *testing.T) {
	t.Parallel()
	neverOverwritten(t, map[string]handEdit{
		"by a file": {
			func(s *site) error {
				return errors.Join(os.WriteFile(s.path(pbx.DialplanPath+".new"), []byte("; moved here\n"), 0o600), os.Rename(s.path(pbx.DialplanPath+".new"), s.path(pbx.DialplanPath)))
			}, pbx.Replaced, "; moved here\n",
		},
		"by nothing": {func(s *site) error { return os.Remove(s.path(pbx.DialplanPath)) }, pbx.Missing, ""},
	})
}

// neverOverwritten makes each edit on a host of its own: it is shown, blocks an apply, and is saved before force replaces it.
func neverOverwritten(t *testing.T, edits map[string]handEdit) {
	t.Helper()
	for name, tc := range edits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.create(t, "Anna")
			s.mustApply(t)
			if err := tc.edit(s); err != nil {
				t.Fatal(err)
			}
			plan, err := s.engine.Plan(t.Context())
			if err != nil || len(plan.Drift) != 1 || plan.Drift[0].Kind != tc.kind {
				t.Errorf("the plan shows drift %v, error %v; want %s", plan.Drift, err, tc.kind)
			}
			if run, err := s.apply(t, apply.Request{}); pbx.CodeOf(err) != pbx.CodeDrift || pbx.KindOf(err) != pbx.KindConflict || run.Result != pbx.Refused {
				t.Errorf("applied over a hand edit: %v", err)
			}
			if again, err := s.engine.Plan(t.Context()); err != nil || len(again.Drift) != 1 {
				t.Errorf("the refused apply changed something: %v, error %v", again.Drift, err)
			}
			run, err := s.apply(t, apply.Request{Force: true})
			if err != nil || run.Verification != pbx.Confirmed {
				t.Fatalf("with force: verification %s, error %v", run.Verification, err)
			}
			if tc.saved != "" && (len(run.Saved) != 1 || string(run.Saved[0].Content) != tc.saved) {
				t.Errorf("saved was %q; want %q", run.Saved, tc.saved)
			}
			if plan, err := s.engine.Plan(t.Context()); err != nil || len(plan.Drift) > 0 || plan.Pending || plan.Behind != "" {
				t.Errorf("afterwards the plan is %+v, error %v", plan, err)
			}
		})
	}
}

// The files are real, the time is simulated.
func TestExternalChangesOfTheFilesAreDetectedByReadOnlyCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	engine := engineAt(t, dir, honest(t, dir).Socket)
	if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err != nil {
		t.Fatal(err)
	}
	endpoints, dialplan, backup := filepath.Join(dir, pbx.PJSIPPath), filepath.Join(dir, pbx.DialplanPath), filepath.Join(dir, pbx.PJSIPPath+".conf")
	original, err := os.ReadFile(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(dialplan)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var mu sync.Mutex // guards said
		said, ended := "", make(chan error, 1)
		go func() {
			ended <- engine.Run(ctx, func(message string, err error) {
				mu.Lock()
				defer mu.Unlock()
				said += fmt.Sprintln(message, err)
			})
		}()
		for _, step := range []struct {
			what string
			do   func() error
			want string // the one report, "" for none
		}{
			{"nothing", func() error { return nil }, ""},
			{"a hand edit", func() error { return os.WriteFile(endpoints, []byte("; by hand"), 0o600) }, endpoints + " was edited by hand"},
			{"a foreign file", func() error { return os.WriteFile(backup, nil, 0o600) }, backup + " is not the portal's"},
			{"another edit", func() error { return os.WriteFile(endpoints, []byte("; by another hand"), 0o600) }, ""},
			{"the edit undone", func() error { return os.WriteFile(endpoints, original, 0o600) }, "no longer present: " + endpoints + " was edited"},
			{"the foreign file gone", func() error { return os.Remove(backup) }, "no longer present: " + backup},
			{"a link replaced", func() error { return errors.Join(os.Remove(dialplan), os.WriteFile(dialplan, nil, 0o600)) }, dialplan + " was replaced by a file"},
			{"the link as it was", func() error { return errors.Join(os.Remove(dialplan), os.Symlink(link, dialplan)) }, "no longer present: " + dialplan},
			{"a link removed", func() error { return os.Remove(dialplan) }, dialplan + " is missing"},
		} {
			mu.Lock()
			said = ""
			mu.Unlock()
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			<-time.After(11 * time.Second)
			synctest.Wait()
			if strings.Count(said, "\n") > 1 || (said == "") != (step.want == "") || !strings.Contains(said, step.want) {
				t.Errorf("%s: it reports %q, want %q", step.what, said, step.want)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Lstat(dialplan); !errors.Is(err, os.ErrNotExist) {
		t.Error("it changed the files")
	}
}

func TestRow34WithoutUsersBothFilesExistAndAsteriskRunsNoObjects(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if run := s.mustApply(t); run.Users != 0 {
		t.Errorf("%d users applied", run.Users)
	}
	s.create(t, "Anna")
	s.mustApply(t)
	users, err := s.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil || len(users) != 1 {
		t.Fatal(users, err)
	}
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, users[0].ID); err != nil {
		t.Fatal(err)
	}
	if run := s.mustApply(t); run.Users != 0 || run.Result != pbx.Applied {
		t.Errorf("without the last user: %d users, %s", run.Users, run.Result)
	}
	want, _, err := render.Config(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range want {
		if text, err := os.ReadFile(s.path(f.Path)); err != nil || string(text) != string(f.Content) {
			t.Errorf("%s holds %q, %v; want %q", f.Path, text, err, f.Content)
		}
	}
	if live, err := s.node.Live(t.Context(), pbx.WholeQuery()); err != nil || loadedBy(live) > 0 {
		t.Errorf("Asterisk runs %+v, %v", live, err)
	}
}

func TestRow26AnApplyBesideAForeignFileIsRefusedEvenWithForce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create(t, "Anna")
	s.mustApply(t)
	foreign := filepath.Join(s.asterisk.ConfigDir, "pjsip.d/synergycall/backup.conf")
	if err := os.WriteFile(foreign, []byte("[1000]\ntype=endpoint\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		if _, err := s.apply(t, apply.Request{Force: force}); pbx.CodeOf(err) != pbx.CodeDrift || !strings.Contains(err.Error(), foreign) {
			t.Errorf("force %v: error %v; want one that names %s", force, err, foreign)
		}
	}
	if text, err := os.ReadFile(foreign); err != nil || len(text) == 0 {
		t.Errorf("the foreign file was touched: %v", err)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if run, err := s.apply(t, apply.Request{}); err != nil || run.Result != pbx.Unchanged {
		t.Errorf("with the file gone: result %s, error %v", run.Result, err)
	}
}

func TestAnEarlierRevisionIsRestoredAndTheDatabaseIsNotChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create(t, "Anna")
	first := s.mustApply(t)
	ben := s.create(t, "Ben")
	s.mustApply(t)
	s.registered(t, ben)
	previous, err := s.engine.Previous(t.Context())
	if err != nil || previous != first.Revision {
		t.Errorf("the previous revision is %d, error %v; want %d", previous, err, first.Revision)
	}
	run, err := s.apply(t, apply.Request{Restore: previous})
	if err != nil || run.Verification != pbx.Confirmed || run.Users != 1 || run.Restored != previous {
		t.Fatalf("restored %+v, error %v", run, err)
	}
	live, err := s.node.Live(t.Context(), pbx.WholeQuery())
	if err != nil || !cmp.Equal(live.IDs["endpoint"], []string{"1000"}) {
		t.Errorf("Asterisk runs %v, error %v", live.IDs, err)
	}
	plan, err := s.engine.Plan(t.Context())
	if err != nil || !plan.Pending || len(plan.Changes) != 1 || plan.Changes[0].Kind != pbx.Added || plan.Changes[0].Number != 1001 {
		t.Errorf("the plan is %+v, error %v; want Ben to be added", plan, err)
	}
}

// A secret that Asterisk did not load is detected: objects are compared by content, not only by name.
func TestRow22AnObjectThatAsteriskDidNotReloadIsContradicted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	anna := s.create(t, "Anna")
	s.mustApply(t)
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, anna.ID); err != nil {
		t.Fatal(err)
	}
	s.create(t, "Anna again") // the same number, another secret
	path := filepath.Join(s.asterisk.ConfigDir, "pjsip.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("[broken\n"), text...), 0o600); err != nil { // Asterisk keeps what it has loaded
		t.Fatal(err)
	}
	if run, err := s.apply(t, apply.Request{}); pbx.CodeOf(err) != pbx.CodeRolledBack || !strings.Contains(fmt.Sprint(run.Differences), "auth 1000 is loaded with another content") {
		t.Errorf("error %v, differences %v", err, run.Differences)
	}
}

func TestRow21AReloadWaitsForAnAsteriskThatIsStarting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create(t, "Anna")
	s.mustApply(t)
	s.create(t, "Ben")
	restarted := make(chan error, 1)
	if err := s.asterisk.Kill(); err != nil {
		t.Fatal(err)
	}
	go func() { restarted <- s.asterisk.Restart(context.Background()) }()
	for { // until its socket is there, which is long before it has started
		if _, err := os.Stat(s.asterisk.ControlSocket); err == nil {
			if run, err := s.apply(t, apply.Request{}); err == nil {
				if run.Verification != pbx.Confirmed {
					t.Errorf("verification %s", run.Verification)
				}
				break
			}
		}
		if t.Context().Err() != nil {
			t.Fatal("no apply came through")
		}
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
}
