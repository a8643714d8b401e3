package node_test

import (
	order "cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
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
	db := storetest.Open(t, storetest.SQLite(t))
	local := node.New(a.ConfigDir, a.Control())
	return &site{a, local, db, directory.New(db, time.Now), apply.New(db, local, time.Now)}
}

func (s *site) create(t *testing.T, name string) pbx.User {
	t.Helper()
	u, err := s.directory.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: name, Email: fmt.Sprintf("%x@example.com", rand.Uint64())})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// apply applies, and checks that the answer and the audit record tell the same story.
func (s *site) apply(t *testing.T) (apply.Report, error) {
	t.Helper()
	report, err := s.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	log, logErr := s.engine.Log(t.Context(), report.Log.ID)
	if diff := cmp.Diff(report.Log, log); diff != "" || logErr != nil || (log.Outcome == pbx.Success) != (err == nil) {
		t.Errorf("apply: %v; audit record: %v\n%s", err, logErr, diff)
	}
	return report, err
}

func (s *site) mustApply(t *testing.T) apply.Report {
	t.Helper()
	report, err := s.apply(t)
	if err != nil || report.Verification != pbx.Confirmed {
		t.Fatalf("verification %s, error %v\nAsterisk's log:\n%s", report.Verification, err, s.asterisk.Log())
	}
	return report
}

func TestARealAsteriskRunsExactlyTheUsersOfTheDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	created := 0
	for _, count := range []int{0, 1, 3, 1000, 1000} {
		for ; created < count; created++ {
			s.create(t, fmt.Sprintf("User %d", created))
		}
		if report := s.mustApply(t); report.Users != count {
			t.Errorf("%d users applied, want %d", report.Users, count)
		}
		live, err := s.node.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range count {
			want = append(want, fmt.Sprint(1000+i))
		}
		for kind, got := range map[string][]string{"endpoints": live.Endpoints, "auths": live.Auths, "AORs": live.AORs} {
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%d users, %s:\n%s", count, kind, diff)
			}
		}
		if len(live.Steps) != 2*count {
			t.Errorf("%d users have %d dialplan steps, want two each", count, len(live.Steps))
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
	if live, err := s.node.Live(t.Context()); err != nil || len(live.Endpoints)+len(live.Auths)+len(live.AORs)+len(live.Steps) != 0 {
		t.Errorf("with all users deleted Asterisk runs %+v, error %v", live, err)
	}
	if strings.Contains(s.asterisk.Log(), "ERROR") {
		t.Errorf("Asterisk complained:\n%s", s.asterisk.Log())
	}
}

// Each row breaks Asterisk, applies, and mends it. The apply must say what happened, and the next one must succeed.
func TestAnAsteriskThatFailsIsSaidSoAndTheNextApplySucceeds(t *testing.T) {
	t.Parallel()
	const duplicate = "pjsip.d/synergycall/copy.conf"
	for name, tc := range map[string]struct {
		fail, mend func(*site) error
		code, said string
		within     time.Duration
	}{
		"stopped": {
			func(s *site) error { return s.asterisk.Kill() },
			func(s *site) error { return s.asterisk.Restart(context.Background()) },
			pbx.CodeReloadFailed, "the new files are in place", time.Second,
		},
		"hung": {
			func(s *site) error { return s.asterisk.Suspend() },
			func(s *site) error { return s.asterisk.Resume() },
			pbx.CodeReloadFailed, "the new files are in place", 7 * time.Second,
		},
		"rejecting the file": {
			func(s *site) error {
				return os.WriteFile(filepath.Join(s.asterisk.ConfigDir, duplicate), []byte("[1000]\ntype=endpoint\n"), 0o600)
			},
			func(s *site) error { return os.Remove(filepath.Join(s.asterisk.ConfigDir, duplicate)) },
			pbx.CodeContradicted, "endpoint 1001 is missing", time.Second,
		},
		"stopped reading at a broken file before ours": {
			func(s *site) error {
				return os.WriteFile(filepath.Join(s.asterisk.ConfigDir, "pjsip.d/synergycall/000-placeholder.conf"), []byte("[broken\n"), 0o600)
			},
			func(s *site) error {
				return os.WriteFile(filepath.Join(s.asterisk.ConfigDir, "pjsip.d/synergycall/000-placeholder.conf"), []byte("; whole\n"), 0o600)
			},
			pbx.CodeContradicted, "endpoint 1001 is missing", time.Second,
		},
		"without the dialplan file in its includes": {
			func(s *site) error {
				return os.Rename(filepath.Join(s.asterisk.ConfigDir, "extensions.conf"), filepath.Join(s.asterisk.ConfigDir, "away.conf"))
			},
			func(s *site) error {
				return os.Rename(filepath.Join(s.asterisk.ConfigDir, "away.conf"), filepath.Join(s.asterisk.ConfigDir, "extensions.conf"))
			},
			pbx.CodeContradicted, "1001,1,Dial(PJSIP/1001,25) is missing", time.Second,
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
			report, err := s.apply(t)
			if took := time.Since(start); took > tc.within {
				t.Errorf("the answer took %s, want at most %s", took, tc.within)
			}
			if pbx.CodeOf(err) != tc.code || !strings.Contains(report.Log.ErrorDetails, tc.said) || len(report.Log.FilesWritten) != 2 {
				t.Errorf("error %v\nwant code %s, saying %q; record %+v", err, tc.code, tc.said, report.Log)
			}
			if users, err := s.store.Users(t.Context(), pbx.DefaultTenant); err != nil || len(users) != 2 {
				t.Errorf("%d users in the database, error %v; want 2", len(users), err)
			}
			if err := tc.mend(s); err != nil {
				t.Fatal(err)
			}
			if report := s.mustApply(t); report.Users != 2 {
				t.Errorf("%d users applied, want 2", report.Users)
			}
		})
	}
}

