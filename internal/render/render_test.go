package render_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
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
		ID: pbx.UserID(fmt.Sprint("u", number)), TenantID: pbx.DefaultTenant, Name: name, Email: fmt.Sprintf("%d@example.com", number),
		Extension: pbx.Extension{ID: "e", Number: number, Secret: pbx.SecretFrom(secret)},
	}
}

func disabled(u pbx.User) pbx.User {
	u.Disabled = true
	return u
}

// withPhones returns a user with further phones, whose secrets are their suffixes.
func withPhones(u pbx.User, suffixes ...int) pbx.User {
	u.Devices = nil
	for _, suffix := range suffixes {
		u.Devices = append(u.Devices, pbx.Device{Suffix: suffix, Name: "Phone", Secret: pbx.SecretFrom(fmt.Sprint("secret-", suffix))})
	}
	return u
}

// ringGroup returns a ring group with this short number, which is also in its id.
func ringGroup(short int, number string, g pbx.RingGroup) pbx.Item {
	g.Number = number
	return pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(fmt.Sprint("g", short)), TenantID: pbx.DefaultTenant, Kind: pbx.KindRingGroup, Short: short, Name: "Group"}, Body: &g}
}

// groups returns a model with ring groups of every strategy, with every kind of fallback, and with a disabled member.
func settled() pbx.Model {
	m := groups()
	m.Items = nil
	m.Users[0].Calls = pbx.CallSettings{
		RingSeconds: 40, CallLimit: 2, WhenUnanswered: pbx.Destination{Kind: pbx.KindUser, ID: string(m.Users[1].ID)}, CallerName: "Front; desk", CallerNumber: "+4930123",
		PickupGroups: 1<<0 | 1<<63, Language: "pt_BR",
	}
	m.Users[1].Calls = pbx.CallSettings{WhenUnreachable: pbx.Destination{Kind: pbx.Hangup}, Record: pbx.RecordAlways, DialClass: "local"}
	return m
}

func groups() pbx.Model {
	users := []pbx.User{user(99, "Short", "CCCCCCCCCCCCCCCCCCCCCC"), user(1000, "Anna", "AAAAAAAAAAAAAAAAAAAAAA"), disabled(user(1001, "Bernd", "BBBBBBBBBBBBBBBBBBBBBB"))}
	all := []pbx.UserID{"u99", "u1000", "u1001"}
	return pbx.Model{Users: users, Items: []pbx.Item{
		ringGroup(1, "600", pbx.RingGroup{Strategy: pbx.RingAll, Members: all, Seconds: 20, SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup}}),
		ringGroup(2, "601", pbx.RingGroup{Strategy: pbx.RingHunt, Members: all[1:], Seconds: 5, Fallback: pbx.Destination{Kind: pbx.KindUser, ID: "u1000"}}),
		ringGroup(10, "2000", pbx.RingGroup{Strategy: pbx.RingMemory, Members: all[:1], Seconds: 120, SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.KindRingGroup, ID: "g1"}}),
	}}
}

