package cli_test

import (
	"regexp"
	"strings"
	"testing"
)

func TestEveryCommandIsExplainedIn25LinesWithTheSettingsApart(t *testing.T) {
	t.Parallel()
	s := settings{}
	commands := regexp.MustCompile(`(?m)^  ([a-z-]+(?: [a-z-]+)?)(?: <| \[|  )`).FindAllStringSubmatch(s.must(t, "--help"), -1)
	if len(commands) < 30 {
		t.Fatalf("%d commands are listed", len(commands))
	}
	for _, command := range commands {
		words := strings.Fields(command[1])
		help := s.must(t, append(words, "--help")...)
		if n := strings.Count(help, "\n"); n > 25 || strings.Contains(help, "--listen-addr") || !strings.Contains(help, "help settings") {
			t.Errorf("%s: the help has %d lines\n%s", command[1], n, help)
		}
		if other := s.must(t, append([]string{"help"}, words...)...); other != help {
			t.Errorf("help %s differs:\n%s", command[1], other)
		}
	}
	all := s.must(t, "help", "settings")
	for _, name := range []string{"DATABASE_URL, --database-url", "KEEP_REVISIONS, --keep-revisions", "OIDC_ACR", "AMI_SECRET_FILE"} {
		if !strings.Contains(all, name) {
			t.Errorf("help settings does not list %s", name)
		}
	}
}

func TestTheVersionIsPrintedHoweverItIsAskedFor(t *testing.T) {
	t.Parallel()
	s := settings{}
	want := s.must(t, "version")
	if got := s.must(t, "--version"); got != want || !strings.HasPrefix(got, "pbxportal ") {
		t.Errorf("--version prints %q, version %q", got, want)
	}
	if help := s.must(t, "help"); help != s.must(t, "--help") || help != s.must(t) || !strings.Contains(help, "--version") {
		t.Errorf("help prints\n%s", help)
	}
	if code, _, errs := s.run(t, "help", "nothing"); code != 2 || !strings.Contains(errs, "--help") {
		t.Errorf("help about what is not there: exit code %d\n%s", code, errs)
	}
}

func TestAMistakeInACommandLineIsAnsweredWithTheUsageOfThatCommand(t *testing.T) {
	t.Parallel()
	s := settings{}
	for line, want := range map[string][]string{
		"user add":        {`expected "<name>"`, "usage: pbxportal user add <name> [<email>]", "pbxportal user add --help describes"},
		"user":            {"usage: pbxportal user <command>", "pbxportal user --help describes"},
		"user add A --no": {"unknown flag --no", "pbxportal user add --help describes"},
		"nothing":         {"pbxportal --help lists the commands and flags"},
	} {
		code, _, errs := s.run(t, strings.Fields(line)...)
		for _, part := range want {
			if code != 2 || !strings.Contains(errs, part) {
				t.Errorf("%s: exit code %d, and %q is missing in\n%s", line, code, part, errs)
			}
		}
	}
}
