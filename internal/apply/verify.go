package apply

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// mostDifferences is how many differences a report lists; one cause often has a thousand effects.
const mostDifferences = 20

// verify judges what the live Asterisk said after a reload: err, if it said nothing that can be compared; understood, whether its
// answer to the reload was plain; altered, the objects whose content is compared too. What comes with the verdict says what differs, or why nothing could be compared.
func verify(want, live pbx.Live, altered []string, understood bool, err error) (pbx.Verification, []string) {
	if err != nil {
		return pbx.Inconclusive, []string{err.Error()}
	}
	if diffs := differences(want, live, altered); len(diffs) > 0 {
		return pbx.Contradicted, diffs
	}
	if !understood {
		return pbx.Inconclusive, []string{"everything is there by name, but the answer to the reload is not one Asterisk is known to give"}
	}
	return pbx.Confirmed, nil
}

// differences compares what a live Asterisk has loaded with what it should have, and names what differs, nil when nothing does.
// Only what is named by a number of the pool counts: all else, such as a trunk, is the administrator's own.
func differences(want, live pbx.Live, altered []string) []string {
	var diffs []string
	diffs = append(diffs, compareIDs("endpoint", want.Endpoints, live.Endpoints)...)
	diffs = append(diffs, compareIDs("auth", want.Auths, live.Auths)...)
	diffs = append(diffs, compareIDs("AOR", want.AORs, live.AORs)...)
	diffs = append(diffs, compareSteps(want.Steps, live.Steps)...)
	for _, name := range altered {
		if live.Hashes[name] != want.Hashes[name] {
			diffs = append(diffs, strings.Replace(name, "/", " ", 1)+" is loaded with another content")
		}
	}
	if more := len(diffs) - mostDifferences; more > 0 {
		diffs = append(diffs[:mostDifferences], fmt.Sprintf("… and %d more", more))
	}
	return diffs
}

// brief gives the first of many differences; the record has all of them.
func brief(differences []string) string {
	const most = 3
	if len(differences) > most {
		return strings.Join(differences[:most], "; ") + "; …"
	}
	return strings.Join(differences, "; ")
}

func compareIDs(kind string, want, live []string) (diffs []string) {
	seen := make(map[string]bool, len(live))
	for _, id := range live {
		seen[id] = true
	}
	for _, id := range want {
		if !seen[id] {
			diffs = append(diffs, fmt.Sprintf("%s %s is missing", kind, id))
		}
		delete(seen, id)
	}
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		if inPool(id) {
			diffs = append(diffs, fmt.Sprintf("%s %s is loaded, but no user has it", kind, id))
		}
	}
	return diffs
}

func compareSteps(want, live []pbx.Step) (diffs []string) {
	type place struct {
		exten    string
		priority int
	}
	seen := make(map[place]pbx.Step, len(live))
	for _, s := range live {
		if inPool(s.Exten) && s.Priority > 0 { // a hint dials nobody, and may be the administrator's
			seen[place{s.Exten, s.Priority}] = s
		}
	}
	for _, s := range want {
		at := place{s.Exten, s.Priority}
		switch got, ok := seen[at]; {
		case !ok:
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is missing", text(s)))
		case got != s:
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded as %s", text(s), text(got)))
		}
		delete(seen, at)
	}
	for _, at := range slices.SortedFunc(maps.Keys(seen), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.exten, b.exten), cmp.Compare(a.priority, b.priority))
	}) {
		diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded, but belongs to no user", text(seen[at])))
	}
	return diffs
}

func text(s pbx.Step) string { return fmt.Sprintf("%s,%d,%s(%s)", s.Exten, s.Priority, s.App, s.Args) }

// inPool reports whether the id is a number that the portal gives out.
func inPool(id string) bool {
	n, err := strconv.Atoi(id)
	return err == nil && strconv.Itoa(n) == id && pbx.Number(n) >= pbx.FirstNumber && pbx.Number(n) <= pbx.LastNumber
}
