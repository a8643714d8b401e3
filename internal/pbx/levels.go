package pbx

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
)

// Levels are the call settings that users inherit, below those of the installation.
type Levels struct {
	Organisation CallSettings
	Pools        []PoolLevel // those that have settings
}

// PoolLevel is the call settings of the users with numbers of a pool.
type PoolLevel struct {
	First, Last Number
	Calls       CallSettings
}

// Of returns the call settings that apply to a user: those of the user, and what is inherited (Within). A user does not inherit that calls go on to this same
// user. The name and number that other phones show are empty where the user's own apply.
func (l Levels) Of(u User, installation CallSettings) CallSettings {
	return u.Calls.Within(append(l.above(u), installation)...)
}

// GoesOn returns what calls to a user go on to, ordered by field.
func (l Levels) GoesOn(u User) []Reference { return u.Calls.over(l.above(u)...).References() }

// above returns what a user inherits, the nearest level first.
func (l Levels) above(u User) (all []CallSettings) {
	for _, level := range l.named(u)[1:] {
		all = append(all, level.calls)
	}
	return all
}

// level is call settings with the name of the level that they are set at.
type level struct {
	name  string
	calls CallSettings
}

// named returns the settings of a user, and what the user inherits, the nearest level first.
func (l Levels) named(u User) []level {
	all := append(make([]level, 0, 4), level{FromUser, u.Calls})
	if i := l.PoolOf(u.Extension.Number); i >= 0 {
		all = append(all, level{FromPool, l.Pools[i].Calls.Replace(u.ID, "")})
	}
	return append(all, level{FromOrganisation, l.Organisation.Replace(u.ID, "")})
}

// RingSecondsFrom returns the level that the ring time of a user comes from, "" if none sets it.
func (l Levels) RingSecondsFrom(u User) string {
	levels := l.named(u)
	if i := slices.IndexFunc(levels, func(at level) bool { return at.calls.RingSeconds != 0 }); i >= 0 {
		return levels[i].name
	}
	return ""
}

// Shown returns what Of does, with the name and the number that other phones show.
func (l Levels) Shown(u User, installation CallSettings) CallSettings {
	c := l.Of(u, installation)
	c.CallerName, c.CallerNumber = cmp.Or(c.CallerName, u.Name), cmp.Or(c.CallerNumber, strconv.Itoa(int(u.Extension.Number)))
	return c
}

// PoolOf returns the index in Pools of the pool with a number, -1 if there is none.
func (l Levels) PoolOf(n Number) int {
	return slices.IndexFunc(l.Pools, func(p PoolLevel) bool { return n >= p.First && n <= p.Last })
}

// Equal reports whether two levels are the same.
func (l Levels) Equal(other Levels) bool {
	return l.Organisation == other.Organisation && slices.Equal(l.Pools, other.Pools)
}

// References returns what calls go on to because it is inherited.
func (l Levels) References() []Reference {
	all := l.Organisation.References()
	for _, p := range l.Pools {
		all = append(all, p.Calls.References()...)
	}
	return all
}

// The levels that settings come from.
const (
	FromUser         = "user"
	FromPool         = "pool"
	FromOrganisation = "organisation"
	FromAsterisk     = "asterisk"
	FromEnvironment  = "environment" // a variable, or a flag of the command
	FromDefault      = "default"
)

// Origins returns the level that each call setting of a user comes from, by its name in the contract.
func (l Levels) Origins(u User, installation CallSettings) map[string]string {
	levels := l.named(u)
	if installation != Installation(DefaultRingTimeout) {
		levels = append(levels, level{FromEnvironment, installation})
	}
	from := map[string]string{}
	for _, c := range []CallSettings{l.Shown(u, installation), u.Calls.over(l.above(u)...)} { // the second also has what is lifted
		for field := range c.fields() {
			from[field] = FromDefault
			if i := slices.IndexFunc(levels, func(l level) bool { return l.calls.has(field) }); i >= 0 {
				from[field] = levels[i].name
			}
		}
	}
	if from["when_unreachable"] == FromDefault && l.Of(u, installation).WhenUnreachable.Kind != Hangup { // it follows the other one
		from["when_unreachable"] = from["when_unanswered"]
	}
	return from
}

// has reports whether a field is not inherited.
func (c CallSettings) has(field string) bool {
	_, ok := c.fields()[field]
	return ok
}

// fields returns the JSON form of each field that is not inherited.
func (c CallSettings) fields() (fields map[string]json.RawMessage) {
	if text := c.Stored(); text != "" {
		_ = json.Unmarshal([]byte(text), &fields) // Stored returns an object
	}
	return fields
}
