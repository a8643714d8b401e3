package render

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// patched applies a unified diff to lines, and fails where it does not fit.
func patched(lines []string, diff string) (_ []string, err error) {
	var out []string
	at := 0
	for line := range strings.SplitAfterSeq(diff, "\n") {
		var from, count int
		switch {
		case strings.HasPrefix(line, "@@ "):
			if _, err := fmt.Sscanf(line, "@@ -%d,%d ", &from, &count); err != nil {
				return nil, err
			}
			out, at = append(out, lines[at:max(from-1, 0)]...), max(from-1, 0)
			var to int
			_, after, _ := strings.Cut(line, "+")
			if _, err := fmt.Sscanf(after, "%d,", &to); err != nil || to != len(out)+1 {
				return nil, fmt.Errorf("%q is line %d: %w", line, len(out)+1, err)
			}
		case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "), strings.HasPrefix(line, "diff "), line == "":
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

// Users come, go and change, and the files in place are also edited by hand: the diff that reads only what changed leads from what is shown of the one
// to what is shown of the other.
func TestTheDiffOfWhatChangedLeadsFromAllThatIsShownToAllThatIsShownAtLength(t *testing.T) {
	t.Parallel()
	numbers := []pbx.Number{10, 20, 99, 100, 999, 1000, 1001, 1002, 1500, 1501, 1999, 2000, 9999, 10_000, 250_000, 250_001, 999_999}
	pick := rand.New(rand.NewPCG(1, 2))
	users := func() (all []pbx.User) {
		for _, n := range numbers {
			if pick.IntN(4) > 0 {
				name, secret := "Anna", "AAAAAAAAAAAAAAAAAAAAAA"
				if pick.IntN(4) == 0 {
					name = "Berta"
				}
				if pick.IntN(4) == 0 {
					secret = "BBBBBBBBBBBBBBBBBBBBBB"
				}
				all = append(all, pbx.User{Name: name, Extension: pbx.Extension{Number: n, Secret: pbx.SecretFrom(secret)}})
			}
		}
		return all
	}
	edits := []func(string) string{
		func(s string) string { return strings.Replace(s, "max_contacts=1", "max_contacts=2", 1) },
		func(s string) string { return strings.Replace(s, "[1000]", "[1000]\n;by hand", 1) },
		func(s string) string { return s + "[1777]\ntype=aor\n" },
		func(s string) string { return strings.Replace(s, "Dial(PJSIP/1000,25)", "System(x)", 1) },
		func(s string) string { return strings.Replace(s, "type=auth", "type=auth\npassword=x", 2) },
		func(s string) string { return s[len(s)/2:] },
		func(string) string { return "" },
	}
	hunks := 0
	rounds := labtest.Soak(60, 3_000)
	for round := range rounds {
		from, _, err := Config(users())
		if err != nil {
			t.Fatal(err)
		}
		to, _, err := Config(users())
		if err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 {
			edit := edits[pick.IntN(len(edits))]
			for i := range from {
				from[i].Content = []byte(edit(string(from[i].Content)))
			}
		}
		for _, d := range Diff("a", from, "b", to, true) {
			earlier := map[string]string{}
			shown := (&shower{noted: earlier}).show(d.Path, pbx.ContentOf(from, d.Path))
			want := (&shower{noted: map[string]string{}, earlier: earlier}).show(d.Path, pbx.ContentOf(to, d.Path))
			got, err := patched(strings.SplitAfter(string(shown), "\n"), d.Text)
			if err != nil || !slices.Equal(got, strings.SplitAfter(string(want), "\n")) {
				t.Fatalf("round %d: error %v; from\n%s\nto\n%s\nthe diff is\n%s", round, err, shown, want, d.Text)
			}
			hunks += strings.Count(d.Text, "\n@@ ")
		}
	}
	if hunks < rounds {
		t.Errorf("%d hunks in %d rounds", hunks, rounds)
	}
}
