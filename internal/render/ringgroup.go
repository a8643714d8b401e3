package render

import (
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// ringGroups returns the kind of ring groups.
func ringGroups() itemKind {
	return itemKind{
		kind: pbx.KindRingGroup, context: "sc-group", routine: "group",
		fields: []field{
			{"strategy", func(s string) bool { return slices.Contains(pbx.RingStrategies(), pbx.RingStrategy(s)) }},
			{"seconds", isCount},
			{"skip_busy", func(s string) bool { return s == "" || s == "b" }},
			{"members", isNumbers},
			{"fallback", isDestination},
		},
		args: func(body pbx.Body, r references) ([]string, error) {
			g, ok := body.(*pbx.RingGroup)
			if !ok {
				return nil, errBody
			}
			members := make([]string, len(g.Members))
			for i, m := range g.Members {
				number, err := r.user(string(m))
				if err != nil {
					return nil, err
				}
				members[i] = number
			}
			skip := ""
			if g.SkipBusy {
				skip = "b"
			}
			fallback, err := r.destination(g.Fallback)
			return []string{string(g.Strategy), strconv.Itoa(g.Seconds), skip, strings.Join(members, "-"), fallback}, err
		},
		body: func(args []string, r originals) pbx.Body {
			g := &pbx.RingGroup{Strategy: pbx.RingStrategy(args[0]), SkipBusy: args[2] == "b", Fallback: r.destination(args[4])}
			g.Seconds, _ = strconv.Atoi(args[1]) // isCount has checked it
			for number := range strings.SplitSeq(args[3], "-") {
				g.Members = append(g.Members, r.user(number))
			}
			return g
		},
	}
}
