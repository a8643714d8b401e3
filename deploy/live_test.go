package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
)

// namespaces are those of a small machine of its own. The network stays that of this one, whose loopback the test asks.
var namespaces = []string{"--pid", "--mount", "--ipc", "--uts", "--cgroup"}

// host is a small machine whose first process is a real systemd.
type host struct {
	t    *testing.T
	addr string // of the portal on it
	init int    // its first process, as this machine counts
}

// boot starts a machine on which the portal is installed and enabled; ok is false where this one does not allow that.
func boot(t *testing.T) (h host, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	probe, err := proc.Run(ctx, proc.Command{Argv: slices.Concat([]string{"unshare"}, namespaces, []string{"--fork", "testdata/boot"}), Env: os.Environ()})
	if err != nil || probe.ExitCode != 0 {
		t.Logf("this machine does not let a test boot another one (%v %s): the unit was held against what systemd-analyze knows, and nothing else", err, probe.Stderr)
		return h, false
	}
	program := labtest.Program(t, "..")
	// An address that no other process takes while the service is down: a loopback address derived from the process id.
	h = host{t: t, addr: fmt.Sprintf("127.%d.%d.1:8000", 1+os.Getpid()/250%250, 1+os.Getpid()%250)}
	seed := t.TempDir()
	put(t, seed, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", 0o644)
	put(t, seed, "etc/group", "root:x:0:\nasterisk:x:150:\n", 0o644)
	put(t, seed, "etc/machine-id", strings.Repeat("7", 32)+"\n", 0o644)
	put(t, seed, "etc/pbxportal/pbxportal.env", "LISTEN_ADDR="+h.addr+"\n", 0o640)
	put(t, seed, "usr/lib/systemd/system/pbxportal.service", read(t, "pbxportal.service"), 0o644)
	put(t, seed, "usr/lib/sysusers.d/pbxportal.conf", read(t, "pbxportal.sysusers"), 0o644)
	for unit, to := range map[string]string{
		"multi-user.target.wants/pbxportal.service": "/usr/lib/systemd/system/pbxportal.service",
		"systemd-modules-load.service":              "/dev/null", // this machine's kernel is not its business
		"ldconfig.service":                          "/dev/null", // its libraries are where they are looked for
	} {
		link := filepath.Join(seed, "etc/systemd/system", unit)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(to, link)); err != nil {
			t.Fatal(err)
		}
	}
	console := filepath.Join(t.TempDir(), "console.log")
	machine, err := proc.Start(proc.Command{
		Argv: slices.Concat([]string{"unshare"}, namespaces, []string{"--fork", "--kill-child=KILL", "testdata/boot", systemd(t).Root, seed, program, t.TempDir()}),
		Env:  []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "container=test"},
	}, console)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := h.run("/usr/bin/journalctl", "--lines=50", "--output=cat", "--no-pager")
			t.Logf("the end of its journal:\n%s\nwhat its console said:\n%s", journal, read(t, console))
		}
		_ = machine.Kill()
	})
	until(t, "the machine has a first process", func() bool {
		children := read(t, fmt.Sprintf("/proc/%d/task/%[1]d/children", machine.PID()))
		h.init, _ = strconv.Atoi(strings.TrimSpace(children))
		return h.init > 0
	})
	return h, true
}

