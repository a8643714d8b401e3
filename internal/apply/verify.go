package apply

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// mostDifferences is the maximum number of differences in a report; one cause often has a thousand effects.
const mostDifferences = 20

// verify compares the live Asterisk's answer after a reload with what it should run. err is set if there was no comparable answer; understood says
// whether its answer to the reload was unambiguous. The texts say what differs, or why nothing could be compared.
func verify(q pbx.LiveQuery, want, live pbx.Live, understood bool, err error) (pbx.Verification, []string) {
	if err != nil {
		return pbx.Inconclusive, []string{err.Error()}
	}
	blind := len(q.Contents) > 0 && len(live.Hashes) == 0 // so it answers for objects of any content, and for none at all
	if blind {
		q.Contents = nil
	}
	if diffs := differences(q, want, live); len(diffs) > 0 {
		return pbx.Contradicted, diffs
	}
	if !understood {
		return pbx.Inconclusive, []string{"everything is there, but the answer to the reload is not one Asterisk is known to give"}
	}
	if blind {
		return pbx.Inconclusive, []string{"everything is there by its name, but Asterisk names the content of no object: it needs func_sorcery.so and func_strings.so"}
	}
	return pbx.Confirmed, nil
}

// differences compares the answer of a live Asterisk with what it should have loaded, and returns what differs, nil when nothing does. Only names that
// are extension numbers count: everything else, such as a trunk, belongs to the administrator.
func differences(q pbx.LiveQuery, want, live pbx.Live) []string {
	var diffs []string
	diffs = append(diffs, compareIDs("endpoint", want.Endpoints, live.Endpoints)...)
	if q.All {
		diffs = append(diffs, compareIDs("auth", want.Auths, live.Auths)...)
		diffs = append(diffs, compareIDs("AOR", want.AORs, live.AORs)...)
	}
	steps := want.Steps
	if q.Exten != "" {
		steps = slices.DeleteFunc(slices.Clone(steps), func(s pbx.Step) bool { return s.Exten != q.Exten })
	}
	diffs = append(diffs, compareSteps(steps, live.Steps)...)
	if q.Exten == "" && want.Context && !live.Context {
		diffs = append(diffs, "the dialplan context "+pbx.Context+" is missing") // otherwise an Asterisk that reads none of the files would pass for no users
	}
	for _, name := range q.Contents {
		var fault string
		switch meant, loaded := want.Hashes[name], live.Hashes[name]; {
		case meant == loaded:
			continue
		case loaded == "":
			fault = "is missing"
		case meant == "":
			fault = "is loaded, but no user has it"
		default:
			fault = "is loaded with another content"
		}
		kind, id, _ := strings.Cut(name, "/")
		if said := fmt.Sprintf("%s %s %s", strings.Replace(kind, "aor", "AOR", 1), id, fault); !slices.Contains(diffs, said) {
			diffs = append(diffs, said)
		}
	}
	if more := len(diffs) - mostDifferences; more > 0 {
		diffs = append(diffs[:mostDifferences], fmt.Sprintf("… and %d more", more))
	}
	return diffs
}

// brief returns the first of many differences; the record has all of them.
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
		if _, ours := pbx.ParseNumber(id); ours {
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
		if _, ours := pbx.ParseNumber(s.Exten); ours && s.Priority > 0 { // a hint dials no phone, and may be the administrator's
			seen[place{s.Exten, s.Priority}] = s
		}
	}
	for _, s := range want {
		at := place{s.Exten, s.Priority}
		switch got, ok := seen[at]; {
		case !ok:
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is missing", render.OurStep(s)))
		case got != s:
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded as %s", render.OurStep(s), render.OurStep(got)))
		}
		delete(seen, at)
	}
	for _, at := range slices.SortedFunc(maps.Keys(seen), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.exten, b.exten), cmp.Compare(a.priority, b.priority))
	}) {
		diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded, but belongs to no user", render.OurStep(seen[at])))
	}
	return diffs
}
