package pbx_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestANewUserNeedsANameAndAnAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, email string
		faulty      []string
	}{
		{"Anna Example", "anna@example.com", nil},
		{"  Anna  ", "  anna@example.com ", nil},
		{"王小明 👩‍💻 O'Brien, \"Bob\"; --", "a.b+c_d-e'f@sub.example-host.com", nil},
		{strings.Repeat("é", 255), "a@b.co", nil},
		{"Anna", "root@localhost", nil},
		{"山田\u3000太郎", "a@b.co", nil},
		{"\u3000Jean\u00a0Luc\u202fP\u2009Q\u00a0", "a@b.co", nil},
		{"An\u200bna", "a@b.co", nil},
		{"An\u202ena", "a@b.co", nil},
		{"नेत्र\u200dा", "a@b.co", nil},
		{"7", "a@b.co", nil},
		{"", "", []string{"name", "email"}},
		{"\u3000\u00a0", "a@b.co", []string{"name"}},
		{"\u200d", "a@b.co", []string{"name"}},
		{"\u200c \u00a0\u200d", "a@b.co", []string{"name"}},
		{"\u0301", "a@b.co", []string{"name"}},
		{"\u3164", "a@b.co", []string{"name"}},
		{"\u2800", "a@b.co", []string{"name"}},
		{"An\u2029na", "a@b.co", []string{"name"}},
		{"An\u0085na", "a@b.co", []string{"name"}},
		{"  ", "x", []string{"name", "email"}},
		{strings.Repeat("é", 256), "a@b.co", []string{"name"}},
		{"An\nna", "a@b.co", []string{"name"}},
		{"An\x00na", "a@b.co", []string{"name"}},
		{"An\u2028na", "a@b.co", []string{"name"}},
		{"An\xffna", "a@b.co", []string{"name"}},
		{"Anna", "anna", []string{"email"}},
		{"Anna", "anna@", []string{"email"}},
		{"Anna", "@example.com", []string{"email"}},
		{"Anna", "a b@example.com", []string{"email"}},
		{"Anna", "anna@example..com", []string{"email"}},
		{"Anna", "anna@-example.com", []string{"email"}},
		{"Anna", "anna@exa_mple.com", []string{"email"}},
		{"Anna", "anna@[127.0.0.1]", []string{"email"}},
		{"Anna", "Anna <anna@example.com>", []string{"email"}},
		{"Anna", "\"a b\"@example.com", []string{"email"}},
		{"Anna", "anna@example.com\nx", []string{"email"}},
		{"Anna", "anna@münchen.example", []string{"email"}},
		{"Anna", strings.Repeat("a", 65) + "@example.com", []string{"email"}},
		{"Anna", "a@" + strings.Repeat("b.", 127) + "c", []string{"email"}},
	} {
		got, err := pbx.NewUser{Name: tc.name, Email: tc.email}.Clean()
		var fields []string
		if e, ok := errors.AsType[*pbx.Error](err); ok {
			for _, f := range e.Fields {
				fields = append(fields, f.Field)
				if f.Message == "" {
					t.Errorf("%q, %q: no message for %s", tc.name, tc.email, f.Field)
				}
			}
		}
		if diff := cmp.Diff(tc.faulty, fields); diff != "" {
			t.Errorf("%q, %q: faulty fields (-want +got):\n%s", tc.name, tc.email, diff)
		}
		if err == nil && (got.Name != pbx.Normalize(tc.name) || got.Email != strings.TrimSpace(tc.email)) {
			t.Errorf("%q, %q became %+v", tc.name, tc.email, got)
		}
	}
}

func TestAnAccountNeedsWhatAUserNeedsAndARole(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		account pbx.NewAccount
		faulty  string
	}{
		{pbx.NewAccount{Name: " Anna ", Email: " anna@example.com ", Role: pbx.Owner}, "[]"},
		{pbx.NewAccount{Name: "", Email: "x", Role: "OWNER"}, "[name email role]"},
		{pbx.NewAccount{Name: "Anna", Email: "anna@example.com"}, "[role]"},
	} {
		got, err := tc.account.Clean()
		if faulty := fieldNames(err); faulty != tc.faulty || err == nil && got.Name != "Anna" {
			t.Errorf("%+v: faulty %s, want %s", tc.account, faulty, tc.faulty)
		}
	}
}

func TestATokenIsNarrowedByScopesAndNeverWidened(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		token  pbx.NewToken
		faulty string
	}{
		{pbx.NewToken{Name: "ci", Role: pbx.Admin}, "[]"},
		{pbx.NewToken{Name: "ci", Role: pbx.Admin, Scopes: []pbx.Permission{pbx.ApplyRun, pbx.UsersRead, pbx.ApplyRun}, Lives: pbx.MaxTokenLife}, "[]"},
		{pbx.NewToken{Name: " ", Role: "root", Scopes: []pbx.Permission{pbx.UsersRead}}, "[name role]"},
		{pbx.NewToken{Name: "ci", Role: pbx.Auditor, Scopes: []pbx.Permission{pbx.UsersWrite}}, "[scopes]"},
		{pbx.NewToken{Name: "ci", Role: pbx.Auditor, Scopes: []pbx.Permission{pbx.Public}}, "[scopes]"},
		{pbx.NewToken{Name: "ci", Role: pbx.Auditor, Lives: -1}, "[expires]"},
		{pbx.NewToken{Name: "ci", Role: pbx.Auditor, Lives: pbx.MaxTokenLife + 1}, "[expires]"},
	} {
		got, err := tc.token.Clean()
		if faulty := fieldNames(err); faulty != tc.faulty {
			t.Errorf("%+v: faulty %s, want %s", tc.token, faulty, tc.faulty)
		}
		if err == nil && tc.token.Scopes != nil && fmt.Sprint(got.Scopes) != "[users:read apply:run]" {
			t.Errorf("scopes %v", got.Scopes)
		}
	}
}