func TestGeneratedFilesEqualTheGoldenFiles(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]pbx.Model{
		"no_users": {},
		"two_users": {Users: []pbx.User{
			user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"),
			user(1001, "José O'Brien (Sales)", "-_bbbbbbbbbbbbbbbbbbbb"),
		}},
		"digests": {Users: []pbx.User{
			user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"),
			user(1001, "Semicolons", `;a;;b\;c;--d`),
		}},
		"hostile_names": {Users: []pbx.User{
			user(1000, `Bob" <1999> ;-- x`, "secret"),
			user(1001, "[evil](!) #exec rm $(id) ${SHELL}", "secret"),
			user(1002, "🙂", "secret"),
			user(1003, "山田\u3000太郎", "secret"),
			user(1004, "Jean\u00a0Luc \u202f\u2009 P\u200dQ", "secret"),
			user(1999, "Ünï çødé Łódź 王小明 "+"very long name that Asterisk would cut in the middle of a character é", "secret"),
		}},
		"secrets_of_an_adopted_database": {Users: []pbx.User{
			user(1000, "Semicolons", `;a;;b\;c;--d`),
			user(1001, "Leading greater-than", ">x"),
			user(1002, "Signs", `p[a]s#s=w"o'r$d,{}\`),
		}},
		"a_disabled_user": {Users: []pbx.User{user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"), disabled(user(1001, "Bernd", "BBBBBBBBBBBBBBBBBBBBBB"))}},
		"ring_groups":     groups(),
		"call_settings":   settled(),
		"feature_codes":   {Users: []pbx.User{user(99, "Short", "CCCCCCCCCCCCCCCCCCCCCC"), user(1000, "Anna", "AAAAAAAAAAAAAAAAAAAAAA"), user(1001, "Bernd", "BBBBBBBBBBBBBBBBBBBBBB")}},
		"a_user_with_two_phones": {Users: []pbx.User{
			withPhones(user(1000, "Anna Example", "AAAAAAAAAAAAAAAAAAAAAA"), 2), user(1001, "Bernd", "BBBBBBBBBBBBBBBBBBBBBB"),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := render.Options{}
			if name == "digests" {
				options.DigestRealm = "asterisk"
			}
			options.FeatureCodes = name == "feature_codes"
			rendered, err := options.Next(render.Rendered{}, model)
			if err != nil {
				t.Fatal(err)
			}
			archive := &txtar.Archive{}
			for _, f := range rendered.Files {
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
	choices := []render.Options{{}, {FeatureCodes: true}, {DigestRealm: "asterisk", RingTimeout: 30}, {DigestRealm: "example.com"}}
	rapid.Check(t, func(t *rapid.T) {
		var before render.Rendered
		users := map[pbx.Number]pbx.User{}
		calls, levels := map[pbx.Number]pbx.CallSettings{}, [2]pbx.CallSettings{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(0, 4).Draw(t, "changes") { // few numbers and names, so that many pieces are reused
				n := pbx.Number(rapid.IntRange(1000, 1005).Draw(t, "number"))
				u := user(n, rapid.SampledFrom([]string{"Anna", "Bob", "王小明", "\n[evil]"}).Draw(t, "name"), rapid.SampledFrom([]string{"one", "two;", "\\"}).Draw(t, "secret"))
				u.Disabled = rapid.IntRange(0, 3).Draw(t, "disabled") == 0
				u = withPhones(u, rapid.SampledFrom([][]int{nil, nil, {2}, {3}, {2, 5}}).Draw(t, "phones")...)
				if users[n] = u; rapid.Bool().Draw(t, "deleted") {
					delete(users, n)
				}
			}
			model := pbx.Model{Users: slices.SortedFunc(maps.Values(users), func(a, b pbx.User) int { return int(a.Extension.Number - b.Extension.Number) })}
			if len(model.Users) > 0 {
				model.Items = drawGroups(t, model.Users)
			}
			to := destinations(model)
			for i := range model.Users {
				u := &model.Users[i]
				u.Calls = drawCalls(t, calls[u.Extension.Number], to)
				calls[u.Extension.Number] = u.Calls
			}
			for i := range levels {
				levels[i] = drawCalls(t, levels[i], to)
			}
			model.Levels = pbx.Levels{Organisation: levels[0], Pools: []pbx.PoolLevel{{First: 1002, Last: 1003, Calls: levels[1]}}}
			model.Phones = rapid.SampledFrom([]pbx.PhoneNetwork{{}, {}, {Codecs: "g722,alaw"}, {SRTP: pbx.SRTPOffered, Transport: "tls"}}).Draw(t, "phones")
			options := rapid.SampledFrom(choices).Draw(t, "options")
			next, err := options.Next(before, model)
			anew, anewErr := options.Next(render.Rendered{}, model)
			if err != nil || anewErr != nil {
				t.Fatalf("error %v, made anew %v", err, anewErr)
			}
			if !reflect.DeepEqual(anew.Files, next.Files) {
				t.Fatal(cmp.Diff(anew.Files, next.Files))
			}
			read, err := render.Read(next.Files)
			if live := anew.Inventory.Live(); err != nil || !reflect.DeepEqual(live, next.Inventory.Live()) || !reflect.DeepEqual(live, read.Live()) {
				t.Fatalf("error %v\n%s", err, cmp.Diff(live, next.Inventory.Live())+cmp.Diff(live, read.Live()))
			}
			if changes := append(render.Changes(anew.Inventory, next.Inventory), render.Changes(read, anew.Inventory)...); len(changes) > 0 {
				t.Fatalf("another inventory: %v", changes)
			}
			if !slices.Equal(read.Numbers(), next.Inventory.Numbers()) || len(read.Numbers()) != len(model.Users) {
				t.Fatalf("the numbers of %d users are %v", len(model.Users), read.Numbers())
			}
			readBefore, err := render.Read(before.Files)
			if diff := cmp.Diff(render.Changes(readBefore, read), render.Changes(before.Inventory, next.Inventory)); diff != "" || err != nil {
				t.Fatalf("error %v; the changes between read inventories differ from those between rendered ones:\n%s", err, diff)
			}
			before = next
		}
	})
}

// destinations returns where calls can go on to in a model; the first one is that of settings which inherit it.
func destinations(m pbx.Model) []pbx.Destination {
	all := []pbx.Destination{{}, {Kind: pbx.Hangup}}
	for _, u := range m.Users {
		all = append(all, pbx.Destination{Kind: pbx.KindUser, ID: string(u.ID)})
	}
	for _, i := range m.Items {
		all = append(all, pbx.Destination{Kind: i.Kind, ID: string(i.ID)})
	}
	return all
}

// drawCalls returns call settings, most often those of before, as far as there is still what calls go on to.
func drawCalls(t *rapid.T, c pbx.CallSettings, to []pbx.Destination) pbx.CallSettings {
	onward := []*pbx.Destination{&c.WhenBusy, &c.WhenUnanswered, &c.WhenUnreachable}
	switch rapid.IntRange(0, 5).Draw(t, "calls") {
	case 0:
		c.RingSeconds = rapid.SampledFrom([]int{0, 5, 30}).Draw(t, "ring seconds")
		c.CallLimit = rapid.SampledFrom([]pbx.CallLimit{0, pbx.NoCallLimit, 1, 2}).Draw(t, "limit")
		for _, d := range onward {
			*d = rapid.SampledFrom(to).Draw(t, "destination")
		}
	case 1:
		c.CallerName = rapid.SampledFrom([]string{"", "Front; desk"}).Draw(t, "caller name")
		c.CallerNumber = rapid.SampledFrom([]string{"", "+4930"}).Draw(t, "caller number")
		c.PickupGroups = rapid.SampledFrom([]pbx.PickupGroups{0, 1<<0 | 1<<63}).Draw(t, "pickup groups")
		c.Language = rapid.SampledFrom([]string{"", "de"}).Draw(t, "language")
	case 2:
		c = pbx.CallSettings{}
	}
	for _, d := range onward {
		if !slices.Contains(to, *d) {
			*d = pbx.Destination{}
		}
	}
	return c
}

// drawGroups returns up to three ring groups of some of these users, of which each may fall back to the one before.
func drawGroups(t *rapid.T, users []pbx.User) (all []pbx.Item) {
	for short := range 4 {
		if short == 0 || rapid.Bool().Draw(t, "no such group") {
			continue
		}
		g := pbx.RingGroup{
			Strategy: rapid.SampledFrom(pbx.RingStrategies()).Draw(t, "strategy"), Seconds: rapid.IntRange(5, 6).Draw(t, "seconds"),
			SkipBusy: rapid.Bool().Draw(t, "skip"), Fallback: pbx.Destination{Kind: pbx.Hangup},
		}
		for _, u := range users {
			if len(g.Members) == 0 || rapid.Bool().Draw(t, "member") {
				g.Members = append(g.Members, u.ID)
			}
		}
		switch rapid.IntRange(0, 2).Draw(t, "fallback") {
		case 1:
			g.Fallback = pbx.Destination{Kind: pbx.KindUser, ID: string(users[0].ID)}
		case 2:
			if len(all) > 0 {
				g.Fallback = pbx.Destination{Kind: pbx.KindRingGroup, ID: string(all[len(all)-1].ID)}
			}
		}
		all = append(all, ringGroup(short*6, fmt.Sprint(rapid.SampledFrom([]int{600, 2000, 60000}).Draw(t, "number")+short), g))
	}
	return all
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
		before, err := render.Options{}.Next(render.Rendered{}, pbx.Model{Users: users})
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; b.Loop(); i++ {
			users[500].Name = fmt.Sprintf("User %d", i)
			if before, err = (render.Options{}).Next(before, pbx.Model{Users: users}); err != nil {
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

// Every Dial but that of users without items is in the routine of the library that looks at the flag of a dry run first, so that a dry run rings no phone.
func TestOnlyTheRoutineThatLooksAtTheDryRunFlagDials(t *testing.T) {
	t.Parallel()
	rendered, err := render.Options{}.Next(render.Rendered{}, groups())
	if err != nil {
		t.Fatal(err)
	}
	dials := regexp.MustCompile(`(?i)\b(Dial|RetryDial|Originate|Page|Queue|FollowMe|System|TrySystem|SHELL|AGI|Exec)\(`)
	var found []string
	for _, step := range rendered.Inventory.Live().Steps {
		if dials.MatchString(step.App + "(" + step.Args + ")") {
			found = append(found, fmt.Sprintf("%s,%d,%s(%s)", step.Place(), step.Priority, step.App, step.Args))
		}
	}
	if want := []string{"ring@sc-lib-4,4,Dial(${SC_DEVICES:1},${ARG1},${ARG2}b(sc-lib-4^phone^1)U(sc-answered))", "ring@sc-lib-3,4,Dial(${SC_DEVICES:1},${ARG1},${ARG2}b(sc-lib-3^phone^1)U(sc-answered))"}; !slices.Equal(found, want) {
		t.Errorf("the dialplan of items dials at %q, want %q", found, want)
	}
	if flag := "exten => ring,1,Set(SC_RESULT=u)\n same => n,GotoIf($[\"${SC_DEVICES}\"=\"\"]?ring-end,1)\n" +
		" same => n,GotoIf($[\"${SC_SIM}\"!=\"\"]?sim-ring,1)\n same => n,Dial("; !strings.Contains(string(pbx.ContentOf(rendered.Files, pbx.LibraryPath)), flag) {
		t.Error("the routine does not look at the flag before it dials")
	}
	users, _, err := render.Config([]pbx.User{user(1000, "Anna", "x")})
	if err != nil || pbx.ContentOf(users, pbx.LibraryPath) != nil {
		t.Errorf("users alone have a library, error %v", err)
	}
}

// What is shown of a diff is exactly what the portal writes: here all of it.
func TestADiffShowsRingGroupsAndTheLibraryInFull(t *testing.T) {
	t.Parallel()
	without, _, err := render.Config(nil)
	if err != nil {
		t.Fatal(err)
	}
	with, err := render.Options{}.Next(render.Rendered{}, groups())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range render.Diff("a", without, "b", with.Files) {
		if strings.Contains(d.Text, "not written by the portal") || d.Text == "" {
			t.Errorf("the diff of %s is\n%s", d.Path, d.Text)
		}
	}
	for _, step := range with.Inventory.Live().Steps {
		if shown := render.OurStep(step); !strings.Contains(shown, step.App) {
			t.Errorf("%v is shown as %q", step, shown)
		}
	}
	edited := bytes.ReplaceAll(pbx.ContentOf(with.Files, pbx.CallflowPath), []byte("hunt,5,,1000-1001,"), []byte("hunt,5,,1000-secret,"))
	for _, d := range render.Diff("a", with.Files, "b", []pbx.File{{Path: pbx.CallflowPath, Content: edited}}) {
		if strings.Contains(d.Text, "secret") {
			t.Errorf("the diff shows what the portal did not write:\n%s", d.Text)
		}
	}
}

func TestThePlanNamesTheFieldsOfARingGroupThatChange(t *testing.T) {
	t.Parallel()
	render1 := func(change func(*pbx.Model, *pbx.RingGroup)) render.Inventory {
		m := groups()
		g, _ := m.Items[1].Body.(*pbx.RingGroup)
		if change != nil {
			change(&m, g)
		}
		r, err := render.Options{}.Next(render.Rendered{}, m)
		if err != nil {
			t.Fatal(err)
		}
		read, err := render.Read(r.Files)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	was := render1(nil)
	for want, change := range map[string]func(*pbx.Model, *pbx.RingGroup){
		"changed [number]":    func(_ *pbx.Model, g *pbx.RingGroup) { g.Number = "602" },
		"changed [strategy]":  func(_ *pbx.Model, g *pbx.RingGroup) { g.Strategy = pbx.RingAll },
		"changed [seconds]":   func(_ *pbx.Model, g *pbx.RingGroup) { g.Seconds = 6 },
		"changed [skip_busy]": func(_ *pbx.Model, g *pbx.RingGroup) { g.SkipBusy = true },
		"changed [members]":   func(_ *pbx.Model, g *pbx.RingGroup) { g.Members = g.Members[:1] },
		"changed [fallback]":  func(_ *pbx.Model, g *pbx.RingGroup) { g.Fallback = pbx.Destination{Kind: pbx.Hangup} },
		"changed [number strategy seconds skip_busy members fallback]": func(_ *pbx.Model, g *pbx.RingGroup) {
			*g = pbx.RingGroup{Number: "9", Strategy: pbx.RingMemory, Seconds: 7, SkipBusy: true, Members: []pbx.UserID{"u99"}, Fallback: pbx.Destination{Kind: pbx.KindRingGroup, ID: "g1"}}
		},
		"removed []": func(m *pbx.Model, _ *pbx.RingGroup) { m.Items = slices.Delete(m.Items, 1, 2) },
	} {
		c := render.Changes(was, render1(change))
		if len(c) != 1 || c[0].Owner != (pbx.Thing{Kind: pbx.KindRingGroup, Key: "g2"}) || fmt.Sprint(c[0].Kind, " ", c[0].What) != want {
			t.Errorf("changes %+v, want of g2: %s", c, want)
		}
	}
	none, _, err := render.Config(groups().Users)
	if err != nil {
		t.Fatal(err)
	}
	without, err := render.Read(none)
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, c := range render.Changes(without, was) {
		titles = append(titles, string(c.Kind)+" "+c.Title())
	}
	if want := []string{"added library 4", "added ring_group g1", "added ring_group g2", "added ring_group g10"}; !slices.Equal(titles, want) {
		t.Errorf("the first groups are %q, want %q", titles, want)
	}
}

func TestThePlanNamesAUserWhoIsDisabledOrEnabled(t *testing.T) {
	t.Parallel()
	for _, items := range [][]pbx.Item{nil, groups().Items} {
		inventory := func(off bool) render.Inventory {
			m := pbx.Model{Users: groups().Users, Items: items}
			m.Users[1].Disabled = off
			r, err := render.Options{}.Next(render.Rendered{}, m)
			if err != nil {
				t.Fatal(err)
			}
			return r.Inventory
		}
		for _, off := range []bool{true, false} {
			c := render.Changes(inventory(!off), inventory(off))
			if len(c) != 1 || c[0].Number != 1000 || c[0].Kind != pbx.Changed || fmt.Sprint(c[0].What) != "[enabled]" || c[0].Reregister != off || c[0].Name != "Anna" {
				t.Errorf("disabled %t, %d items: changes %+v", off, len(items), c)
			}
		}
		if n := inventory(true).Numbers(); len(n) != 3 {
			t.Errorf("the users are %v", n)
		}
	}
}

func TestARenumberedUserIsRecognisedByTheSecretAlsoInFilesWithDigests(t *testing.T) {
	t.Parallel()
	for _, options := range []render.Options{{}, {DigestRealm: "asterisk"}, {DigestRealm: "asterisk", DigestAlgorithms: "MD5"}} {
		before := []pbx.User{user(1000, "Anna", "one"), user(1001, "Bernd", "two"), user(1002, "Claus", "three")}
		_, from, err := options.Config(before)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			after     []pbx.User
			want      []string
			forgotten []pbx.Number
		}{
			{
				[]pbx.User{user(1001, "Bernd", "two"), user(1005, "Anna", "one"), user(1006, "Dora", "four")},
				[]string{"removed1002 Claus was 0 [] true", "changed1005 Anna was 1000 [number] true", "added1006 Dora was 0 [] false"},
				[]pbx.Number{1000, 1002},
			},
			{ // two exchange their numbers
				[]pbx.User{user(1000, "Bernd", "two"), user(1001, "Anna", "one"), user(1002, "Claus", "three")},
				[]string{"changed1000 Bernd was 1001 [number] true", "changed1001 Anna was 1000 [number] true"},
				[]pbx.Number{1000, 1001},
			},
			{ // a number is handed over to a new user
				[]pbx.User{user(1000, "Dora", "four"), user(1001, "Bernd", "two"), user(1002, "Claus", "three"), user(1003, "Anna", "one")},
				[]string{"added1000 Dora was 0 [] false", "changed1003 Anna was 1000 [number] true"},
				[]pbx.Number{1000},
			},
			{ // … to another one
				[]pbx.User{user(1000, "Bernd", "two"), user(1002, "Claus", "three"), user(1003, "Anna", "one")},
				[]string{"changed1000 Bernd was 1001 [number] true", "changed1003 Anna was 1000 [number] true"},
				[]pbx.Number{1000, 1001},
			},
			{ // … by one who leaves
				[]pbx.User{user(1000, "Bernd", "two"), user(1002, "Claus", "three")},
				[]string{"removed1000 Anna was 0 [] true", "changed1000 Bernd was 1001 [number] true"},
				[]pbx.Number{1000, 1001},
			},
			{[]pbx.User{user(1000, "Anna", "new"), user(1001, "Bernd", "two"), user(1002, "Claus", "three")}, []string{"changed1000 Anna was 0 [secret] true"}, []pbx.Number{1000}},
		} {
			_, to, err := options.Config(tc.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			changes := render.JoinRenumbered(render.Changes(from, to), from, to, tc.after)
			for _, c := range changes {
				got = append(got, fmt.Sprint(c.Kind, c.Number, " ", c.Name, " was ", c.Was, c.What, c.Reregister))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%+v: changes %q, want %q", options, got, tc.want)
			}
			var forgotten []pbx.Number
			for _, e := range pbx.EffectsOf(changes) {
				forgotten = append(forgotten, e.Number)
			}
			if !slices.Equal(forgotten, tc.forgotten) {
				t.Errorf("%+v: the registrations of %v are deleted, want %v", options, forgotten, tc.forgotten)
			}
		}
	}
}

func TestTwoThingsWithOneNumberAreRefused(t *testing.T) {
	t.Parallel()
	m := groups()
	g, _ := m.Items[0].Body.(*pbx.RingGroup)
	for _, number := range []string{"1000", "601"} {
		g.Number = number
		if _, err := (render.Options{}).Next(render.Rendered{}, m); pbx.CodeOf(err) != pbx.CodeRefused || !strings.Contains(err.Error(), "have the same number "+number) {
			t.Errorf("a group with the number %s of another thing: error %v", number, err)
		}
	}
	g.Number, g.Members = "600", []pbx.UserID{"nobody"}
	if _, err := (render.Options{}).Next(render.Rendered{}, m); pbx.CodeOf(err) != pbx.CodeRefused || !strings.Contains(err.Error(), "ring_group g1") {
		t.Errorf("a member that does not exist: error %v", err)
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

func TestTheFilesFollowTheSettingsOfTheOrganisationAndThePools(t *testing.T) {
	t.Parallel()
	users := []pbx.User{user(1000, "Anna", "a"), user(2000, "Ben", "b")}
	write := func(before render.Rendered, m pbx.Model) render.Rendered {
		t.Helper()
		m.Users = users
		r, err := render.Options{}.Next(before, m)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	content := func(r render.Rendered, path string) string { return string(pbx.ContentOf(r.Files, path)) }
	plain := write(render.Rendered{}, pbx.Model{})
	off := write(plain, pbx.Model{Phones: pbx.PhoneNetwork{SRTP: pbx.SRTPOff, ServerAddress: "pbx.example.com"}})
	if diff := cmp.Diff(plain.Files, off.Files); diff != "" {
		t.Errorf("settings that phones alone depend on: %s", diff)
	}
	media := write(plain, pbx.Model{Phones: pbx.PhoneNetwork{Codecs: "g722,alaw", SRTP: pbx.SRTPOffered}})
	if text := content(media, pbx.PJSIPPath); strings.Count(text, "allow=g722,alaw\n") != 2 || strings.Count(text, "media_encryption=sdes\nmedia_encryption_optimistic=yes\n") != 2 {
		t.Errorf("codecs and SRTP: %s", text)
	}
	if diff := cmp.Diff(plain.Files, write(media, pbx.Model{}).Files); diff != "" {
		t.Errorf("back to the defaults: %s", diff)
	}
	longer := write(plain, pbx.Model{Levels: pbx.Levels{Organisation: pbx.CallSettings{RingSeconds: 40}}})
	if text := content(longer, pbx.DialplanPath); len(longer.Files) != 2 || !strings.Contains(text, "Dial(PJSIP/1000,40)") || !strings.Contains(text, "Dial(PJSIP/2000,40)") {
		t.Errorf("a ring time of the organisation: %d files, %s", len(longer.Files), text)
	}
	pool := pbx.Levels{Organisation: pbx.CallSettings{CallLimit: 2}, Pools: []pbx.PoolLevel{{First: 2000, Last: 2999, Calls: pbx.CallSettings{RingSeconds: 50, Language: "de", CallLimit: pbx.NoCallLimit}}}}
	both := write(longer, pbx.Model{Levels: pool})
	text := content(both, pbx.CallflowPath)
	if !strings.Contains(text, "user,1(1000,25,") || !strings.Contains(text, "user,1(2000,50,") || strings.Count(text, "Return(2)") != 1 || strings.Count(content(both, pbx.PJSIPPath), "language=de\n") != 1 {
		t.Errorf("a pool with settings: %s", text)
	}
	onward := write(both, pbx.Model{Levels: pbx.Levels{Organisation: pbx.CallSettings{WhenUnanswered: pbx.Destination{Kind: pbx.KindUser, ID: string(users[0].ID)}}}})
	if text := content(onward, pbx.CallflowPath); !strings.Contains(text, "user,1(1000,25,sc-hangup.17,sc-hangup.19,sc-hangup.20)") ||
		!strings.Contains(text, "user,1(2000,25,sc-hangup.17,sc-user.1000,sc-user.1000)") {
		t.Errorf("calls that go on to a user: %s", text)
	}
}
