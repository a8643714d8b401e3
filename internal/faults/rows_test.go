//go:build linux

package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// The tests below are named after the rows of the table of faults in docs/promises.md.

// terminate ends all connections to a database, as pg_terminate_backend does.
func terminate(t *testing.T, server *lab.Postgres, database string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) < 2 || fields[1] != strconv.Itoa(server.PID()) {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), " "+database+" ") && unix.Kill(pid, unix.SIGTERM) == nil {
			ended++
		}
	}
	if ended == 0 {
		t.Error("there was no connection to end")
	}
}

func TestRow03APortalThatLostItsLockToAnotherHostChangesNothing(t *testing.T) {
	t.Parallel()
	server, url := labtest.PostgresServer(t)
	a := newSite(t, labtest.Asterisk(t), url, 3)
	b := lookAt(t, labtest.Asterisk(t), url)
	a.replace(t)
	old := a.mustPair(t)
	engine := a.hook(nil, hooks{"stage": func() {
		if code, _, said := b.run(t, "apply", "--force"); code != 4 {
			t.Errorf("while the first holds the lock, the second host's apply gave exit code %d, %s", code, said)
		}
		terminate(t, server, "portal")
		eventually(t, "the second host may apply", func() bool {
			code, _, _ := b.run(t, "apply", "--force")
			return code == 0
		})
		for well := 0; well < 20; well++ { // both have new connections, and the first could continue
			if a.store.Ping(t.Context()) != nil || b.store.Ping(t.Context()) != nil {
				well = 0
			}
		}
	}})
	run, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if pbx.CodeOf(err) != pbx.CodeApplyRunning || !strings.Contains(run.Log.ErrorDetails, "lost its lock in the database") || run.Result != pbx.Refused || a.mustPair(t) != old {
		t.Errorf("%s, %v", run.Result, err)
	}
	if litter := a.litter(t); len(litter) > 0 {
		t.Errorf("left over: %v", litter)
	}
	_, want := b.meant(t)
	if diff := b.runs(t.Context(), want); diff != "" {
		t.Errorf("the second host's Asterisk runs a different configuration:\n%s", diff)
	}
}