func fieldNames(err error) string {
	names := []string{}
	for _, f := range pbx.FieldsOf(err) {
		names = append(names, f.Field)
	}
	return fmt.Sprint(names)
}

func TestASecretIs22CharactersAndNeverTheSame(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		s := pbx.NewSecret().Reveal()
		if len(s) != 22 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || seen[s] {
			t.Fatalf("secret %q", s)
		}
		seen[s] = true
	}
}

func TestASecretCannotBePrintedByAccident(t *testing.T) {
	t.Parallel()
	u := pbx.User{Name: "Anna", Extension: pbx.Extension{Secret: pbx.SecretFrom("canary")}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+"\n", u, u.Extension.Secret)
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "user", u, "secret", u.Extension.Secret, "pointer", &u.Extension.Secret)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "user", u, "secret", u.Extension.Secret)
	_ = json.NewEncoder(&out).Encode(u)
	fmt.Fprintln(&out, fmt.Errorf("error with %v", u), errors.New(u.Extension.Secret.String()))
	if strings.Contains(out.String(), "canary") {
		t.Errorf("the secret was printed:\n%s", out.String())
	}
	if u.Extension.Secret.Reveal() != "canary" {
		t.Error("Reveal does not give the secret")
	}
}

func TestTheKindOfAnErrorSurvivesWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("outer: %w", &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeEmailTaken, Msg: "taken", Err: io.EOF})
	if pbx.KindOf(err) != pbx.KindConflict || pbx.CodeOf(err) != pbx.CodeEmailTaken || !errors.Is(err, io.EOF) {
		t.Errorf("kind %v, code %s", pbx.KindOf(err), pbx.CodeOf(err))
	}
	if pbx.KindOf(io.EOF) != pbx.KindInternal || pbx.CodeOf(nil) != pbx.CodeInternal {
		t.Error("an error that is not ours must be internal")
	}
}

func TestAnIDIsAUUIDInWhateverCase(t *testing.T) {
	t.Parallel()
	const stored pbx.UserID = "0b9f3d1e-5c1a-4f0e-9d7c-2a6b8c4d0e1f"
	for _, tc := range []struct {
		text pbx.UserID
		ok   bool
	}{
		{stored, true},
		{"0B9F3D1E-5C1A-4F0E-9D7C-2A6B8C4D0E1F", true},
		{"{0b9f3d1e-5c1a-4f0e-9d7c-2a6b8c4d0e1f}", false},
		{"urn:uuid:0b9f3d1e-5c1a-4f0e-9d7c-2a6b8c4d0e1f", false},
		{"0b9f3d1e5c1a4f0e9d7c2a6b8c4d0e1f", false},
		{"0b9f3d1e-5c1a-4f0e-9d7c-2a6b8c4d0e1g", false},
		{stored + "\n", false},
		{"", false},
	} {
		id, ok := pbx.CanonicalID(tc.text)
		if ok != tc.ok || ok && id != stored || !ok && id != tc.text {
			t.Errorf("%q: %q, %v", tc.text, id, ok)
		}
	}
}

func TestAnExtensionNumberIsReadInTheOneFormInWhichItIsWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pbx.Number{"10": 10, "999": 999, "1000": 1000, "1999": 1999, "250000": 250_000, "999999": 999_999} {
		if n, ok := pbx.ParseNumber(text); !ok || n != want {
			t.Errorf("%q: %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "0", "9", "-10", "010", "00", "1000000", "01000", "+1000", "1_000", "1000 ", "١٠٠٠", "1000.0", "18446744073709552616"} {
		if n, ok := pbx.ParseNumber(text); ok {
			t.Errorf("%q is taken for %d", text, n)
		}
	}
}

func TestAPlanIsSummarisedByKind(t *testing.T) {
	t.Parallel()
	group := func(kind pbx.ChangeKind, key string) pbx.Change {
		return pbx.Change{Kind: kind, Owner: pbx.Thing{Kind: pbx.KindRingGroup, Key: key}}
	}
	for want, changes := range map[string][]pbx.Change{
		"":                     {{Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindLibrary, Key: "1"}}},
		"1 ring group changed": {group(pbx.Changed, "g1")},
		"1 user added, 2 ring groups removed, 2 users removed": {
			{Kind: pbx.Removed, Number: 1000},
			{Kind: pbx.Removed, Number: 1001, Owner: pbx.Thing{Kind: pbx.KindUser, Key: "1001"}},
			{Kind: pbx.Added, Number: 1002},
			group(pbx.Removed, "g1"), group(pbx.Removed, "g2"),
		},
	} {
		if got := (pbx.Plan{Changes: changes}).Summary(); got != want {
			t.Errorf("%v is summarised as %q, want %q", changes, got, want)
		}
	}
}
