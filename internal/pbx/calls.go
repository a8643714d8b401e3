package pbx

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CallSettings are the settings of the calls of a user. The zero value of a field means that it is inherited (Within). The JSON form of what is not
// inherited is stored.
type CallSettings struct {
	RingSeconds     int          `json:"ring_seconds,omitempty"`    // how long a call to the user rings: 5–120
	CallLimit       CallLimit    `json:"call_limit,omitempty"`      // another caller gets WhenBusy
	WhenBusy        Destination  `json:"when_busy,omitzero"`        // where calls go on to when the phone is busy, or the limit is reached
	WhenUnanswered  Destination  `json:"when_unanswered,omitzero"`  // when the user does not answer
	WhenUnreachable Destination  `json:"when_unreachable,omitzero"` // when no phone is registered, or the user is disabled
	CallerName      string       `json:"caller_name,omitempty"`     // what other phones show of calls from the user: the user's name if it is empty everywhere
	CallerNumber    string       `json:"caller_number,omitempty"`   // the user's number if it is empty everywhere
	PickupGroups    PickupGroups `json:"pickup_groups,omitzero"`    // the users of one can answer each other's ringing phones
	Record          RecordPolicy `json:"record,omitempty"`          // has no effect yet
	Language        string       `json:"language,omitempty"`        // of the prompts that Asterisk plays to the user: xx or xx_YY
	DialClass       string       `json:"dial_class,omitempty"`      // has no effect yet
}

// CallLimit is how many calls to a user there can be at once: 1–10, or NoCallLimit.
type CallLimit int

// NoCallLimit lifts a limit that would be inherited.
const NoCallLimit CallLimit = -1

// MarshalJSON encodes the number of calls, NoCallLimit as 0.
func (l CallLimit) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(max(l, 0)), 10), nil
}

// UnmarshalJSON decodes a number of calls, 0 as NoCallLimit.
func (l *CallLimit) UnmarshalJSON(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if *l = CallLimit(n); n == 0 {
		*l = NoCallLimit
	}
	return err
}

// RecordPolicy is which calls of a user are recorded.
type RecordPolicy string

// The policies.
const (
	RecordNever    RecordPolicy = "never"
	RecordOnDemand RecordPolicy = "on_demand"
	RecordAlways   RecordPolicy = "always"
)

// RecordPolicies returns all policies.
func RecordPolicies() []RecordPolicy {
	return []RecordPolicy{RecordNever, RecordOnDemand, RecordAlways}
}

// The limits of call settings.
const (
	MinUserRingSeconds = 5
	MaxUserRingSeconds = 120
	MaxCallLimit       = 10
	MaxPickupGroup     = 63
)

// PickupGroups is a set of pickup groups, which are numbers from 0 to MaxPickupGroup: bit n is set if group n is in it.
type PickupGroups uint64

// PickupGroupsOf returns the set of these groups; ok is false if one is out of range or occurs twice.
func PickupGroupsOf(numbers []int) (groups PickupGroups, ok bool) {
	for _, n := range numbers {
		if n < 0 || n > MaxPickupGroup || groups&(1<<n) != 0 {
			return 0, false
		}
		groups |= 1 << n
	}
	return groups, true
}

