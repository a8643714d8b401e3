package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/cli"
	"github.com/synergycall/pbxportal/internal/regular"
)

func TestACommandFailsIfItsOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	s := newSettings(t)
	s.must(t, "migrate")
	getenv := func(name string) (string, bool) { v, ok := s[name]; return v, ok }
	for _, command := range []string{
		"version", "version --json", "--help", "help settings", "config show", "user list", "user list --json", "user add Anna a@example.com",
		"token create test --role auditor", "audit list", "audit events", "audit export", "audit head", "audit verify",
	} {
		var errs bytes.Buffer
		if code := cli.Run(t.Context(), strings.Fields(command), getenv, strings.NewReader(""), full, &errs); code == 0 || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%s: exit code %d\n%s", command, code, &errs)
		}
	}
}

// The kernel's log is a regular file by its type, and a queue: reading it to its end waits for the next message.
func TestVerifyingTheTrailDoesNotWaitForAQueue(t *testing.T) {
	t.Parallel()
	_, _, _ = regular.Read("/proc/kmsg", 64<<20) // what it already has would end the commands below
	s := newSettings(t)
	s.must(t, "migrate")
	s.must(t, "audit", "head")
	for _, args := range [][]string{{"--heads", "/proc/kmsg"}, {"--archive", "/proc/kmsg"}, {"/proc/kmsg"}} {
		ended := make(chan int, 1)
		go func() {
			var out, errs bytes.Buffer
			getenv := func(name string) (string, bool) { v, ok := s[name]; return v, ok }
			ended <- cli.Run(t.Context(), append([]string{"audit", "verify"}, args...), getenv, strings.NewReader(""), &out, &errs)
		}()
		select {
		case code := <-ended:
			if code == 0 {
				t.Errorf("%v: exit code 0", args)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%v: it is waited for", args)
		}
	}
}
