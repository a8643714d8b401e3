package render

import (
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// featureCodes returns the piece of the feature codes and hints, without steps if phones have none.
func (o Options) featureCodes(users []pbx.User) piece {
	p := piece{owner: pbx.Thing{Kind: pbx.KindCodes}}
	if !o.FeatureCodes || len(users) == 0 {
		return p
	}
	numbers := make([]pbx.Number, len(users))
	for i := range users {
		numbers[i] = users[i].Extension.Number
	}
	p.steps = codeSteps(numbers...)
	return p
}

// codeSteps returns the steps of the feature codes, and one hint for each number of digits in these numbers. A hint for each number would make each reload
// take time proportional to the square of their count. A hint also covers phones that a user does not have, which do no harm.
func codeSteps(numbers ...pbx.Number) (steps []pbx.Step) {
	var patterns []string
	for _, n := range numbers {
		if pattern := "_Z" + strings.Repeat("X", len(strconv.Itoa(int(n)))-1); len(patterns) == 0 || patterns[len(patterns)-1] != pattern {
			patterns = append(patterns, pattern)
		}
	}
	slices.Sort(patterns)
	for _, pattern := range slices.Backward(slices.Compact(patterns)) {
		devices := "PJSIP/${EXTEN}"
		for suffix := pbx.FirstDevice + 1; suffix <= pbx.MaxDevices; suffix++ {
			devices += "&PJSIP/${EXTEN}-" + strconv.Itoa(suffix)
		}
		steps = append(steps, pbx.Step{Context: hintsContext, Exten: pattern, Priority: pbx.HintPriority, App: "hint", Args: devices + "&Custom:sc-dnd-${EXTEN}"})
	}
	codes := pbx.FeatureCodes()
	slices.SortFunc(codes, func(a, b pbx.FeatureCode) int { return strings.Compare(b.Code, a.Code) })
	for _, c := range codes {
		exten, value := c.Code, c.Value+","+strconv.Itoa(len(c.Value))
		if c.Number { // only the characters of numbers, and how many characters were dialled: so that others are noticed and reach no expression
			number := "${EXTEN:" + strconv.Itoa(len(c.Code)) + "}"
			exten, value = "_"+c.Code+".", "${FILTER(0-9*#+,"+number+")},${LEN("+number+")}"
		}
		steps = append(steps, pbx.Step{Context: codesContext, Exten: exten, Priority: 1, App: "Gosub", Args: call("code", c.Key, value)})
	}
	return steps
}