func TestRow06AfterACrashBeforeTheResponseTheSameKeyReturnsTheRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 3)
	s.replace(t)
	known := len(s.logs(t))
	token := strings.TrimSpace(s.must(t, "token", "create", "anna", "--role", "applier"))
	post := func(log string) (*http.Response, error) {
		var url string
		ready := within(t.Context(), 20*time.Second, func() bool {
			text, err := os.ReadFile(log)
			if found := regexp.MustCompile(`msg=serving url=(\S+)`).FindSubmatch(text); err == nil && found != nil {
				url = string(found[1])
			}
			return url != ""
		})
		if !ready {
			return nil, errors.New("the server does not serve")
		}
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/apply", strings.NewReader(`{"triggered_by":"anna"}`))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "one")
		req.Header.Set("Authorization", "Bearer "+token)
		return http.DefaultClient.Do(req)
	}
	v := s.startTraced(t, []string{"serve"}, func(_ int, c call) bool { return c != call{"write", "client"} })
	answered := make(chan bool, 1)
	go func() {
		resp, err := post(v.out)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err == nil
	}()
	code, out, refused := v.wait(t)
	switch {
	case refused: // then once the record is complete, which can be slightly late
		p, log := s.start(t, "serve")
		go func() { _, _ = post(log) }() //nolint:bodyclose // the response is not needed
		eventually(t, "the apply is on record", func() bool {
			logs := s.logs(t)
			return len(logs) > known && logs[0].Outcome == pbx.Success
		})
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	case code != -1 || <-answered:
		t.Fatalf("the server was not killed before its reply: %d %s", code, out)
	}
	_, log := s.start(t, "serve")
	resp, err := post(log)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var again struct {
		ID string `json:"audit_log_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&again); err != nil {
		t.Fatal(err)
	}
	logs := s.logs(t)
	if resp.StatusCode != 200 || len(logs) != known+1 || again.ID != string(logs[0].ID) || logs[0].Outcome != pbx.Success {
		t.Errorf("status %d, run %s; %d new records, the last %+v", resp.StatusCode, again.ID, len(logs)-known, logs[0])
	}
}

// mount mounts a file system with the given KiB over a folder; false if that is not permitted.
func mount(t *testing.T, dir string, size int) bool {
	t.Helper()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk,mode=0755", size))
	if errors.Is(err, unix.EPERM) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return true
}

// fill leaves the given KiB free on the disk of a folder.
func fill(t *testing.T, dir string, free int) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, ".ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	size, block := int64(0), make([]byte, 4096)
	for err == nil {
		var n int
		n, err = f.Write(block)
		size += int64(n)
	}
	if err := errors.Join(f.Truncate(max(0, size-int64(free)<<10)), f.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// scarce replaces a user and applies with increasing space, from none to enough, and examines the result each time. limit provides
// the given KiB, and returns the shell prefix of the command.
func (s *site) scarce(t *testing.T, most, step int, limit func(t *testing.T, n int) (shell string, undo func())) {
	t.Helper()
	ends, violations := map[string]int{}, 0
	step *= labtest.Soak(6, 1)
	if testing.Short() {
		step *= 4
	}
	for n := 0; n <= most; n += step {
		before := s.mustPair(t)
		s.replace(t)
		after, _ := s.meant(t)
		known := len(s.logs(t))
		s.shut()
		shell, undo := limit(t, n)
		code, out := s.shell(t, shell)
		undo()
		s.open(t)
		ends[fmt.Sprintf("exit code %d:", code)]++
		if code == 0 {
			if _, want := s.meant(t); s.runs(t.Context(), want) != "" {
				t.Errorf("with %d: it reports success:\n%s", n, out)
			}
		}
		for _, fault := range s.examine(t, before, after, known) {
			violations++
			t.Errorf("with %d (exit code %d): %s\n%s", n, code, fault, out)
		}
	}
	t.Logf("%d violations; %s", violations, tally(ends))
	if ends["exit code 0:"] == 0 || len(ends) < 2 {
		t.Error("the limits were not such that some applies succeed and some do not")
	}
}

// shell applies in a process that a shell command prepares.
func (s *site) shell(t *testing.T, line string) (code int, output string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	result, err := proc.Run(t.Context(), proc.Command{Argv: []string{"/bin/sh", "-c", line + ` exec "$0" apply`, self}, Env: s.environ(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return result.ExitCode, result.Stdout + result.Stderr
}

// ulimit limits the file size of a process, if mounting a small disk is not permitted.
func ulimit(_ *testing.T, n int) (string, func()) { return fmt.Sprintf("ulimit -f %d;", n), func() {} }

func TestRow09AFullDiskForTheFilesLeavesTheOldOnesInPlaceAtLength(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	dir := filepath.Join(a.ConfigDir, filepath.Dir(pbx.PJSIPPath))
	if !mount(t, dir, 2048) {
		newSite(t, a, labtest.Postgres(t), 20).scarce(t, 40, 1, ulimit)
		return
	}
	s := newSite(t, a, storetest.SQLite(t), 20)
	s.scarce(t, 80, 2, func(t *testing.T, n int) (string, func()) { return "", fill(t, dir, n) })
}

func TestRow10AFullDiskForTheDatabaseAloneLosesNothingAtLength(t *testing.T) {
	t.Parallel()
	a, dir := labtest.Asterisk(t), t.TempDir()
	url := "sqlite:///" + filepath.Join(dir, "portal.db")
	if !mount(t, dir, 4096) {
		newSite(t, a, url, 5).scarce(t, 400, 10, ulimit)
		return
	}
	s := newSite(t, a, url, 5)
	s.scarce(t, 600, 15, func(t *testing.T, n int) (string, func()) { return "", fill(t, dir, n) })
}

func TestRow11AFolderThatIsNotWritableIsReportedWithItsFix(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 2)
	s.replace(t)
	old := s.mustPair(t)
	dir := filepath.Join(s.asterisk.ConfigDir, filepath.Dir(pbx.PJSIPPath), ".portal")
	env := s.env
	self, as := s.foreigner(t)
	if as == nil { // not root: remove our own permission
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	result, err := proc.Run(t.Context(), proc.Command{Argv: []string{self, "apply"}, Env: s.environ(), Dir: "/", Credential: as})
	s.env = env
	if said := result.Stdout + result.Stderr; err != nil || result.ExitCode != 6 || !strings.Contains(said, dir) || !strings.Contains(said, "write permission") {
		t.Errorf("%v, exit code %d, it says:\n%s", err, result.ExitCode, said)
	}
	if s.mustPair(t) != old {
		t.Error("the files changed")
	}
	if as == nil {
		if err := os.Chmod(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if code, r := s.apply(t); code != 0 || r.Verification != "confirmed" {
		t.Errorf("the next apply: %+v", r)
	}
}

// foreigner prepares running the portal as a user who can write only the database; nil if the test cannot switch users.
func (s *site) foreigner(t *testing.T) (self string, as *proc.Credential) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return self, nil
	}
	dir, err := os.MkdirTemp("", "pbx") //nolint:usetesting // other users cannot read the test's folders
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	self = filepath.Join(dir, "portal")
	s.env = map[string]string{
		"DATABASE_URL": "sqlite:///" + filepath.Join(dir, "portal.db"), "STATE_DIR": dir,
		"ASTERISK_CONFIG_DIR": s.asterisk.ConfigDir, "ASTERISK_CONTROL": s.asterisk.ControlSocket,
	}
	const nobodyID = 65534
	for _, err := range []error{
		os.WriteFile(self, binary, 0o755), os.Chown(dir, nobodyID, nobodyID), os.Chmod(dir, 0o755),
		os.Chmod(filepath.Dir(s.asterisk.ConfigDir), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return self, &proc.Credential{UID: nobodyID, GID: nobodyID}
}

func TestRow13AReadOnlyDiskLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 2)
	s.replace(t)
	old := s.mustPair(t)
	dir := filepath.Join(s.asterisk.ConfigDir, filepath.Dir(pbx.PJSIPPath))
	var undo func()
	switch err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); {
	case err == nil:
		undo = func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }
		t.Cleanup(undo)
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	case errors.Is(err, unix.EPERM):
		s.chmodAll(t, dir, 0o500)
		undo = func() { s.chmodAll(t, dir, 0o700) }
	default:
		t.Fatal(err)
	}
	if code, r := s.apply(t); code != 6 || r.Code != pbx.CodeWriteFailed && r.ID != "" || s.mustPair(t) != old {
		t.Errorf("exit code %d, %+v", code, r)
	}
	undo()
	if code, r := s.apply(t); code != 0 || r.Verification != "confirmed" {
		t.Errorf("the next apply: %+v", r)
	}
}

func (s *site) chmodAll(t *testing.T, dir string, mode os.FileMode) {
	t.Helper()
	for _, d := range []string{dir, filepath.Join(dir, ".portal"), filepath.Join(dir, ".portal", "gen")} {
		if err := os.Chmod(d, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRow14FoldersOnSeparateDisksAreStillSwitchedAtomically(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	dir := filepath.Join(a.ConfigDir, filepath.Dir(pbx.DialplanPath))
	if !mount(t, dir, 1024) { // use a link to a folder on another disk
		elsewhere, err := os.MkdirTemp("/dev/shm", "pbx") //nolint:usetesting // it must be another disk
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(elsewhere) })
		if err := errors.Join(os.RemoveAll(dir), os.Symlink(elsewhere, dir)); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, a, storetest.SQLite(t), 3)
	for range 3 {
		s.replace(t)
		s.create(t)
		if code, r := s.apply(t); code != 0 || r.Verification != "confirmed" {
			t.Errorf("exit code %d, %+v", code, r)
		}
		if want, _ := s.meant(t); s.mustPair(t) != want {
			t.Error("the files are not those of the database")
		}
	}
}

func TestRow21AnApplyWaitsForABusyAsterisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 2)
	s.edit(t, "asterisk.conf", func(text string) string { return strings.Replace(text, "execincludes = no", "execincludes = yes", 1) })
	if err := s.asterisk.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.replace(t)
	s.busy(t)
	run, err := s.hook(hooks{"reload": func() {
		go func() { wait(t.Context(), 300*time.Millisecond); s.idle(t) }()
	}}, nil).Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if err != nil || run.Verification != pbx.Confirmed {
		t.Errorf("verification %s, %v", run.Verification, err)
	}

	// Other clients reload continuously: an apply waits for its turn, up to this time, and its result is correct.
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	ends := map[string]int{}
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				_, _ = s.control.Run(ctx, "module reload res_pjsip.so")
			}
		})
	}
	for range 10 {
		s.replace(t)
		_, want := s.meant(t)
		code, r := s.apply(t)
		got := s.runs(t.Context(), want) == ""
		if refused := code == 6 && r.Code == pbx.CodeReloadFailed; !refused && (code != 0 || !got || r.Verification != "confirmed") {
			t.Errorf("exit code %d, live %v, %+v", code, got, r)
		}
		ends[r.Result]++
	}
	stop()
	others.Wait()
	t.Logf("10 applies among 4 who reload all the time: %s", tally(ends))
}

func TestRow27ADatabaseFailureBeforeTheSwitchLeavesTheOldFiles(t *testing.T) {
	t.Parallel()
	databaseDies(t, map[string]death{"once the new files are written": {"", "stage", pbx.CodeDatabaseAway, false, false}})
}

func TestRow28ADatabaseFailureAfterTheSwitchIsNotReportedAsSuccessUntilItIsBack(t *testing.T) {
	t.Parallel()
	databaseDies(t, map[string]death{
		"just before the switch":            {"flip", "", pbx.CodeAuditFailed, true, true},
		"just after it":                     {"", "flip", pbx.CodeAuditFailed, true, true},
		"after Asterisk was seen to run it": {"", "accept", pbx.CodeAuditFailed, true, true},
	})
}

// death is a moment at which the database fails, with the expected result.
type death struct {
	before, after string
	code          string
	flipped       bool
	success       bool // the final outcome in the record
}

func databaseDies(t *testing.T, moments map[string]death) {
	t.Helper()
	for name, tc := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, url := labtest.PostgresServer(t)
			s := newSite(t, labtest.Asterisk(t), url, 3)
			before := s.mustPair(t)
			s.replace(t)
			after, _ := s.meant(t)
			known := len(s.logs(t))
			die := func() {
				if err := server.Kill(); err != nil {
					t.Error(err)
				}
			}
			run, err := s.hook(hooks{tc.before: die}, hooks{tc.after: die}).Apply(t.Context(), apply.Request{TriggeredBy: "test"})
			if pbx.CodeOf(err) != tc.code || run.Log.Outcome != pbx.Failure {
				t.Errorf("%s, %v; want code %s", run.Result, err, tc.code)
			}
			if flipped := s.mustPair(t) == after; flipped != tc.flipped {
				t.Errorf("the new files are in place: %v, want %v", flipped, tc.flipped)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the database is back", func() bool { return s.store.Ping(t.Context()) == nil })
			for _, fault := range s.examine(t, before, after, known) {
				t.Error(fault)
			}
			for _, l := range s.logs(t) {
				if l.ID == run.Log.ID && (l.Outcome == pbx.Success) != tc.success {
					t.Errorf("in the end the record says %s: %s", l.Outcome, l.ErrorDetails)
				}
			}
		})
	}
}

func TestRow29AnOldCopyOfTheDatabaseDoesNotSilentlyUndoWhatIsLive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "portal.db")
	s := newSite(t, labtest.Asterisk(t), "sqlite:///"+path, 3)
	s.shut()
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.open(t)
	for range 3 {
		s.replace(t)
		s.must(t, "apply")
	}
	last, err := s.engine.State()
	if err != nil {
		t.Fatal(err)
	}
	live := s.mustPair(t)
	s.shut()
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	s.open(t)
	if plan := s.must(t, "plan"); !strings.Contains(plan, "restored from a backup") {
		t.Errorf("the plan does not say so:\n%s", plan)
	}
	if code, r := s.apply(t); code != 4 || r.Code != pbx.CodeDrift || s.mustPair(t) != live {
		t.Errorf("an apply: exit code %d, %+v", code, r)
	}
	code, r := s.apply(t, "--force")
	if want, _ := s.meant(t); code != 0 || r.Revision <= last.Current || s.mustPair(t) != want {
		t.Errorf("an apply with force: exit code %d, %+v; before, revision %d was in place", code, r, last.Current)
	}
}

func TestRow30ADamagedRevisionIsNoticedAndReplacedOnlyByForce(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 3)
	state, err := s.engine.State()
	if err != nil {
		t.Fatal(err)
	}
	gen := filepath.Join(s.asterisk.ConfigDir, filepath.Dir(pbx.PJSIPPath), ".portal", "gen", fmt.Sprintf("%06d", state.Current))
	entries, err := os.ReadDir(gen)
	if err != nil {
		t.Fatal(err)
	}
	flips, unseen := 0, 0
	for _, e := range entries {
		path := filepath.Join(gen, e.Name())
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			damaged := append([]byte(nil), whole...)
			damaged[i] ^= 1 << rand.IntN(8)
			overwrite(t, path, damaged)
			site, err := s.local.Inspect()
			flips++
			// A manifest can have the same meaning with other bytes, such as different case.
			if err == nil && len(site.Drift) == 0 && e.Name() != "manifest.json" {
				unseen++
				t.Errorf("%s, byte %d: not detected", e.Name(), i)
			}
		}
		overwrite(t, path, whole)
	}
	t.Logf("%d flipped bytes, %d unnoticed", flips, unseen)

	// The newest revision is damaged before Asterisk has loaded it. It can be a manual edit, so it is not reverted automatically.
	s.replace(t)
	if err := s.asterisk.Kill(); err != nil {
		t.Fatal(err)
	}
	if code, r := s.apply(t); code != 6 || r.Result != "files_ahead" {
		t.Fatalf("exit code %d, %+v", code, r)
	}
	overwrite(t, filepath.Join(s.asterisk.ConfigDir, pbx.DialplanPath), []byte("rot"))
	damaged := s.mustPair(t)
	if said := s.must(t, "recover"); !strings.Contains(said, "damaged on disk") || s.mustPair(t) != damaged {
		t.Errorf("recovery says:\n%s", said)
	}
	if err := s.asterisk.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, r := s.apply(t); code != 4 || r.Code != pbx.CodeDrift || s.mustPair(t) != damaged {
		t.Errorf("the next apply: exit code %d, %+v", code, r)
	}
	code, r := s.apply(t, "--force")
	if said := s.must(t, "audit", "saved", r.ID); code != 0 || r.Verification != "confirmed" || !strings.Contains(said, "\nrot") {
		t.Errorf("an apply with force: %+v; saved is\n%s", r, said)
	}

	// The only verified revision is damaged: an error, and a new revision with force.
	overwrite(t, filepath.Join(s.asterisk.ConfigDir, pbx.PJSIPPath), []byte("rot"))
	if said := s.must(t, "recover"); !strings.Contains(said, "damaged on disk") {
		t.Errorf("recovery says:\n%s", said)
	}
	if code, r := s.apply(t); code != 4 || r.Code != pbx.CodeDrift {
		t.Errorf("an apply: exit code %d, %+v", code, r)
	}
	if code, r := s.apply(t, "--force"); code != 0 || r.Verification != "confirmed" {
		t.Errorf("an apply with force: %+v", r)
	}
}

// overwrite changes a file in place, like a failing disk.
func overwrite(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRow31AClockThatJumpsChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 2)
	engine := apply.New(apply.Config{Store: s.store, Target: s.local, Now: func() time.Time {
		return now().Add(time.Duration(rand.IntN(48)-24) * time.Hour)
	}})
	last := 0
	for range 10 {
		s.replace(t)
		run, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		if err != nil || run.Verification != pbx.Confirmed || run.Revision <= last {
			t.Errorf("revision %d after %d, verification %s, %v", run.Revision, last, run.Verification, err)
		}
		last = run.Revision
	}
}

func TestRow33ACommandWithEndlessOutputIsEnded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ endless, result, verification string }{
		"at the reload":       {"*reload*", "files_ahead", "not_verified"},
		"at the verification": {"*list*", "not_confirmed", "inconclusive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 2)
			s.replace(t)
			script := filepath.Join(t.TempDir(), "asterisk")
			text := "#!/bin/sh\ncase \"$2\" in " + tc.endless + ") exec yes;; esac\nexec '" + strings.Join(s.asterisk.Client(), "' '") + "' \"$@\"\n"
			if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			socket := s.env["ASTERISK_CONTROL"]
			s.env["ASTERISK_CONTROL"] = "exec:" + script
			start := now()
			if _, r := s.apply(t); r.Result != tc.result || r.Verification != tc.verification {
				t.Errorf("%+v", r)
			}
			if took := now().Sub(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			s.env["ASTERISK_CONTROL"] = socket
			if code, r := s.apply(t); code != 0 || r.Verification != "confirmed" {
				t.Errorf("the next apply: %+v", r)
			}
		})
	}
}

func TestRow36WithTooFewFileDescriptorsTheOldFilesStayAtLength(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 3)
	s.scarce(t, 40, 1, func(_ *testing.T, n int) (string, func()) { return fmt.Sprintf("ulimit -n %d;", n), func() {} })
}

func TestRow37APanicInThePortalReleasesAllLocks(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 3)
	for _, method := range []string{"stage", "flip", "reload", "live", "accept", "forget"} {
		for _, moment := range []string{"before", "after"} {
			before := s.mustPair(t)
			s.replace(t)
			after, _ := s.meant(t)
			known := len(s.logs(t))
			fault := hooks{method: func() { panic("a fault") }}
			engine := s.hook(fault, nil)
			if moment == "after" {
				engine = s.hook(nil, fault)
			}
			s.panicAt(t, engine)
			for _, fault := range s.examine(t, before, after, known) { // this fails unless all locks are free again
				t.Errorf("a fault %s %s: %s", moment, method, fault)
			}
		}
	}
}

func TestAManualEditWhileAsteriskWasDownIsNotRevertedByAutomaticRecovery(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 2)
	path := filepath.Join(s.asterisk.ConfigDir, pbx.PJSIPPath)
	for name, edit := range map[string]func(text []byte){
		"through the link": func(text []byte) { overwrite(t, path, text) },
		"over the link": func(text []byte) {
			overwrite(t, path+".new", text)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		s.replace(t)
		if err := s.asterisk.Kill(); err != nil {
			t.Fatal(err)
		}
		if code, r := s.apply(t); code != 6 || r.Result != "files_ahead" {
			t.Fatalf("%s: exit code %d, %+v", name, code, r)
		}
		ours, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		edit(append(ours, "; by hand\n"...))
		edited := s.mustPair(t)
		if err := s.asterisk.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if said := s.must(t, "recover"); !strings.Contains(said, path+" was ") || s.mustPair(t) != edited {
			t.Errorf("%s: recovery undid the edit, or does not report it:\n%s", name, said)
		}
		if code, r := s.apply(t); code != 4 || r.Code != pbx.CodeDrift || s.mustPair(t) != edited {
			t.Errorf("%s: the next apply: exit code %d, %+v", name, code, r)
		}
		code, r := s.apply(t, "--force")
		if said := s.must(t, "audit", "saved", r.ID); code != 0 || r.Verification != "confirmed" || !strings.Contains(said, "; by hand\n") {
			t.Errorf("%s: an apply with force: exit code %d, %+v; saved is\n%s", name, code, r, said)
		}
	}
}
