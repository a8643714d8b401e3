package pbx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KindRingGroup is the kind of a ring group; the key in the files is g and its short number.
const KindRingGroup ThingKind = "ring_group"

// RingGroup is a number that rings several users.
type RingGroup struct {
	Number   string       `json:"number"`
	Strategy RingStrategy `json:"strategy"`
	Members  []UserID     `json:"members"`   // 1–50, in the order in which they are called
	Seconds  int          `json:"seconds"`   // how long all of them, or each, ring: 5–120
	SkipBusy bool         `json:"skip_busy"` // do not ring a member who is in a call
	Fallback Destination  `json:"fallback"`  // where the call goes when no member answers
}

// RingStrategy is the order in which the members of a ring group ring.
type RingStrategy string

// The strategies.
const (
	RingAll    RingStrategy = "all"    // all at once
	RingHunt   RingStrategy = "hunt"   // one after the other
	RingMemory RingStrategy = "memory" // one after the other, and those before go on ringing
)

// RingStrategies returns all strategies.
func RingStrategies() []RingStrategy { return []RingStrategy{RingAll, RingHunt, RingMemory} }

// The limits of ring groups.
const (
	DefaultRingGroupSeconds = 20
	MinRingGroupSeconds     = 5
	MaxRingGroupSeconds     = 120
	MaxRingGroupMembers     = 50
)

// Kind implements Body.
func (*RingGroup) Kind() ThingKind { return KindRingGroup }

// Clean implements Body.
func (g *RingGroup) Clean() error {
	if g.Strategy == "" {
		g.Strategy = RingAll
	}
	if g.Seconds == 0 {
		g.Seconds = DefaultRingGroupSeconds
	}
	var fields []FieldError
	if !slices.Contains(RingStrategies(), g.Strategy) {
		fields = append(fields, FieldError{Field: "strategy", Code: FieldChoice, Message: choice(RingStrategies())})
	}
	fields = append(fields, cleanMembers("members", g.Members, MaxRingGroupMembers)...)
	if g.Seconds < MinRingGroupSeconds || g.Seconds > MaxRingGroupSeconds {
		fields = append(fields, FieldError{
			Field: "seconds", Code: FieldRange, Least: MinRingGroupSeconds, Most: MaxRingGroupSeconds,
			Message: fmt.Sprintf("must be from %d to %d", MinRingGroupSeconds, MaxRingGroupSeconds),
		})
	}
	fields = append(fields, faults(g.Fallback.clean("fallback"), numberFault("number", g.Number))...)
	return Invalid(fields...)
}

// References implements Body.
func (g *RingGroup) References() []Reference {
	return append(g.Fallback.reference("fallback"), userReferences("members", g.Members)...)
}

// Claims implements Body.
func (g *RingGroup) Claims() []Claim { return []Claim{{"number", g.Number}} }

// SetNumber implements Body.
func (g *RingGroup) SetNumber(_, number string) { g.Number = number }

// Facts implements Body.
func (g *RingGroup) Facts() Facts {
	members := make([]string, len(g.Members))
	for i, m := range g.Members {
		members[i] = string(m)
	}
	return Facts{
		"number": g.Number, "strategy": string(g.Strategy), "members": strings.Join(members, " "), "seconds": strconv.Itoa(g.Seconds),
		"skip_busy": strconv.FormatBool(g.SkipBusy), "fallback": g.Fallback.String(),
	}
}

// Replace implements Body.
func (g *RingGroup) Replace(user, by UserID) (Body, bool) {
	replaced := *g
	replaced.Members, replaced.Fallback = replaceUser(g.Members, user, by), g.Fallback.replaceUser(user, by)
	return &replaced, len(replaced.Members) > 0 && replaced.Fallback.Kind != ""
}
