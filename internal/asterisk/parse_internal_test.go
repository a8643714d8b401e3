package asterisk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func recorded(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheIDsInListsOfARealAsteriskAreReturned(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		label string
		want  []string
	}{
		"endpoints": {"Endpoint", []string{"1000", "1001", "my trunk", "trunk-with-a-very-long-name-that-fills-the-whole-co"}},
		"auths":     {"Auth", []string{"1000", "1001"}},
		"aors":      {"Aor", []string{"1000", "1001"}},
	} {
		got, err := parseIDs(recorded(t, name), test.label)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: ids differ (-want +got):\n%s", name, diff)
		}
	}
}

func TestAnEmptyListIsAnAnswer(t *testing.T) {
	t.Parallel()
	ids, err := parseIDs(recorded(t, "endpoints_none"), "Endpoint")
	if err != nil || len(ids) != 0 {
		t.Errorf("got %q, %v; want an empty list and no error", ids, err)
	}
}

func TestAListTruncatedAnywhereIsRejected(t *testing.T) {
	t.Parallel()
	whole := recorded(t, "endpoints")
	for end := range len(strings.TrimRight(whole, "\n")) {
		if ids, err := parseIDs(whole[:end], "Endpoint"); err == nil {
			t.Errorf("the first %d bytes were taken for a whole list of %q", end, ids)
		}
	}
}

func TestADialplanTruncatedAnywhereIsRejected(t *testing.T) {
	t.Parallel()
	whole := recorded(t, "dialplan")
	for end := range len(strings.TrimRight(whole, "\n")) {
		if steps, _, err := parseExtensions(whole[:end], "synergy-internal"); err == nil {
			t.Errorf("the first %d bytes were taken for a whole dialplan of %d steps", end, len(steps))
		}
	}
}

func TestAnswersThatProveNothingAreErrUnparsable(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"", "\n", "ok\n", "Endpoint:  1000\n", "Objects found: 1\n", "Objects found: x\n", "1000\n1001\n"} {
		if _, err := parseIDs(answer, "Endpoint"); !errors.Is(err, ErrUnparsable) {
			t.Errorf("list %q: got %v, want ErrUnparsable", answer, err)
		}
		if _, _, err := parseExtensions(answer, "synergy-internal"); !errors.Is(err, ErrUnparsable) {
			t.Errorf("dialplan %q: got %v, want ErrUnparsable", answer, err)
		}
		if _, err := parseVersion(answer); !errors.Is(err, ErrUnparsable) {
			t.Errorf("version %q: got %v, want ErrUnparsable", answer, err)
		}
		if _, err := parseModules(answer); !errors.Is(err, ErrUnparsable) {
			t.Errorf("modules %q: got %v, want ErrUnparsable", answer, err)
		}
	}
}

func TestAnUnknownCommandIsDistinguished(t *testing.T) {
	t.Parallel()
	if _, err := parseIDs(recorded(t, "no_such_command"), "Endpoint"); !errors.Is(err, ErrNoSuchCommand) {
		t.Errorf("got %v, want ErrNoSuchCommand", err)
	}
}

