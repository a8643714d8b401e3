package callflow

import (
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Call is a call to follow in the words of the API and the command line. Users and items are named by their number or id.
type Call struct {
	As   string // the user who calls
	From string // or the number of another caller
	To   string // the user or item that is called
	Dial string // or the number that is dialled
	At   time.Time
	Keys []string // what becomes of each attempt to ring, in order: answer, answer:WHO, no_answer, busy, unreachable
	Away []string // users whose phones are not registered
	Busy []string // users who are in a call
}

// Request returns the call as a Request. The error is of pbx.KindInvalid and names every invalid field.
func (c Call) Request(m pbx.Model) (Request, error) {
	p := parser{index: newIndex(m), model: m}
	r := Request{From: c.From, Dial: c.Dial, At: c.At}
	switch {
	case c.As != "" && c.From != "":
		p.fault("from", pbx.FieldUnknown, "must be left out if \"as\" names the user who calls")
	case c.As != "":
		r.As = p.user("as", c.As)
	case len(c.From) > maxDialled || strings.Trim(c.From, "+0123456789") != "":
		p.fault("from", pbx.FieldMalformed, "must be a number of at most 32 digits")
	}
	switch {
	case c.To == "" && c.Dial == "":
		p.fault("dial", pbx.FieldMissing, "must not be empty: give the number that is dialled, or in the field \"to\" what is called")
	case c.To != "" && c.Dial != "":
		p.fault("dial", pbx.FieldUnknown, "must be left out if \"to\" names what is called")
	case c.To != "":
		to, ok := p.thingNamed(c.To)
		if r.To = to; !ok {
			p.fault("to", pbx.FieldChoice, "must be the number or id of a user or of another object that can be called, such as a ring group")
		}
	case len(c.Dial) > maxDialled || strings.Trim(c.Dial, "+*#0123456789") != "":
		p.fault("dial", pbx.FieldMalformed, "must be at most 32 digits")
	}
	for _, k := range c.Keys {
		status, by, given := strings.Cut(k, ":")
		o := Outcome{Status: Status(status)}
		if !slices.Contains(Statuses(), o.Status) || given && o.Status != Answered {
			p.fault("keys", pbx.FieldChoice, "must be answer, answer:NUMBER, no_answer, busy or unreachable, one for each attempt to ring")
			break
		}
		if given {
			o.By = p.user("keys", by)
		}
		r.Script = append(r.Script, o)
	}
	for _, a := range c.Away {
		r.Away = append(r.Away, p.user("away", a))
	}
	for _, b := range c.Busy {
		r.Busy = append(r.Busy, p.user("busy", b))
	}
	return r, pbx.Invalid(p.faults...)
}

// maxDialled is the maximum length of a number that is dialled.
const maxDialled = 32

// parser collects what is wrong with a Call.
type parser struct {
	index

	model  pbx.Model
	faults []pbx.FieldError
}

// fault records the first fault of a field.
func (p *parser) fault(field string, code pbx.FieldCode, message string) {
	if !slices.ContainsFunc(p.faults, func(f pbx.FieldError) bool { return f.Field == field }) {
		p.faults = append(p.faults, pbx.FieldError{Field: field, Code: code, Message: message})
	}
}

// thingNamed returns the user or item with a number or id.
func (p *parser) thingNamed(text string) (pbx.Ref, bool) {
	if r, ok := find(p.model, text); ok {
		return r, true
	}
	id, _ := pbx.CanonicalID(text)
	if u := p.users[id]; u != nil {
		return pbx.Ref{Kind: pbx.KindUser, ID: id}, true
	}
	if i := p.items[id]; i != nil {
		return refOf(i), true
	}
	return pbx.Ref{}, false
}

// user returns the user with a number or id.
func (p *parser) user(field, text string) pbx.UserID {
	r, ok := p.thingNamed(text)
	if !ok || r.Kind != pbx.KindUser {
		p.fault(field, pbx.FieldChoice, "must be the number or id of a user")
	}
	return pbx.UserID(r.ID)
}
