package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/cli"
)

// terminal returns a terminal at which a text was typed.
func terminal(t *testing.T, typed string) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = master.Close(), other.Close() })
	if _, err := master.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	return other
}

// A pool of random order assigns another number each time, and with any other order another administrator can get the announced one.
func TestTheUserWhoHandsOverGetsTheNumberThatIsAnnounced(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna")
	s.must(t, "user", "add", "Ben")
	s.must(t, "pool", "set", "Users", "--order", "random")
	var out, errs bytes.Buffer
	getenv := func(name string) (string, bool) { v, ok := s[name]; return v, ok }
	if code := cli.Run(t.Context(), []string{"user", "hand-over", "1000", "--to", "1001"}, getenv, terminal(t, "y\n"), &out, &errs); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, &out, &errs)
	}
	announced := regexp.MustCompile(`Anna has (\d+) instead of 1000`).FindStringSubmatch(out.String())
	if announced == nil {
		t.Fatal(out.String())
	}
	if user := s.must(t, "user", "show", announced[1]); !regexp.MustCompile(`Name +Anna\n`).MatchString(user) {
		t.Error(user)
	}
}
