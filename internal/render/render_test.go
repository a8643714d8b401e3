package render_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

func user(number pbx.Number, name, secret string) pbx.User {
	return pbx.User{
		ID: "u", TenantID: pbx.DefaultTenant, Name: name, Email: fmt.Sprintf("%d@example.com", number),
		Extension: pbx.Extension{ID: "e", Number: number, Secret: pbx.SecretFrom(secret)},
	}
}

func TestGeneratedFilesEqualTheGoldenFiles(t *testing.T) {
	t.Parallel()
	for name, users := range map[string][]pbx.User{
		"no_users": nil,
		"two_users": {
			user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"),
			user(1001, "José O'Brien (Sales)", "-_bbbbbbbbbbbbbbbbbbbb"),
		},
		"digests": {
			user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"),
			user(1001, "Semicolons", `;a;;b\;c;--d`),
		},
		"hostile_names": {
			user(1000, `Bob" <1999> ;-- x`, "secret"),
			user(1001, "[evil](!) #exec rm $(id) ${SHELL}", "secret"),
			user(1002, "🙂", "secret"),
			user(1003, "山田\u3000太郎", "secret"),
			user(1004, "Jean\u00a0Luc \u202f\u2009 P\u200dQ", "secret"),
			user(1999, "Ünï çødé Łódź 王小明 "+"very long name that Asterisk would cut in the middle of a character é", "secret"),
		},
		"secrets_of_an_adopted_database": {
			user(1000, "Semicolons", `;a;;b\;c;--d`),
			user(1001, "Leading greater-than", ">x"),
			user(1002, "Signs", `p[a]s#s=w"o'r$d,{}\`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := render.Options{}
			if name == "digests" {
				options.DigestRealm = "asterisk"
			}
			files, _, err := options.Config(users)
			if err != nil {
				t.Fatal(err)
			}
			archive := &txtar.Archive{}
			for _, f := range files {
				archive.Files = append(archive.Files, txtar.File{Name: f.Path, Data: f.Content})
			}
			golden := filepath.Join("testdata", name+".txtar")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(txtar.Format(archive))); diff != "" {
				t.Errorf("the files changed (-want +got); if that is intended, run make golden:\n%s", diff)
			}
		})
	}
}

// Installations depend on these lines, in this order.
func TestEachExtensionHasTheLinesThatCallersRelyOn(t *testing.T) {
	t.Parallel()
	files, _, err := render.Config([]pbx.User{user(1000, "Anna", "s3cret")})
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range []string{
		"\n[1000]\ntype=endpoint\ncontext=synergy-internal\ndisallow=all\nallow=ulaw,alaw\nauth=1000\naors=1000\n",
		"\n[1000]\ntype=auth\nauth_type=userpass\nusername=1000\npassword=s3cret\n",
		"\n[1000]\ntype=aor\nmax_contacts=1\n",
	} {
		if !bytes.Contains(files[0].Content, []byte(block)) {
			t.Errorf("%s lacks:\n%s", files[0].Path, block)
		}
	}
	if block := "[synergy-internal]\nexten => 1000,1,Dial(PJSIP/1000,25)\n" +
		` same => n,ExecIf($["${DIALSTATUS}"="NOANSWER"]?Hangup(19))` + "\n" +
		` same => n,ExecIf($["${DIALSTATUS}"="CHANUNAVAIL"]?Hangup(20))` + "\n same => n,Hangup()\n"; !bytes.Contains(files[1].Content, []byte(block)) {
		t.Errorf("%s lacks:\n%s", files[1].Path, block)
	}
}

func TestTheSameUsersResultInTheSameBytes(t *testing.T) {
	t.Parallel()
	users := thousand()
	first, _, err := render.Config(users)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := render.Config(users)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
}

func TestFilesRenderedIncrementallyEqualThoseRenderedAnew(t *testing.T) {
	t.Parallel()
	choices := []render.Options{{}, {DigestRealm: "asterisk"}, {DigestRealm: "example.com"}}
	rapid.Check(t, func(t *rapid.T) {
		var before render.Rendered
		users := map[pbx.Number]pbx.User{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(0, 4).Draw(t, "changes") { // few numbers and names, so that many pieces are reused
				n := pbx.Number(rapid.IntRange(1000, 1005).Draw(t, "number"))
				u := user(n, rapid.SampledFrom([]string{"Anna", "Bob", "王小明", "\n[evil]"}).Draw(t, "name"), rapid.SampledFrom([]string{"one", "two;", "\\"}).Draw(t, "secret"))
				if users[n] = u; rapid.Bool().Draw(t, "deleted") {
					delete(users, n)
				}
			}
			ordered := slices.SortedFunc(maps.Values(users), func(a, b pbx.User) int { return int(a.Extension.Number - b.Extension.Number) })
			options := rapid.SampledFrom(choices).Draw(t, "options")
			next, err := options.Next(before, ordered)
			files, inventory, freshErr := options.Config(ordered)
			if err != nil || freshErr != nil {
				t.Fatalf("error %v, made anew %v", err, freshErr)
			}
			if diff := cmp.Diff(files, next.Files); diff != "" {
				t.Fatal(diff)
			}
			read, err := render.Read(next.Files)
			if diff := cmp.Diff(inventory.Live(), next.Inventory.Live()) + cmp.Diff(inventory.Live(), read.Live()); diff != "" || err != nil {
				t.Fatalf("error %v\n%s", err, diff)
			}
			if changes := append(render.Changes(inventory, next.Inventory), render.Changes(read, inventory)...); len(changes) > 0 {
				t.Fatalf("another inventory: %v", changes)
			}
			before = next
		}
	})
}

func TestTheDialplanIsInDescendingOrderSoThatAsteriskLoadsItInLinearTime(t *testing.T) {
	t.Parallel()
	_, inventory, err := render.Config(thousand())
	if err != nil {
		t.Fatal(err)
	}
	live := inventory.Live()
	for i := 4; i < len(live.Steps); i += 4 {
		if live.Steps[i].Exten >= live.Steps[i-4].Exten {
			t.Fatalf("%s is after %s", live.Steps[i].Exten, live.Steps[i-2].Exten)
		}
	}
}

func TestASecretThatAsteriskWouldReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", " x", "x ", "a\nb", "a\rb", "a\x00b", "a\x7fb", "\xff", string(bytes.Repeat([]byte("x"), 1025))} {
		_, _, err := render.Config([]pbx.User{user(1000, "Anna", secret)})
		if pbx.CodeOf(err) != pbx.CodeRefused {
			t.Errorf("secret %q: error %v, want code %s", secret, err, pbx.CodeRefused)
		}
	}
}

func thousand() []pbx.User {
	users := make([]pbx.User, 0, pbx.PoolSize)
	for n := pbx.FirstNumber; n <= pbx.LastNumber; n++ {
		users = append(users, user(n, fmt.Sprintf("User %d", n), "AAAAAAAAAAAAAAAAAAAAAA"))
	}
	return users
}

func BenchmarkConfigOf1000Users(b *testing.B) {
	users := thousand()
	b.Run("anew", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := render.Config(users); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one changed", func(b *testing.B) {
		before, err := render.Options{}.Next(render.Rendered{}, users)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; b.Loop(); i++ {
			users[500].Name = fmt.Sprintf("User %d", i)
			if before, err = (render.Options{}).Next(before, users); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestTheInventoryReadFromFilesEqualsTheOneTheyWereWrittenFrom(t *testing.T) {
	t.Parallel()
	files, meant, err := render.Config(thousand())
	if err != nil {
		t.Fatal(err)
	}
	read, err := render.Read(files)
	if diff := cmp.Diff(meant.Live(), read.Live()); diff != "" || err != nil || len(read.Numbers()) != pbx.PoolSize {
		t.Errorf("error %v\n%s", err, diff)
	}
	if changes := render.Changes(read, meant); len(changes) != 0 {
		t.Errorf("changes %v", changes)
	}
}

func TestFilesWithDigestsHoldNoPassword(t *testing.T) {
	t.Parallel()
	users := thousand()
	files, _, err := render.Options{DigestRealm: "asterisk"}.Config(users)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		if bytes.Contains(files[0].Content, []byte(u.Extension.Secret.Reveal())) {
			t.Errorf("%s holds the secret of %d", files[0].Path, u.Extension.Number)
		}
	}
	if _, _, err := (render.Options{DigestRealm: "asterisk"}).Config([]pbx.User{user(1000, "Anna", "")}); pbx.CodeOf(err) != pbx.CodeRefused {
		t.Errorf("an empty secret: error %v", err)
	}
}

func TestAChangeOfSecretModeIsAChangeOfSettingsAndDoesNotHideANewSecret(t *testing.T) {
	t.Parallel()
	password, digest, elsewhere := render.Options{}, render.Options{DigestRealm: "asterisk"}, render.Options{DigestRealm: "example.com"}
	for _, tc := range []struct {
		name     string
		from, to render.Options
		secret   string // afterwards; before, it is "old"
		want     string
	}{
		{"nothing", digest, digest, "old", "[]"},
		{"the mode", password, digest, "old", "[[settings]]"},
		{"the mode, back", digest, password, "old", "[[settings]]"},
		{"the secret", digest, digest, "new", "[[secret]]"},
		{"both", password, digest, "new", "[[secret settings]]"},
		{"both, back", digest, password, "new", "[[secret settings]]"},
		{"the realm, which makes the secrets incomparable", digest, elsewhere, "old", "[[secret settings]]"},
	} {
		before, from, err := tc.from.Config([]pbx.User{user(1000, "Anna", "old")})
		if err != nil {
			t.Fatal(err)
		}
		after, to, err := tc.to.Config([]pbx.User{user(1000, "Anna", tc.secret)})
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for _, c := range render.Changes(from, to) {
			got = append(got, c.What)
			if c.Reregister != slices.Contains(c.What, "secret") {
				t.Errorf("%s: register again is %v", tc.name, c.Reregister)
			}
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
		for _, d := range render.Diff("a", before, "b", after) {
			if regexp.MustCompile(`[0-9a-f]{32}|=(old|new)`).MatchString(d.Text) {
				t.Errorf("%s: the diff shows a secret or digest:\n%s", tc.name, d.Text)
			}
			if d.Path == pbx.PJSIPPath && tc.name == "the secret" && !strings.Contains(d.Text, "+password_digest=SHA-256:[hidden, new]") {
				t.Errorf("%s: the diff does not show a new secret:\n%s", tc.name, d.Text)
			}
		}
	}
}

// A dialplan can cause costs, and start programs. Whatever the names of users are, ours uses three applications, dials only extensions of users by
// their full number, and contains no patterns.
func TestTheDialplanDialsOnlyThePortalsOwnExtensions(t *testing.T) {
	t.Parallel()
	var users []pbx.User
	for n := pbx.FirstNumber; n <= pbx.LastNumber; n++ {
		users = append(users, user(n, `_X.,1,System(id) ${SHELL(id)} #exec &PJSIP/1900@out`, "AAAAAAAAAAAAAAAAAAAAAA"))
	}
	files, _, err := render.Options{}.Config(users)
	if err != nil {
		t.Fatal(err)
	}
	allowed := regexp.MustCompile(`^(;.*|\[synergy-internal\]|exten => (1\d{3}),1,Dial\(PJSIP/(1\d{3}),25\)|` +
		` same => n,ExecIf\(\$\["\$\{DIALSTATUS\}"="(?:NOANSWER|CHANUNAVAIL)"\]\?Hangup\((?:19|20)\)\)| same => n,Hangup\(\)|)$`)
	context := 0
	for _, f := range files {
		for line := range strings.Lines(string(f.Content)) {
			line = strings.TrimRight(line, "\n")
			switch found := allowed.FindStringSubmatch(line); {
			case f.Path == pbx.DialplanPath && (found == nil || found[2] != found[3]):
				t.Errorf("%s has the line %q", f.Path, line)
			case strings.HasPrefix(line, "context="):
				if context++; line != "context=synergy-internal" {
					t.Errorf("%s has the line %q", f.Path, line)
				}
			case strings.Contains(line, "System(") && !strings.HasPrefix(line, ";") && !strings.HasPrefix(line, "callerid="):
				t.Errorf("%s has the line %q", f.Path, line)
			}
		}
	}
	if context != len(users) {
		t.Errorf("%d endpoints have a context, of %d", context, len(users))
	}
}

func TestConfiguredTimeoutsAreWrittenAndShownInADiff(t *testing.T) {
	t.Parallel()
	users := []pbx.User{user(1000, "Anna", "s3cret")}
	before, _, err := render.Config(users)
	if err != nil {
		t.Fatal(err)
	}
	after, inventory, err := render.Options{RingTimeout: 40, RTPTimeout: -1, RTPTimeoutHold: 90}.Config(users)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\nrtp_timeout=0\n", "\nrtp_timeout_hold=90\n", "exten => 1000,1,Dial(PJSIP/1000,40)\n"} {
		if !strings.Contains(string(after[0].Content)+string(after[1].Content), line) {
			t.Errorf("the files lack %q", line)
		}
	}
	text := ""
	for _, d := range render.Diff("a", before, "b", after) {
		text += d.Text
	}
	for _, line := range []string{"-exten => 1000,1,Dial(PJSIP/1000,25)\n", "+exten => 1000,1,Dial(PJSIP/1000,40)\n", "-rtp_timeout=120\n", "+rtp_timeout=0\n"} {
		if !strings.Contains(text, line) || strings.Contains(text, "not written by the portal") {
			t.Errorf("the diff lacks %q, or hides a line of ours:\n%s", line, text)
		}
	}
	for _, step := range inventory.Live().Steps {
		if shown := render.OurStep(step); strings.Contains(shown, "not as the portal writes it") {
			t.Errorf("%v is shown as %s", step, shown)
		}
	}
}

// testdata/older has the golden files of a version whose dialplan did not return the cause of a failed call.
func TestFilesOfAnOlderVersionAreReadAndUpdated(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]render.Options{"two_users": {}, "digests": {DigestRealm: "asterisk"}} {
		old, err := txtar.ParseFile(filepath.Join("testdata", "older", name+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		var before []pbx.File
		for _, f := range old.Files {
			before = append(before, pbx.File{Path: f.Name, Content: f.Data})
		}
		from, err := render.Read(before)
		if err != nil {
			t.Fatal(err)
		}
		users := []pbx.User{user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"), user(1001, "José O'Brien (Sales)", "-_bbbbbbbbbbbbbbbbbbbb")}
		if name == "digests" {
			users[1] = user(1001, "Semicolons", `;a;;b\;c;--d`)
		}
		after, to, err := options.Config(users)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range render.Changes(from, to) {
			if fmt.Sprint(c.What) != "[settings]" || c.Reregister {
				t.Errorf("%s: %d changes in %v, register again is %v; want its settings alone", name, c.Number, c.What, c.Reregister)
			}
		}
		for _, d := range render.Diff("a", before, "b", after) {
			if d.Text == "" || strings.Contains(d.Text, "not written by the portal") {
				t.Errorf("%s: the diff of %s is\n%s", name, d.Path, d.Text)
			}
		}
	}
}

func TestOtherDigestAlgorithmsAreNotReportedAsANewSecret(t *testing.T) {
	t.Parallel()
	options := func(algorithms string) render.Options {
		return render.Options{DigestRealm: "asterisk", DigestAlgorithms: algorithms}
	}
	for _, tc := range []struct {
		from, to, secret, want string
	}{
		{"SHA-256,MD5", "MD5,SHA-256", "old", "[settings]"},
		{"MD5,SHA-256", "MD5", "old", "[settings]"},
		{"MD5", "SHA-256,MD5", "old", "[settings]"},
		{"MD5,SHA-256", "MD5", "new", "[secret settings]"},
		{"MD5", "SHA-256", "old", "[secret settings]"}, // without a common algorithm the secrets are incomparable
	} {
		_, from, err := options(tc.from).Config([]pbx.User{user(1000, "Anna", "old")})
		if err != nil {
			t.Fatal(err)
		}
		_, to, err := options(tc.to).Config([]pbx.User{user(1000, "Anna", tc.secret)})
		if err != nil {
			t.Fatal(err)
		}
		if changes := render.Changes(from, to); len(changes) != 1 || fmt.Sprint(changes[0].What) != tc.want {
			t.Errorf("%+v: %+v", tc, changes)
		}
	}
}
