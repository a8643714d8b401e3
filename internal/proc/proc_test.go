package proc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/proc"
)

// patience ends a test that would otherwise hang; nothing waits for it when all is well.
const patience = 20 * time.Second

func sh(script string, args ...string) proc.Command {
	return proc.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}
}

// lifeline is a named pipe: a process that holds its writing end is alive until the reader sees the end.
func lifeline(t *testing.T) (path string, ended func() error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lifeline")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opening for reading and writing does not wait for the other side; the reader below is opened before this one is closed.
	keep, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return path, func() error {
		_ = keep.Close()
		if err := reader.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, reader)
		return err
	}
}

func TestACommandsEndIsAResultWhateverItsExitCode(t *testing.T) {
	t.Parallel()
	got, err := proc.Run(t.Context(), sh("echo out; echo err >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(proc.Result{ExitCode: 3, Stdout: "out\n", Stderr: "err\n"}, got); diff != "" {
		t.Errorf("result differs (-want +got):\n%s", diff)
	}
	got, err = proc.Run(t.Context(), sh("kill -TERM $$"))
	if err != nil || got.ExitCode != 128+15 {
		t.Errorf("ended by a signal: got %+v, %v", got, err)
	}
}

func TestACommandThatCannotStartIsAnError(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{nil, {""}, {"/nonexistent"}, {"no-such-program-anywhere"}, {t.TempDir()}} {
		if result, err := proc.Run(t.Context(), proc.Command{Argv: argv}); err == nil {
			t.Errorf("%q ran: %+v", argv, result)
		}
		if p, err := proc.Start(proc.Command{Argv: argv}, os.DevNull); err == nil {
			t.Errorf("%q started as %d", argv, p.PID())
		}
	}
	if _, err := proc.Run(t.Context(), proc.Command{Argv: []string{"no-such-program-anywhere"}}); !errors.Is(err, proc.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestArgumentsAreNoShellText(t *testing.T) {
	t.Parallel()
	want := []string{"a b", "$HOME", "; exit 9", "*", "", "'\""}
	got, err := proc.Run(t.Context(), sh(`for a; do printf '%s\n' "$a"; done`, want...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", got.Stdout); diff != "" {
		t.Errorf("arguments differ (-want +got):\n%s", diff)
	}
}

func TestTheEnvironmentIsMinimalAndInputIsClosed(t *testing.T) {
	t.Setenv("PBXPORTAL_SECRET_OF_OURS", "x")
	c := proc.Command{Argv: []string{"env"}, Env: []string{"GIVEN=yes", "LC_ALL=de"}}
	got, err := proc.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Fields(got.Stdout)
	slices.Sort(env)
	if diff := cmp.Diff([]string{"GIVEN=yes", "LC_ALL=de", "PATH=" + os.Getenv("PATH")}, env); diff != "" {
		t.Errorf("environment differs (-want +got):\n%s", diff)
	}
	if got, err = proc.Run(t.Context(), proc.Command{Argv: []string{"cat"}}); err != nil || got.Stdout != "" {
		t.Errorf("cat read %q, %v", got.Stdout, err)
	}
}

func TestTheFolderIsTheGivenOne(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got, err := proc.Run(t.Context(), proc.Command{Argv: []string{"pwd"}, Dir: dir})
	if err != nil || strings.TrimSpace(got.Stdout) != dir {
		t.Errorf("got %q, %v", got.Stdout, err)
	}
}

func TestOutputBeyondTheLimitIsDrainedButNotKept(t *testing.T) {
	t.Parallel()
	got, err := proc.Run(t.Context(), sh(`head -c 9000000 /dev/zero; head -c 9000000 /dev/zero >&2; echo end >&2; exit 7`))
	if err != nil || got.ExitCode != 7 || !got.Truncated || len(got.Stdout) != proc.MaxOutput || len(got.Stderr) != proc.MaxOutput {
		t.Errorf("got %d and %d bytes, exit code %d, truncated %v, %v",
			len(got.Stdout), len(got.Stderr), got.ExitCode, got.Truncated, err)
	}
}

func TestACommandThatPrintsWithoutEndIsEndedAtTheLimitWhereThatIsAsked(t *testing.T) {
	t.Parallel()
	c := sh(`exec yes`)
	c.EndWhenFull = true
	begin := time.Now()
	got, err := proc.Run(t.Context(), c)
	if err != nil || !got.Truncated || len(got.Stdout) != proc.MaxOutput || got.ExitCode == 0 || time.Since(begin) > 10*time.Second {
		t.Errorf("got %d bytes after %v, exit code %d, truncated %v, %v", len(got.Stdout), time.Since(begin), got.ExitCode, got.Truncated, err)
	}
}

func TestLinesAreReportedAsTheyCome(t *testing.T) {
	t.Parallel()
	var lines []string
	c := sh(`printf 'one\ntwo\r\n'; printf 'last without end'`)
	c.OnLine = func(line string) { lines = append(lines, line) }
	got, err := proc.Run(t.Context(), c)
	if err != nil || got.Stdout != "one\ntwo\r\nlast without end" {
		t.Errorf("got %q, %v", got.Stdout, err)
	}
	if diff := cmp.Diff([]string{"one", "two", "last without end"}, lines); diff != "" {
		t.Errorf("lines differ (-want +got):\n%s", diff)
	}
}

func TestALineWithoutEndDoesNotFillMemory(t *testing.T) {
	t.Parallel()
	longest := 0
	c := sh(`head -c 3000000 /dev/zero`)
	c.OnLine = func(line string) { longest = max(longest, len(line)) }
	if _, err := proc.Run(t.Context(), c); err != nil || longest > 1<<17 {
		t.Errorf("longest piece is %d bytes, %v", longest, err)
	}
}

func TestTheEndOfTheContextKillsTheWholeGroup(t *testing.T) {
	t.Parallel()
	path, ended := lifeline(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := sh(`exec 3>"$1"; trap '' TERM; sleep 600 & echo ready; wait; sleep 600`, path)
	c.OnLine = func(string) { cancel() }
	got, err := proc.Run(ctx, c)
	if !errors.Is(err, context.Canceled) || got.Stdout != "ready\n" {
		t.Errorf("got %+v, %v; want what was printed and the context's error", got, err)
	}
	if err := ended(); err != nil {
		t.Errorf("a child lives on: %v", err)
	}
	if _, err := proc.Run(ctx, sh("true")); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: got %v", err)
	}
}

func TestALeftoverChildProcessDoesNotDelayTheResult(t *testing.T) {
	t.Parallel()
	path, ended := lifeline(t)
	got, err := proc.Run(t.Context(), sh(`exec 3>"$1"; sleep 600 & echo done`, path))
	if err != nil || got.ExitCode != 0 || got.Stdout != "done\n" || !got.Truncated || !got.LeftOpen {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := ended(); err != nil {
		t.Errorf("it lives on: %v", err)
	}
}

func TestRootCanRunACommandAsAnotherUser(t *testing.T) {
	t.Parallel()
	c := proc.Command{Argv: []string{"id", "-u"}, Credential: &proc.Credential{UID: 65534, GID: 65534}}
	got, err := proc.Run(t.Context(), c)
	if os.Geteuid() == 0 {
		if err != nil || got.Stdout != "65534\n" {
			t.Errorf("got %q, %v", got.Stdout, err)
		}
	} else if err == nil {
		t.Errorf("without root this must fail, got %+v", got)
	}
}

func TestADaemonWritesItsLogAndCanBeKilledWithItsGroup(t *testing.T) {
	t.Parallel()
	path, ended := lifeline(t)
	log := filepath.Join(t.TempDir(), "log")
	p, err := proc.Start(sh(`exec 3>"$1"; trap '' TERM; echo started; sleep 600 & wait; sleep 600`, path), log)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := p.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended by itself: %v", err)
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := ended(); err != nil {
		t.Errorf("a child lives on: %v", err)
	}
	result, err := p.Wait(t.Context())
	if err != nil || result.ExitCode != 128+9 {
		t.Errorf("got %+v, %v", result, err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killing the dead: %v", err)
	}
	if err := p.SignalChildren(syscall.SIGKILL); err != nil {
		t.Errorf("signalling the dead: %v", err)
	}
}

func TestADaemonsEndIsSeen(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	p, err := proc.Start(sh("echo to the log; echo as well >&2; exit 5"), log)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if result, err := p.Wait(t.Context()); err != nil || result.ExitCode != 5 {
		t.Errorf("got %+v, %v", result, err)
	}
	text, err := os.ReadFile(log)
	if err != nil || !bytes.Contains(text, []byte("to the log\n")) || !bytes.Contains(text, []byte("as well\n")) {
		t.Errorf("log is %q, %v", text, err)
	}
}

func TestChildrenThatLeftTheGroupCanBeReached(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return
	}
	path, ended := lifeline(t)
	ready := filepath.Join(t.TempDir(), "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := proc.Start(sh(`setsid sh -c 'exec 3>"$1"; echo >"$2"; exec sleep 600' sh "$1" "$2" & wait; exec sleep 600`, path, ready), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(ready); err != nil {
		t.Fatal(err)
	}
	if err := p.SignalChildren(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.KillWithChildren(); err != nil {
		t.Fatal(err)
	}
	if err := ended(); err != nil {
		t.Errorf("the child lives on: %v", err)
	}
}

// TestMain plays the dying parent when it is asked to.
func TestMain(m *testing.M) {
	path := os.Getenv("PROC_TEST_LIFELINE")
	if path == "" {
		os.Exit(m.Run())
	}
	c := sh(`exec 3>"$1"; echo >&3; exec sleep 600`, path)
	c.Outlive = os.Getenv("PROC_TEST_OUTLIVE") != ""
	p, err := proc.Start(c, os.DevNull)
	if err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.PID()))
	// The end comes only when the child holds the pipe.
	if pipe, err := os.Open(path); err == nil {
		_, _ = pipe.Read(make([]byte, 1))
	}
	os.Exit(0)
}

func TestADaemonDiesWithUsUnlessItMayOutliveUs(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return
	}
	for _, outlive := range []string{"", "yes"} {
		path, ended := lifeline(t)
		got, err := proc.Run(t.Context(), proc.Command{
			Argv: []string{os.Args[0]}, Env: []string{"PROC_TEST_LIFELINE=" + path, "PROC_TEST_OUTLIVE=" + outlive},
		})
		pid, convErr := strconv.Atoi(got.Stdout)
		if err != nil || got.ExitCode != 0 || convErr != nil {
			t.Fatal(got, err, convErr)
		}
		if outlive != "" {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Errorf("it died with us: %v", err)
			}
		}
		if err := ended(); err != nil {
			t.Errorf("it lives on: %v", err)
		}
	}
}
