package render

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render/rendertest"
)

// shown returns the shown lines of a whole file, and their line numbers in the file.
func shown(path string, file []byte) (lines []string, places []int) {
	s := shower{noted: map[string]string{}}
	text := string(s.show(path, part{text: file}))
	return slices.Collect(strings.Lines(text)), s.places
}

// withoutNews returns a line without the note that the hidden text is new.
func withoutNews(line string) string {
	return strings.NewReplacer("[hidden, new]", "[hidden]", "hidden, new\n", "hidden\n").Replace(line)
}

// patched applies a diff to the shown lines of a file, and fails if it does not fit.
func patched(lines []string, places []int, diff string) (out []string, err error) {
	at := 0
	for line := range strings.Lines(diff) {
		line = withoutNews(line)
		switch {
		case strings.HasPrefix(line, "@@ "):
			var from, count int
			if _, err := fmt.Sscanf(line, "@@ -%d,%d ", &from, &count); err != nil {
				return nil, err
			}
			to := 0
			if from > 0 {
				if to = slices.Index(places, from); to < at {
					return nil, fmt.Errorf("%q: line %d is not shown", line, from)
				}
			}
			out, at = append(out, lines[at:to]...), to
		case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "), strings.HasPrefix(line, "diff "):
		case line[0] == '+':
			out = append(out, line[1:])
		default:
			if at >= len(lines) || lines[at] != line[1:] {
				return nil, fmt.Errorf("%q is not line %d", line, at+1)
			}
			if at++; line[0] == ' ' {
				out = append(out, line[1:])
			}
		}
	}
	return append(out, lines[at:]...), nil
}

// Users and other things are added, removed and changed, and the files in place are also edited by hand.
func TestApplyingADiffToTheShownOldFileResultsInTheShownNewFileAtLength(t *testing.T) {
	t.Parallel()
	pick := rand.New(rand.NewPCG(1, 2))
	one := func(texts ...string) string { return texts[pick.IntN(len(texts))] }
	generation := func() []pbx.File {
		var users []pbx.User
		for _, n := range []pbx.Number{10, 20, 99, 100, 999, 1000, 1001, 1002, 1500, 1501, 1999, 2000, 9999, 10_000, 250_000, 250_001, 999_999} {
			if pick.IntN(6) > 0 {
				secret := pbx.SecretFrom(one("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBB"))
				users = append(users, pbx.User{Disabled: pick.IntN(8) == 0, Name: one("Anna", "Anna", "Anna", "Berta"), Extension: pbx.Extension{Number: n, Secret: secret}})
			}
		}
		model := pbx.Model{Users: users}
		for short := 1; short < 20 && pick.IntN(2) == 0; short += pick.IntN(5) + 1 {
			model.Items = append(model.Items, pbx.Item{Meta: pbx.Meta{Kind: pbx.KindRingGroup, Short: short}, Body: &pbx.RingGroup{
				Number: strconv.Itoa(600 + short), Strategy: pbx.RingStrategy(one("all", "hunt")), Members: []pbx.UserID{""}, Seconds: 5 + pick.IntN(2), Fallback: pbx.Destination{Kind: pbx.Hangup},
			}})
		}
		rendered, err := Options{}.Next(Rendered{}, model)
		if err != nil {
			t.Fatal(err)
		}
		files := rendered.Files
		if len(files) == 2 && pick.IntN(2) == 0 {
			files = append(files, rendertest.Trunks(one("one", "two"), "t-7", one("t-8", "t-9")), rendertest.Callflow(20+pick.IntN(2), "g17", one("g18", "g19")))
		}
		return files
	}
	edits := []func(string) string{
		func(s string) string { return strings.Replace(s, "max_contacts=1", "max_contacts=2", 1) },
		func(s string) string { return strings.Replace(s, "[1000]", "[1000]\n;by hand", 1) },
		func(s string) string { return s + "[1777]\ntype=aor\n" },
		func(s string) string { return strings.Replace(s, "Dial(PJSIP/1000,25)", "System(x)", 1) },
		func(s string) string { return strings.Replace(s, "type=auth", "type=auth\npassword=x", 2) },
		func(s string) string { return strings.ReplaceAll(s, "type=", "; by hand\ntype=") },
		func(s string) string {
			return strings.ReplaceAll(s, "\nexten => 1", "\n[synergy-internal]\nexten => 1")
		},
		func(s string) string { return strings.ReplaceAll(s, "[synergy-internal]", "[others]") },
		func(s string) string { return s[len(s)/2:] },
		func(s string) string { return strings.TrimSuffix(s, "\n") },
		func(s string) string { return strings.ReplaceAll(s, "Gosub(sc-lib-4,group", "Gosub(sc-lib-9,group") },
		func(s string) string { return strings.Replace(s, "Return()", "System(x)", 1) },
		func(s string) string { return s + s },
		func(string) string { return "" },
	}
	hunks, rounds := 0, labtest.Soak(150, 20_000)
	for round := range rounds {
		from, to := generation(), generation()
		for _, edited := range [][]pbx.File{from, to} {
			if pick.IntN(3) == 0 {
				edit := edits[pick.IntN(len(edits))]
				for i := range edited {
					edited[i].Content = []byte(edit(string(edited[i].Content)))
				}
			}
		}
		if pick.IntN(4) == 0 { // the same edit on both sides
			edit := edits[pick.IntN(len(edits))]
			for _, files := range [][]pbx.File{from, to} {
				for i := range files {
					files[i].Content = []byte(edit(string(files[i].Content)))
				}
			}
		}
		for _, d := range Diff("a", from, "b", to) {
			lines, places := shown(d.Path, pbx.ContentOf(from, d.Path))
			want, _ := shown(d.Path, pbx.ContentOf(to, d.Path))
			got, err := patched(lines, places, d.Text)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("round %d, %s: error %v; from\n%s\nto\n%s\nthe diff is\n%s\nand leads to\n%s", round, d.Path, err, strings.Join(lines, ""), strings.Join(want, ""), d.Text, strings.Join(got, ""))
			}
			hunks += strings.Count(d.Text, "\n@@ ")
		}
	}
	if hunks < rounds {
		t.Errorf("%d hunks in %d rounds", hunks, rounds)
	}
}

func TestADiffOfOneUserHasLineNumbersOfTheFilesAndOnlySurroundingLines(t *testing.T) {
	t.Parallel()
	var users []pbx.User
	for n := range 200 {
		users = append(users, pbx.User{Name: "Anna", Extension: pbx.Extension{Number: pbx.Number(1000 + n), Secret: pbx.SecretFrom("AAAAAAAAAAAAAAAAAAAAAA")}})
	}
	from, _, err := Config(users)
	if err != nil {
		t.Fatal(err)
	}
	users[100].Name = "Berta"
	to, _, err := Config(users)
	if err != nil {
		t.Fatal(err)
	}
	text := Diff("a", from, "b", to)[0].Text
	line := 1 + strings.Count(string(from[0].Content[:strings.Index(string(from[0].Content), `"Anna" <1100>`)]), "\n")
	if want := fmt.Sprintf("\n@@ -%d,7 +%d,7 @@\n", line-3, line-3); !strings.Contains(text, want) || strings.Count(text, "@@ ") != 1 {
		t.Errorf("the diff is\n%s\nwant one hunk %q", text, want)
	}
	a, b := differing(pbx.PJSIPPath, from[0].Content, to[0].Content)
	if most := len(from[0].Content) / 20; len(a.text) > most || len(b.text) > most {
		t.Errorf("%d and %d bytes of %d are compared", len(a.text), len(b.text), len(from[0].Content))
	}
}