func TestAnAsteriskThatIsNotThereIsSaidSo(t *testing.T) {
	t.Parallel()
	for _, target := range []string{filepath.Join(t.TempDir(), "none.ctl"), "exec:/nowhere/asterisk"} {
		control, err := asterisk.NewControl(target)
		if err != nil {
			t.Fatal(err)
		}
		db := storetest.Open(t, storetest.SQLite(t))
		engine := apply.New(db, node.New(t.TempDir(), control), time.Now)
		report, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		if pbx.CodeOf(err) != pbx.CodeReloadFailed || report.Log.Reload.PJSIP.ExitCode == 0 || report.Log.Reload.Dialplan != nil {
			t.Errorf("%s: error %v, record %+v", target, err, report.Log)
		}
	}
}

// A stand-in for asterisk that answers anything with nothing, as test environments have it: the commands were sent and did not
// fail, and more cannot be said.
func TestACommandThatIsNoAsteriskIsInconclusive(t *testing.T) {
	t.Parallel()
	control, err := asterisk.NewControl("exec:true")
	if err != nil {
		t.Fatal(err)
	}
	engine := apply.New(storetest.Open(t, storetest.SQLite(t)), node.New(t.TempDir(), control), time.Now)
	report, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if err != nil || report.Verification != pbx.Inconclusive || len(report.Differences) == 0 {
		t.Errorf("verification %s %v, error %v", report.Verification, report.Differences, err)
	}
}

func TestWhenTheFilesCannotBeWrittenAsteriskIsNotReloaded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create(t, "Anna")
	s.mustApply(t)
	before, err := s.node.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A folder in the place of the second file: it cannot be replaced, whoever the test runs as.
	path := filepath.Join(s.asterisk.ConfigDir, pbx.DialplanPath)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	s.create(t, "Ben")
	pjsip, _ := os.ReadFile(filepath.Join(s.asterisk.ConfigDir, pbx.PJSIPPath))
	report, err := s.apply(t)
	if pbx.CodeOf(err) != pbx.CodeWriteFailed || !strings.Contains(report.Log.ErrorDetails, path) || report.Log.Reload.PJSIP != nil {
		t.Errorf("error %v, record %+v", err, report.Log)
	}
	if after, _ := os.ReadFile(filepath.Join(s.asterisk.ConfigDir, pbx.PJSIPPath)); string(after) != string(pjsip) {
		t.Error("the first file was replaced although the second could not be")
	}
	if live, err := s.node.Live(t.Context()); err != nil || !cmp.Equal(before, live) {
		t.Errorf("Asterisk runs something else: %v, error %v", live, err)
	}
}

// Whatever people are called, a real Asterisk loads exactly one endpoint, auth and AOR each, and no endpoint without its auth.
func TestHostileNamesDoNotChangeWhatARealAsteriskLoads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const rounds = 5 // of 1,000 names
	spice := []string{
		"\n[evil]\ntype=endpoint\n", "\r\n", ";--", "--;", ";", `\;`, `\`, `"`, `'`, "<1999>", ">", "#include x", "#exec x", "[1000]", "(!)", "]", "=", "=>",
		"+=", "${SHELL}", "$[1+1]", "`id`", "$(id)", ",", "&", "|", "\x00", "\x7f", "\x1b[2J", "\xff\xfe", "é", "王", "🙂", "\u202e", "\u2028", " ", "\t",
		strings.Repeat("x", 300), "anonymous", "%s%n", "..", "/etc/passwd", "callerid=", "auth=", "type=auth",
	}
	rng := rand.New(rand.NewPCG(22, 10))
	for round := range rounds {
		users := make([]pbx.User, 0, pbx.PoolSize)
		for n := pbx.FirstNumber; n <= pbx.LastNumber; n++ {
			var name strings.Builder
			for range 1 + rng.IntN(6) {
				name.WriteString(spice[rng.IntN(len(spice))])
				name.WriteRune(rune(rng.IntN(0x2fff)))
			}
			users = append(users, pbx.User{Name: name.String(), Email: name.String(), Extension: pbx.Extension{Number: n, Secret: pbx.NewSecret()}})
		}
		files, want, err := render.Config(users)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.node.Write(t.Context(), files); err != nil {
			t.Fatal(err)
		}
		if _, understood, err := s.node.Reload(t.Context()); err != nil || !understood {
			t.Fatal(err)
		}
		live, err := s.node.Live(t.Context())
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
	t.Logf("%d hostile names, 0 objects missing, added or without auth", rounds*pbx.PoolSize)
}

// registered gives a phone that has registered as the user.
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
