package pbx

import (
	"regexp"
	"strconv"
	"strings"
)

// Switches are what a user switches at once, without an apply: by a feature code on a phone, or in the portal. Asterisk alone holds them; they are in no
// generated file and not in the database. A forward is the number that calls are forwarded to, "" for none.
type Switches struct {
	DoNotDisturb       bool   // calls to the user are treated as if the phone were busy, and ring groups leave the user out
	ForwardAlways      string // all calls
	ForwardBusy        string // calls that the user is busy for
	ForwardUnanswered  string
	ForwardUnreachable string // calls while no phone of the user is registered
}

// Switch is one of Switches: its name in the contract, and its name in Asterisk, which the events of feature codes have.
type Switch struct{ Name, Key string }

// DoNotDisturbKey is the name in Asterisk of the only switch that is no forward. Its value is "1" or "".
const DoNotDisturbKey = "dnd"

// AllSwitches returns the switches in the order of the documentation.
func AllSwitches() []Switch {
	return []Switch{
		{"do_not_disturb", DoNotDisturbKey}, {"forward_always", "cfa"}, {"forward_busy", "cfb"}, {"forward_unanswered", "cfn"}, {"forward_unreachable", "cfu"},
	}
}

// Values returns the values of AllSwitches, in the same order.
func (s Switches) Values() []string {
	dnd := ""
	if s.DoNotDisturb {
		dnd = "1"
	}
	return []string{dnd, s.ForwardAlways, s.ForwardBusy, s.ForwardUnanswered, s.ForwardUnreachable}
}

// Facts returns the switches that are on, for the audit trail.
func (s Switches) Facts() Facts {
	facts := Facts{}
	for i, v := range s.Values() {
		facts[AllSwitches()[i].Name] = v
	}
	return facts
}

// without returns the switches without forwards to a number.
func (s Switches) without(number string) Switches {
	for _, to := range []*string{&s.ForwardAlways, &s.ForwardBusy, &s.ForwardUnanswered, &s.ForwardUnreachable} {
		if *to == number {
			*to = ""
		}
	}
	return s
}

// forwardTarget matches a number that calls can be forwarded to.
var forwardTarget = regexp.MustCompile(`^[0-9*#+]{1,32}$`)

// Check returns an error of KindInvalid that names every forward of the user with this number that is no number, or the user's own.
func (s Switches) Check(own Number) error {
	var faults []FieldError
	for i, to := range s.Values() {
		switch name := AllSwitches()[i].Name; {
		case i == 0 || to == "":
		case !forwardTarget.MatchString(to):
			faults = append(faults, FieldError{Field: name, Code: FieldMalformed, Message: "must be a number of 1 to 32 digits, *, # or +, or null for none"})
		case to == strconv.Itoa(int(own)):
			faults = append(faults, FieldError{Field: name, Code: FieldCircular, Message: "must not be the user's own number: choose another one, or null for none"})
		}
	}
	return Invalid(faults...)
}

// FeatureCode is what a user dials to change a switch of their own. The code of a forward is followed by the number to forward to.
type FeatureCode struct {
	Code   string // "*72"
	Key    string // of the switch
	Number bool   // a number follows
	Value  string // that the switch gets if none does
}

// FeatureCodes returns the codes that phones can dial if the installation has them switched on: those of FreePBX, and two of mobile networks.
func FeatureCodes() []FeatureCode {
	return []FeatureCode{
		{Code: "*78", Key: DoNotDisturbKey, Value: "1"},
		{Code: "*79", Key: DoNotDisturbKey},
		{Code: "*72", Key: "cfa", Number: true},
		{Code: "*73", Key: "cfa"},
		{Code: "*90", Key: "cfb", Number: true},
		{Code: "*91", Key: "cfb"},
		{Code: "*52", Key: "cfn", Number: true},
		{Code: "*53", Key: "cfn"},
		{Code: "*62", Key: "cfu", Number: true},
		{Code: "*63", Key: "cfu"},
	}
}

// DialledCode returns the switch that dialling a feature code changes, and the value that it gets; ok is false if the text is none.
func DialledCode(dialled string) (key, value string, ok bool) {
	for _, c := range FeatureCodes() {
		number, found := strings.CutPrefix(dialled, c.Code)
		switch {
		case found && c.Number && forwardTarget.MatchString(number):
			return c.Key, number, true
		case found && !c.Number && number == "":
			return c.Key, c.Value, true
		}
	}
	return "", "", false
}
