package render

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAnEncodedValueIsReadBackUnchanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[;\\> \-\[\]#="a-c]{1,12}`)).Draw(t, "value")
		text, err := encode(value)
		if err != nil {
			return // refused: the file is not written
		}
		got, err := parse([]byte("[1000]\ntype=auth\npassword=" + text + "\n"))
		if err != nil {
			t.Fatalf("%q was encoded as %q, which cannot be read: %v", value, text, err)
		}
		want := []section{{"1000", []setting{{"type", "auth"}, {"password", value}}}}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(section{}, setting{})); diff != "" {
			t.Fatalf("%q was encoded as %q and read as something else:\n%s", value, text, diff)
		}
	})
}

// The most important property: whatever the names of users are, the files contain exactly their objects.
func TestNoNameOrSecretAddsOrHidesAnObject(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { checkHostile(t, rapid.String().Draw(t, "name"), rapid.String().Draw(t, "secret")) })
}

func FuzzNames(f *testing.F) {
	for _, name := range []string{"", `"`, `\`, ";--", "\n[evil]\ntype=endpoint\n", "#include x", `Bob" <1>`, "${SHELL}", "a\x00b", "\xff", strings.Repeat("é", 80)} {
		f.Add(name, name)
		f.Add(name, "AAAAAAAAAAAAAAAAAAAAAA")
	}
	f.Fuzz(func(t *testing.T, name, secret string) { checkHostile(t, name, secret) })
}

type failer interface {
	Fatalf(format string, args ...any)
}

// checkHostile renders two users, one with a malicious name and secret. Either an error is returned, or the files contain exactly the objects of both.
func checkHostile(t failer, name, secret string) {
	users := []pbx.User{
		{Name: name, Extension: pbx.Extension{Number: 1000, Secret: pbx.SecretFrom(secret)}},
		{Name: "Anna", Extension: pbx.Extension{Number: 1001, Secret: pbx.SecretFrom("good")}},
	}
	for _, options := range []Options{{}, {DigestRealm: "asterisk"}} {
		checkOptions(t, options, users, name, secret)
	}
}

func checkOptions(t failer, options Options, users []pbx.User, name, secret string) {
	files, _, err := options.Config(users)
	if err != nil {
		if _, encodeErr := encode(secret); encodeErr == nil {
			t.Fatalf("name %q was refused: %v", name, err)
		}
		return
	}
	sections, err := parse(files[0].Content)
	if err != nil {
		t.Fatalf("name %q: %v", name, err)
	}
	var got []string
	for _, s := range sections {
		got = append(got, s.name+" "+s.settings[0].value)
	}
	if want := "[1000 endpoint 1000 auth 1000 aor 1001 endpoint 1001 auth 1001 aor]"; fmt.Sprint(got) != want {
		t.Fatalf("name %q: objects %v, want %s", name, got, want)
	}
	safe := pbx.CallerName(name)
	if len(safe) > 72 || !utf8.ValidString(safe) || strings.ContainsAny(safe, "\"\\;<>[]{}$=%|^`~\n\r\t") || strings.TrimSpace(safe) != safe {
		t.Fatalf("name %q became the caller name %q", name, safe)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[1000]\ntype=auth\npassword=a\\;b ; comment\n"))
	f.Add([]byte("[synergy-internal]\nexten => 1000,1,Dial(PJSIP/1000,25)\n same => n,Hangup()\n"))
	f.Add([]byte(";--\n"))
	f.Fuzz(func(_ *testing.T, file []byte) {
		_, _ = parse(file) // must not panic
		_, _, _ = parseDialplan(pbx.DialplanPath, file)
		_, _, _ = parseDialplan(pbx.CallflowPath, file)
	})
}

func TestLinesThatAsteriskWouldDropOrExpandAreRefused(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"[1000", "[]", "[a](!)", "type=endpoint", "[a]\nno sign", "[a]\n#include x", "[a]\nx+=y", "[a]\n;-- x", "[a]\nx=\x00",
		"[a]\nx=" + strings.Repeat("y", maxLine),
	} {
		if got, err := parse([]byte(file)); err == nil {
			t.Errorf("%.20q was read as %v, want an error", file, got)
		}
	}
}

func TestOrdinaryNamesReachThePhoneUnchanged(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Anna Example":          "Anna Example",
		"José O'Brien (Sales)":  "José O'Brien (Sales)",
		"Smith, John":           "Smith, John",
		"王小明":                   "王小明",
		`Bob "Bobby" Tables;--`: "Bob Bobby Tables --",
		"🙂 Smile":               "Smile",
		"🙂":                     "",
	} {
		if got := pbx.CallerName(name); got != want {
			t.Errorf("pbx.CallerName(%q) = %q, want %q", name, got, want)
		}
	}
}
