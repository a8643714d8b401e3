package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/config"
)

func TestAnEnvFileIsReadAsPythonDotenvReadsIt(t *testing.T) {
	t.Parallel()
	getenv := func(name string) (string, bool) { return "from-env", name == "HOME" }
	for text, want := range map[string]map[string]string{
		"":                                  {},
		"\n  \n# comment\n":                 {},
		"A=b":                               {"A": "b"},
		"A = b \n":                          {"A": "b"},
		"export A=b\n":                      {"A": "b"},
		"\ufeffA=b\r\nC=d\r\n":              {"A": "b", "C": "d"},
		"A=\nB=\"\"\nC=''\n":                {"A": "", "B": "", "C": ""},
		"A=b # comment\nC=d#e\n":            {"A": "b", "C": "d#e"},
		"A='b # c' # d\n":                   {"A": "b # c"},
		`A='it\'s \n'`:                      {"A": `it's \n`},
		`A="a\"b\nc\\d"`:                    {"A": "a\"b\nc\\d"},
		"'NAME'=v\nexport 'A B' = c\n'A'\n": {"NAME": "v", "A B": "c"},
		"'A#B='=c\n":                        {"A#B=": "c"},
		"A='C:\\'":                          {"A": `C:\`},
		"A='C:\\' # c\nB=1\n":               {"A": `C:\`, "B": "1"},
		"A=\"C:\\\"\nB=1\n":                 {"A": `C:\`, "B": "1"},
		"A='a\\\\'\nB=1":                    {"A": `a\`, "B": "1"},
		"A='two\nlines'\nB=c\n":             {"A": "two\nlines", "B": "c"},
		"A=\"two\nlines\"\nB=c\n":           {"A": "two\nlines", "B": "c"},
		"A=pa$WORD$1x\n":                    {"A": "pa$WORD$1x"},
		"A=${HOME}/x\nB=${A}/y\n":           {"A": "from-env/x", "B": "from-env/x/y"},
		"A=${NONE}x${NONE:-default}\n":      {"A": "xdefault"},
		"FOO\nA=b\n":                        {"A": "b"},
		"A=b\nC=d\n'A'\n":                   {"C": "d"},
		"my-key=1\nA.b=2\n":                 {"my-key": "1", "A.b": "2"},
		"A=postgres://u:p%23@h:1/d?x=y&z\n": {"A": "postgres://u:p%23@h:1/d?x=y&z"},
		"A=b\nA=c\n":                        {"A": "c"},
	} {
		path := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.Dotenv(path, getenv)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: error %v\n%s", text, err, diff)
		}
	}
	if got, err := config.Dotenv(filepath.Join(t.TempDir(), "none"), getenv); len(got) > 0 || err != nil {
		t.Errorf("a missing file gave %v, %v", got, err)
	}
}

func TestALineThatCannotBeReadIsNamedButNotShown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte("A=b\nDATABASE_URL='topsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nothing := func(string) (string, bool) { return "", false }
	_, err := config.Dotenv(path, nothing)
	if err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("error %v", err)
	}
	for _, text := range []string{"A='it\\'s\nB=1\n", "'A'x=b\n", "''=b\n", "A='b'c\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Dotenv(path, nothing); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// A file whose names are not read as they were meant would leave all settings at their defaults: another database, another state folder.
func TestASettingsFileInAnotherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	wide := func(text string) string {
		var b strings.Builder
		for _, c := range []byte(text) {
			b.Write([]byte{c, 0})
		}
		return b.String()
	}
	nothing := func(string) (string, bool) { return "", false }
	for what, text := range map[string]string{
		"UTF-16": wide("A=b\n"), "UTF-16 with its mark": "\xff\xfe" + wide("A=b\n"), "Latin-1": "A=M\xfcller\n", "NUL": "A=b\x00c\n",
	} {
		path := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if values, err := config.Dotenv(path, nothing); err == nil || !strings.Contains(err.Error(), "save it as UTF-8") {
			t.Errorf("%s: %q, error %v", what, values, err)
		}
	}
}