// until waits for something, for half a minute at the most.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	over := time.NewTimer(30 * time.Second)
	defer over.Stop()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if is() {
			return
		}
		select {
		case <-tick.C:
		case <-over.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// run runs a program on the machine, and returns its output.
func (h host) run(argv ...string) (string, error) {
	h.t.Helper()
	enter := []string{"nsenter", "--target", strconv.Itoa(h.init), "--pid", "--mount", "--ipc", "--uts", "--cgroup", "--root", "--wd"}
	result, err := proc.Run(context.WithoutCancel(h.t.Context()), proc.Command{Argv: append(enter, argv...), Env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("%v: exit code %d: %s%s", argv, result.ExitCode, result.Stdout, result.Stderr)
	}
	return result.Stdout, err
}

func (h host) must(argv ...string) string {
	h.t.Helper()
	out, err := h.run(argv...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// unit returns one property of the service.
func (h host) unit(property string) string {
	h.t.Helper()
	return strings.TrimSpace(h.must("/usr/bin/systemctl", "show", "--value", "--property="+property, "pbxportal.service"))
}

// answers reports whether the portal is there.
func (h host) answers() bool {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http://"+h.addr+"/health", http.NoBody)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// service returns the process id of the portal, as seen by this machine.
func (h host) service() (pid int) {
	h.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		status, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "status")) // those that have ended meanwhile have none
		parent := regexp.MustCompile(`(?m)^PPid:\s+(\d+)$`).FindSubmatch(status)
		if parent != nil && string(parent[1]) == strconv.Itoa(h.init) && strings.HasPrefix(string(status), "Name:\tpbxportal\n") {
			pid, _ = strconv.Atoi(e.Name())
		}
	}
	if pid == 0 {
		h.t.Fatal("there is no process of the portal")
	}
	return pid
}

// writable reports whether the rights of a path let a process write there. Its status names its user and groups.
func writable(t *testing.T, process, status, path string) bool {
	t.Helper()
	info, err := os.Stat(process + "root" + path)
	if err != nil {
		t.Fatal(err)
	}
	var owner syscall.Stat_t
	if err := syscall.Stat(process+"root"+path, &owner); err != nil {
		t.Fatal(err)
	}
	ids := func(line string) []string {
		return strings.Fields(regexp.MustCompile(`(?m)^` + line + `:(.*)$`).FindStringSubmatch(status)[1])
	}
	bit := os.FileMode(0o002)
	switch {
	case slices.Contains(ids("Uid"), strconv.Itoa(int(owner.Uid))):
		bit = 0o200
	case slices.Contains(append(ids("Gid"), ids("Groups")...), strconv.Itoa(int(owner.Gid))):
		bit = 0o020
	}
	return info.Mode()&bit != 0
}

// The unit is started, killed and stopped by a real systemd, as docs/install.md installs it.
func TestUnderALiveSystemdTheServiceRunsUnprivilegedRestartsAndEndsCleanly(t *testing.T) {
	t.Parallel()
	h, ok := boot(t)
	if !ok {
		return
	}
	until(t, "the portal answers", h.answers)
	if state := h.unit("ActiveState") + " " + h.unit("SubState"); state != "active running" {
		t.Errorf("the service is %s", state)
	}

	process := fmt.Sprintf("/proc/%d/", h.service())
	status := read(t, process+"status")
	for _, want := range []string{`Uid:\s+[1-9]`, `Gid:\s+[1-9]`, `Groups:.*\b150\b`, `CapPrm:\s+0+$`, `CapEff:\s+0+$`, `CapBnd:\s+0+$`, `CapAmb:\s+0+$`, `NoNewPrivs:\s+1$`, `Seccomp:\s+2$`} {
		if !regexp.MustCompile(`(?m)^(` + want + `)`).MatchString(status) {
			t.Errorf("the process lacks %s:\n%s", want, status)
		}
	}
	// What is mounted to be written, and the rights of its folder let the service write.
	mine := []string{"/var/lib/pbxportal", "/etc/asterisk/pjsip.d/synergycall", "/etc/asterisk/extensions.d/synergycall"}
	open := map[string]bool{}
	for line := range strings.Lines(read(t, process+"mountinfo")) {
		if f := strings.Fields(line); slices.Contains(strings.Split(f[5], ","), "rw") && writable(t, process, status, f[4]) {
			open[f[4]] = true
		}
	}
	for _, path := range mine {
		if !open[path] {
			t.Errorf("%s may not be written", path)
		}
	}
	for path := range open { // its own /tmp, memory shared with its own processes, locks of others it cannot touch, and word of scarce memory
		if !slices.Contains(append(mine, "/tmp", "/var/tmp", "/run/lock"), path) && !regexp.MustCompile(`^/dev/|^/sys/fs/cgroup/.*/memory\.pressure$`).MatchString(path) {
			t.Errorf("%s may be written", path)
		}
	}
	t.Logf("may be written: %v", slices.Sorted(maps.Keys(open)))

	key := strings.TrimSpace(regexp.MustCompile(`(?m)^[A-Za-z0-9+/]{43}=$`).FindString(read(t, process+"root/var/lib/pbxportal/secret.key")))
	if key == "" {
		t.Error("the first start made no key")
	}
	h.must("/usr/bin/systemctl", "kill", "--signal=KILL", "pbxportal.service")
	until(t, "it is started again", func() bool { return h.unit("NRestarts") != "0" && h.answers() })
	h.must("/usr/bin/systemctl", "kill", "--signal=HUP", "pbxportal.service") // which it survives
	restarts, _ := strconv.Atoi(h.unit("NRestarts"))
	h.must("/usr/bin/systemctl", "kill", "--signal=TERM", "pbxportal.service")
	until(t, "it is started again after a signal that ends it cleanly", func() bool { return h.unit("NRestarts") == strconv.Itoa(restarts+1) && h.answers() })
	begun := time.Now()
	h.must("/usr/bin/systemctl", "stop", "pbxportal.service")
	if result := h.unit("ActiveState") + " " + h.unit("Result") + " " + h.unit("ExecMainStatus"); result != "inactive success 0" || h.answers() {
		t.Errorf("stopped, the service is %s", result)
	}
	t.Logf("stopped in %v", time.Since(begun).Round(time.Millisecond))
	h.must("/usr/bin/systemctl", "start", "pbxportal.service")
	until(t, "it is there once more", h.answers)

	journal := h.must("/usr/bin/journalctl", "--unit=pbxportal.service", "--output=cat", "--no-pager")
	if n := strings.Count(journal, "msg=serving"); n != 4 || !strings.Contains(journal, "SIGHUP changes nothing") {
		t.Errorf("the journal tells of %d starts:\n%s", n, journal)
	}
	if strings.Contains(journal, key) {
		t.Error("the key stands in the journal")
	}
}