func TestEveryStepOfADialplanIsReturned(t *testing.T) {
	t.Parallel()
	got, _, err := parseExtensions(recorded(t, "dialplan"), "synergy-internal")
	if err != nil {
		t.Fatal(err)
	}
	want := []Extension{
		{"1000", HintPriority, "hint", "PJSIP/1000", "generated_routing.conf", false},
		{"1000", 1, "Dial", "PJSIP/1000,30", "generated_routing.conf", false},
		{"1000", 2, "Set", `X=a [b] (c) "d", e. f`, "generated_routing.conf", false},
		{"1000", 3, "NoOp", "", "generated_routing.conf", false},
		{"1000", 4, "Hangup", "", "generated_routing.conf", false},
		{"1001", 1, "Dial", "PJSIP/1001,30", "generated_routing.conf", false},
		{"1001", 2, "Hangup", "", "generated_routing.conf", false},
		{"7/555", 1, "Answer", "", "generated_routing.conf", false},
		{"_[2-9]XXX.", 1, "NoOp", "a => b", "generated_routing.conf", false},
		{"", IncludePriority, "include", "other", "", false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps differ (-want +got):\n%s", diff)
	}
}

func TestAContextWithoutExtensionsIsAnAnswer(t *testing.T) {
	t.Parallel()
	for name, dialplanContext := range map[string]string{"dialplan_empty": "empty", "dialplan_no_context": "synergy-internal"} {
		steps, _, err := parseExtensions(recorded(t, name), dialplanContext)
		if err != nil || len(steps) != 0 {
			t.Errorf("%s: got %v, %v; want no steps and no error", name, steps, err)
		}
	}
	if steps, _, err := parseExtensions(recorded(t, "dialplan_one"), "other"); err != nil || len(steps) != 1 {
		t.Errorf("one extension in the singular: got %v, %v", steps, err)
	}
}

func TestContactsHaveTheAddressOfAPhone(t *testing.T) {
	t.Parallel()
	got, err := parseContacts(recorded(t, "contacts"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Contact{
		{"1000", "sip:1000@192.0.2.17:5062", "NonQual"},
		{"1000", "sip:1000@192.0.2.18:5062", "NonQual"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("contacts differ (-want +got):\n%s", diff)
	}
	if none, err := parseContacts(recorded(t, "contacts_none")); err != nil || len(none) != 0 {
		t.Errorf("without contacts: got %v, %v", none, err)
	}
}

func TestVersionAndModulesAreRead(t *testing.T) {
	t.Parallel()
	version, err := parseVersion(recorded(t, "version"))
	if err != nil || !strings.HasPrefix(version, "22.10.1") {
		t.Errorf("version: got %q, %v", version, err)
	}
	modules, err := parseModules(recorded(t, "modules"))
	if err != nil || len(modules) != 78 {
		t.Errorf("modules: got %d, %v; want 78", len(modules), err)
	}
	stopped := "Module  Description  Use Count  Status  Support Level\n" +
		"res_pjsip.so  Basic SIP resource  0  Not Running  core\npbx_config.so  Text  0  Running  core\n2 modules loaded\n"
	modules, err = parseModules(stopped)
	if diff := cmp.Diff([]string{"pbx_config.so"}, modules); diff != "" || err != nil {
		t.Errorf("a module that does not run counts: %v\n%s", err, diff)
	}
}

func TestOnlyTheExactSentenceIsASuccessfulReload(t *testing.T) {
	t.Parallel()
	const done = "Module 'res_pjsip.so' reloaded successfully."
	for answer, want := range map[string]ReloadState{
		recorded(t, "reload_pjsip"):                                           Reloaded,
		recorded(t, "reload_dialplan"):                                        ReloadUnclear,
		recorded(t, "no_such_module"):                                         ReloadNotLoaded,
		recorded(t, "no_such_command"):                                        ReloadNotLoaded,
		recorded(t, "reload_unsupported"):                                     ReloadNotLoaded,
		"A module reload request is already in progress; please be patient\n": ReloadInProgress,
		"Asterisk cannot reload a module yet; request queued\n":               ReloadQueued,
		"The module 'res_pjsip.so' reported a reload failure\n":               ReloadFailed,
		"":     ReloadUnclear,
		"ok\n": ReloadUnclear,
		"Module 'res_pjsip.so' reloaded successfully\n": ReloadUnclear,
		done + "\nNo such module 'res_pjsip.so'\n":      ReloadNotLoaded,
		"No such module 'x'\n" + done + "\n":            ReloadNotLoaded,
		"Module 'chan_pjsip.so' reloaded successfully.": ReloadUnclear,
	} {
		if got := parseReload(answer, done); got != want {
			t.Errorf("%q: got %s, want %s", answer, got, want)
		}
	}
	if got := parseReload(recorded(t, "reload_dialplan"), "Dialplan reloaded."); got != Reloaded {
		t.Errorf("dialplan: got %s", got)
	}
}

func TestEveryReloadStateHasItsOwnSentence(t *testing.T) {
	t.Parallel()
	seen := map[string]ReloadState{}
	for _, state := range []ReloadState{
		Reloaded, ReloadInProgress, ReloadQueued, ReloadNotLoaded, ReloadFailed,
		ReloadUnclear, ReloadHung, ReloadLost, ReloadUnreachable,
	} {
		sentence := state.Sentence()
		if other, taken := seen[sentence]; taken || sentence == "" {
			t.Errorf("%s and %s say the same: %q", state, other, sentence)
		}
		seen[sentence] = state
	}
}

func TestVerboseLinesAreOmitted(t *testing.T) {
	t.Parallel()
	if got := stripVerbose([]byte("one\n\x85 -- verbose\ntwo \xc3\xa4\n")); got != "one\ntwo \u00e4\n" {
		t.Errorf("got %q", got)
	}
}

func FuzzParsersNeitherPanicNorInvent(f *testing.F) {
	for _, name := range []string{"endpoints", "auths", "aors", "contacts", "dialplan", "modules", "version", "endpoints_none"} {
		f.Add(recorded(f, name))
	}
	f.Fuzz(func(t *testing.T, answer string) {
		for _, label := range []string{"Endpoint", "Auth", "Aor", "Identify", "Registration"} {
			ids, err := parseIDs(answer, label)
			for _, id := range ids {
				if err != nil || !strings.Contains(answer, id) || strings.ContainsAny(id, "/\n") {
					t.Errorf("id %q with error %v", id, err)
				}
			}
		}
		steps, _, err := parseExtensions(answer, "synergy-internal")
		for _, s := range steps {
			if err != nil || (s.Priority == IncludePriority) != (s.App == "include" && s.Exten == "") || !strings.Contains(answer, s.AppData) {
				t.Errorf("step %v with error %v", s, err)
			}
		}
		_, _ = parseContacts(answer)
		_, _ = parseModules(answer)
		_, _ = parseVersion(answer)
		_ = parseReload(answer, "Dialplan reloaded.")
		_ = stripVerbose([]byte(answer))
	})
}