// Numbers returns the groups in order; never nil.
func (g PickupGroups) Numbers() []int {
	numbers := []int{}
	for n := range MaxPickupGroup + 1 {
		if g&(1<<n) != 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// MarshalJSON encodes the numbers of the groups.
func (g PickupGroups) MarshalJSON() ([]byte, error) { return json.Marshal(g.Numbers()) }

// UnmarshalJSON decodes numbers of groups.
func (g *PickupGroups) UnmarshalJSON(text []byte) error {
	var numbers []int
	if err := json.Unmarshal(text, &numbers); err != nil {
		return err
	}
	groups, ok := PickupGroupsOf(numbers)
	if !ok {
		return fmt.Errorf("pickup groups must be different numbers from 0 to %d", MaxPickupGroup)
	}
	*g = groups
	return nil
}

// Within returns the settings that apply to a user with the settings c: of each field its own value or, if there is none, that of the nearest level that has
// one. The levels above are given from the nearest to the farthest, which is the installation. A call to a user who cannot be reached goes on to where one
// goes that the user does not answer, if only that is set; by default all calls end. The CallLimit is 0 if there is none.
func (c CallSettings) Within(levels ...CallSettings) CallSettings {
	c = c.over(levels...)
	end := Destination{Kind: Hangup}
	c.RingSeconds = cmp.Or(c.RingSeconds, DefaultRingTimeout)
	c.WhenUnreachable = cmp.Or(c.WhenUnreachable, c.WhenUnanswered, end)
	c.WhenBusy, c.WhenUnanswered = cmp.Or(c.WhenBusy, end), cmp.Or(c.WhenUnanswered, end)
	c.Record, c.CallLimit = cmp.Or(c.Record, RecordNever), max(c.CallLimit, 0)
	return c
}

// over returns what Within does, without defaults.
func (c CallSettings) over(levels ...CallSettings) CallSettings {
	for _, l := range levels {
		c.RingSeconds = cmp.Or(c.RingSeconds, l.RingSeconds)
		c.CallLimit = cmp.Or(c.CallLimit, l.CallLimit)
		c.WhenBusy = cmp.Or(c.WhenBusy, l.WhenBusy)
		c.WhenUnanswered = cmp.Or(c.WhenUnanswered, l.WhenUnanswered)
		c.WhenUnreachable = cmp.Or(c.WhenUnreachable, l.WhenUnreachable)
		c.CallerName = cmp.Or(c.CallerName, l.CallerName)
		c.CallerNumber = cmp.Or(c.CallerNumber, l.CallerNumber)
		c.PickupGroups = cmp.Or(c.PickupGroups, l.PickupGroups)
		c.Record = cmp.Or(c.Record, l.Record)
		c.Language = cmp.Or(c.Language, l.Language)
		c.DialClass = cmp.Or(c.DialClass, l.DialClass)
	}
	return c
}

// Installation returns the settings of an installation whose phones ring for a time, in seconds; 0 means the default.
func Installation(ringSeconds int) CallSettings { return CallSettings{RingSeconds: ringSeconds} }

// clean brings the fields into their normal form, and returns what is wrong with those that differ from was.
func (c *CallSettings) clean(was CallSettings) (wrong []FieldError) {
	between := func(field string, now, before, least, most int) {
		if now != before && now != 0 && (now < least || now > most) {
			wrong = append(wrong, FieldError{
				Field: "calls." + field, Code: FieldRange, Least: least, Most: most, Message: fmt.Sprintf("must be from %d to %d, or null to inherit it", least, most),
			})
		}
	}
	between("ring_seconds", c.RingSeconds, was.RingSeconds, MinUserRingSeconds, MaxUserRingSeconds)
	if c.CallLimit != NoCallLimit {
		between("call_limit", int(c.CallLimit), int(was.CallLimit), 1, MaxCallLimit)
	}
	for _, d := range c.destinations() {
		if d.to.Kind != "" || d.to.ID != "" {
			wrong = append(wrong, d.to.clean("calls."+d.field))
		}
	}
	c.CallerName, c.CallerNumber = Normalize(c.CallerName), strings.TrimSpace(c.CallerNumber)
	if c.CallerName != was.CallerName && c.CallerName != "" {
		wrong = append(wrong, textFault("calls.caller_name", c.CallerName, ""))
	}
	for _, f := range []struct {
		field, now, before, message string
		right                       bool
	}{
		{"caller_number", c.CallerNumber, was.CallerNumber, "must be up to 32 digits, with or without + before them, or null to inherit it", isDialledNumber(c.CallerNumber)},
		{"language", c.Language, was.Language, "must be a language such as de or pt_BR, or null to inherit it", isLanguage(c.Language)},
		{
			"dial_class", c.DialClass, was.DialClass, "must be up to 40 lower-case letters, digits and hyphens, or null to inherit it",
			len(c.DialClass) <= 40 && strings.Trim(c.DialClass, "abcdefghijklmnopqrstuvwxyz0123456789-") == "",
		},
	} {
		if f.now != f.before && f.now != "" && !f.right {
			wrong = append(wrong, FieldError{Field: "calls." + f.field, Code: FieldMalformed, Message: f.message})
		}
	}
	if c.Record != "" && !slices.Contains(RecordPolicies(), c.Record) {
		wrong = append(wrong, FieldError{Field: "calls.record", Code: FieldChoice, Message: choice(RecordPolicies())})
	}
	return wrong
}

// isDialledNumber reports whether a text is a number as other phones show it.
func isDialledNumber(text string) bool {
	digits := strings.TrimPrefix(text, "+")
	return len(digits) > 0 && len(digits) <= 32 && strings.Trim(digits, "0123456789") == ""
}

// isLanguage reports whether a text is a language as Asterisk names folders of prompts: de, pt_BR.
func isLanguage(text string) bool {
	language, region, regional := strings.Cut(text, "_")
	return len(language) == 2 && strings.Trim(language, "abcdefghijklmnopqrstuvwxyz") == "" &&
		(!regional || len(region) == 2 && strings.Trim(region, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "")
}

// destination is a field with a destination.
type destinationField struct {
	field string
	to    *Destination
}

// destinations returns the fields with destinations, in the order of their names.
func (c *CallSettings) destinations() []destinationField {
	return []destinationField{{"when_busy", &c.WhenBusy}, {"when_unanswered", &c.WhenUnanswered}, {"when_unreachable", &c.WhenUnreachable}}
}

// References returns what the fields refer to, ordered by field.
func (c CallSettings) References() (all []Reference) {
	for _, d := range c.destinations() {
		if d.to.Kind != "" {
			all = append(all, d.to.reference("calls."+d.field)...)
		}
	}
	return all
}

// Without returns the settings without the value of a field with a destination.
func (c CallSettings) Without(field string) CallSettings {
	for _, d := range c.destinations() {
		if "calls."+d.field == field {
			*d.to = Destination{}
		}
	}
	return c
}

// Replace returns the settings with another user in the place of one. If by is "", those with the user are inherited.
func (c CallSettings) Replace(user, by UserID) CallSettings {
	for _, d := range c.destinations() {
		*d.to = d.to.replaceUser(user, by)
	}
	return c
}

// Stored returns the JSON form, "" if everything is inherited.
func (c CallSettings) Stored() string {
	if c == (CallSettings{}) {
		return ""
	}
	text, _ := json.Marshal(c) // the types cannot fail
	return string(text)
}

// CallSettingsFrom returns the settings with a JSON form that Stored returns.
func CallSettingsFrom(stored string) (c CallSettings, err error) {
	if stored != "" {
		err = json.Unmarshal([]byte(stored), &c)
	}
	return c, err
}

// factPrefix begins the names of the facts of call settings.
const factPrefix = "calls."

// AddTo adds the settings that are not inherited to facts, each with its JSON value.
func (c CallSettings) AddTo(facts Facts) {
	var fields map[string]json.RawMessage
	if text := c.Stored(); text == "" || json.Unmarshal([]byte(text), &fields) != nil {
		return
	}
	for name, value := range fields {
		facts[factPrefix+name] = string(value)
	}
}

// CallFacts adds the facts of call settings before and after a change, both with the same names: null is the value of one that is inherited.
func CallFacts(was, now CallSettings, before, after Facts) {
	was.AddTo(before)
	now.AddTo(after)
	for _, side := range [][2]Facts{{before, after}, {after, before}} {
		for name := range side[0] {
			if _, ok := side[1][name]; !ok && strings.HasPrefix(name, factPrefix) {
				side[1][name] = "null"
			}
		}
	}
}

// CallSettingsOf returns the settings with these facts.
func CallSettingsOf(facts Facts) (CallSettings, error) {
	fields := map[string]json.RawMessage{}
	for name, value := range facts {
		if field, ok := strings.CutPrefix(name, factPrefix); ok && value != "" {
			fields[field] = json.RawMessage(value)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return CallSettings{}, err
	}
	return CallSettingsFrom(string(text))
}
