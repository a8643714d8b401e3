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

// maxDifferences is the maximum number of differences in a report; one cause often has a thousand effects.
const maxDifferences = 20

// verify compares the live Asterisk's answer after a reload with what it should run. err is set if there was no answer that can be compared; understood
// reports whether the answer to the reload was unambiguous. The texts are the differences, or the reason why nothing could be compared.
func verify(q pbx.LiveQuery, want, live pbx.Live, understood bool, err error) (pbx.Verification, []string) {
	if err != nil {
		return pbx.Inconclusive, []string{err.Error()}
	}
	if q.IsEmpty() {
		return pbx.Inconclusive, []string{"Asterisk was asked for nothing"}
	}
	blind := len(q.Contents) > 0 && len(live.Hashes) == 0 // Asterisk returned no hash at all: missing ones prove nothing
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

// differences compares the answer of a live Asterisk with what it should have loaded, and returns what differs, nil when nothing does. The answer holds
// the portal's objects only: everything else, such as an administrator's trunk, is separated from it.
func differences(q pbx.LiveQuery, want, live pbx.Live) []string {
	var diffs []string
	for _, typ := range q.Types {
		diffs = append(diffs, compareIDs(typ, want.IDs[typ], live.IDs[typ])...)
	}
	steps := want.Steps
	if slices.ContainsFunc(steps, func(s pbx.Step) bool { return !q.Covers(s) }) {
		steps = slices.DeleteFunc(slices.Clone(steps), func(s pbx.Step) bool { return !q.Covers(s) })
	}
	diffs = append(diffs, compareSteps(steps, live.Steps)...)
	for _, name := range q.Contexts {
		includes, wanted := want.Contexts[name]
		loaded, exists := live.Contexts[name]
		if wanted && !exists {
			diffs = append(diffs, "the dialplan context "+name+" is missing") // without users, this alone distinguishes an Asterisk that reads none of the files
			continue
		}
		for _, other := range includes {
			if !slices.Contains(loaded, other) {
				diffs = append(diffs, "the dialplan context "+name+" does not include "+other)
			}
		}
	}
	for _, name := range q.Contents {
		kind, id, _ := strings.Cut(name, "/")
		var fault string
		switch meant, loaded := want.Hashes[name], live.Hashes[name]; {
		case meant == loaded:
			continue
		case loaded == "":
			fault = "is missing"
		case meant == "":
			fault = surplus(id)
		default:
			fault = "is loaded with another content"
		}
		if said := fmt.Sprintf("%s %s %s", typeText(kind), id, fault); !slices.Contains(diffs, said) {
			diffs = append(diffs, said)
		}
	}
	if more := len(diffs) - maxDifferences; more > 0 {
		diffs = append(diffs[:maxDifferences], fmt.Sprintf("… and %d more", more))
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

// typeText returns a type of PJSIP object as text for people.
func typeText(typ string) string {
	if typ == "aor" {
		return "AOR"
	}
	return typ
}

// surplus returns the text for a loaded object, with this id, that should not be.
func surplus(id string) string {
	if _, ok := pbx.ParseNumber(id); ok {
		return "is loaded, but no user has it"
	}
	return "is loaded, but the portal no longer has it"
}

func compareIDs(typ string, want, live []string) (diffs []string) {
	seen := make(map[string]bool, len(live))
	for _, id := range live {
		seen[id] = true
	}
	for _, id := range want {
		if !seen[id] {
			diffs = append(diffs, fmt.Sprintf("%s %s is missing", typeText(typ), id))
		}
		delete(seen, id)
	}
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		diffs = append(diffs, fmt.Sprintf("%s %s %s", typeText(typ), id, surplus(id)))
	}
	return diffs
}

func compareSteps(want, live []pbx.Step) (diffs []string) {
	type place struct {
		context, exten string
		priority       int
	}
	seen := make(map[place]pbx.Step, len(live))
	for _, s := range live {
		seen[place{s.Context, s.Exten, s.Priority}] = s
	}
	for _, s := range want {
		at := place{s.Context, s.Exten, s.Priority}
		switch got, ok := seen[at]; {
		case !ok:
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is missing", render.OurStep(s)))
		case got != s:
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded as %s", render.OurStep(s), render.OurStep(got)))
		}
		delete(seen, at)
	}
	for _, at := range slices.SortedFunc(maps.Keys(seen), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.context, b.context), cmp.Compare(a.exten, b.exten), cmp.Compare(a.priority, b.priority))
	}) {
		if at.context == pbx.Context {
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded, but belongs to nothing in the portal", render.OurStep(seen[at])))
		} else {
			diffs = append(diffs, fmt.Sprintf("dialplan step %s is loaded, but the portal no longer has it", render.OurStep(seen[at])))
		}
	}
	return diffs
}
