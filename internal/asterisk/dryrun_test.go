package asterisk_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// withDialplan has a real Asterisk load this dialplan.
func withDialplan(t *testing.T, text string) *asterisk.Control {
	t.Helper()
	a := labtest.Asterisk(t)
	if err := os.WriteFile(filepath.Join(a.ConfigDir, "extensions.d/synergycall/generated_routing.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if reply, state := a.Control().ReloadDialplan(t.Context()); state != asterisk.Reloaded {
		t.Fatal(state, reply)
	}
	return a.Control()
}

// The dialplan of this test records the parameters of the dry run, one a step.
func TestDryRunsPassTheirParametersAndLeaveNothingInTheDatabase(t *testing.T) {
	t.Parallel()
	c := withDialplan(t, `[sc-sim]
exten => _q.,1,Set(JOB=${DB_DELETE(sc-run/${EXTEN})})
 same => n,Set(DB(sc-sim/${EXTEN}/1)=${CUT(JOB,|,1)})
 same => n,Set(DB(sc-sim/${EXTEN}/2)=${CUT(JOB,|,2)} ${CUT(JOB,|,3)})
 same => n,Set(DB(sc-sim/${EXTEN}/3)=${CUT(JOB,|,4)})
 same => n,Set(DB(sc-sim/${EXTEN}/end)=03)
 same => n,Hangup()
`)
	var all sync.WaitGroup
	for caller := range 2 {
		all.Go(func() {
			var runs []asterisk.DryRun
			var want [][]string
			for i := range 15 {
				exten, busy := fmt.Sprint(100*caller+i), []string{"1000", "999999"}[:i%3%2*2]
				runs = append(runs, asterisk.DryRun{Context: "sc-user", Exten: exten, Script: strings.Repeat("anub", i), Busy: busy})
				want = append(want, []string{"sc-user", strings.TrimSpace(exten + " " + strings.Repeat("anub", i)), strings.Join(busy, "-")})
			}
			got, err := c.DryRuns(t.Context(), runs)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
		})
	}
	all.Wait()
	for _, family := range []string{"sc-run", "sc-sim"} {
		if reply, err := c.Run(t.Context(), "database show "+family); err != nil || !strings.Contains(reply.Stdout, "0 results found.") {
			t.Errorf("%v, and in the family %s there is still %q", err, family, reply.Stdout)
		}
	}
}

func TestDryRunsWithoutTheLibraryEndWithAnError(t *testing.T) {
	t.Parallel()
	_, err := withDialplan(t, "[empty]\n").WithTimeout(200*time.Millisecond).DryRuns(t.Context(), []asterisk.DryRun{{Context: "sc-user", Exten: "1000"}})
	if err == nil {
		t.Error("they ended without an error")
	}
}

func TestAnIncompleteAnswerIsNoTrace(t *testing.T) {
	t.Parallel()
	run := []asterisk.DryRun{{Context: "sc-user", Exten: "1000"}}
	for name, c := range map[string]struct {
		answer func(key string) string // to the question for what was recorded
		want   error
	}{
		"complete": {func(k string) string {
			return "/sc-sim/" + k + "/1 : end\n/sc-sim/" + k + "/end : 01\n2 results found.\n"
		}, nil},
		"cut":         {func(k string) string { return "/sc-sim/" + k + "/1 : end\n/sc-sim/" + k + "/end : 01\n" }, asterisk.ErrUnparsable},
		"a line lost": {func(k string) string { return "/sc-sim/" + k + "/end : 01\n2 results found.\n" }, asterisk.ErrUnparsable},
		"a step lost": {func(k string) string { return "/sc-sim/" + k + "/end : 01\n1 results found.\n" }, asterisk.ErrUnparsable},
		"another step": {func(k string) string {
			return "/sc-sim/" + k + "/2 : end\n/sc-sim/" + k + "/end : 01\n2 results found.\n"
		}, asterisk.ErrUnparsable},
		"no such thing": {func(string) string { return "No such command 'database show sc-sim'\n" }, asterisk.ErrNoSuchCommand},
	} {
		key := make(chan string, 1)
		s := asterisktest.New(t, func(command string, out io.Writer, _ <-chan struct{}) {
			switch words := strings.Fields(command); {
			case strings.HasPrefix(command, "database put sc-run "):
				key <- words[3]
				_, _ = io.WriteString(out, "Updated database successfully\n")
			case strings.HasPrefix(command, "database show"):
				k := <-key
				key <- k
				_, _ = io.WriteString(out, c.answer(k))
			}
		})
		control, err := asterisk.NewControl(s.Socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := control.WithTimeout(5*time.Second).DryRuns(t.Context(), run); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoDryRunIsNotSent(t *testing.T) {
	t.Parallel()
	s := asterisktest.New(t, func(string, io.Writer, <-chan struct{}) {})
	control, err := asterisk.NewControl(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []asterisk.DryRun{
		{Context: "sc user", Exten: "1000"},
		{Context: "sc-user", Exten: "1|2"},
		{Context: "sc-user", Exten: "1000", Script: "an|"},
		{Context: "sc-user", Exten: "1000", Busy: []string{"1;x"}},
		{Context: "", Exten: "1000"},
		{Context: "sc-user", Exten: "1000", Script: strings.Repeat("n", 500)},
	} {
		if _, err := control.DryRuns(t.Context(), []asterisk.DryRun{r}); !errors.Is(err, asterisk.ErrCommand) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if sent := s.Commands(); len(sent) > 0 {
		t.Errorf("sent: %q", sent)
	}
}
