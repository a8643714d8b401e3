package callflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Request is a call to follow. The zero values of its fields are useful.
type Request struct {
	As   pbx.UserID // the user who calls; "" for another caller
	From string     // the number of another caller; "" for none

	To   pbx.Ref // the thing that is called; without a kind, Dial has the number
	Dial string  // the number that is dialled

	At     time.Time    // when; zero means any time
	Script []Outcome    // what becomes of each attempt to ring, in order; after the last one no user answers
	Away   []pbx.UserID // users whose phones are not registered
	Busy   []pbx.UserID // users who are in a call, besides the one who calls; once for each call to the user

	Switches     map[pbx.UserID]pbx.Switches // what users have switched
	FeatureCodes bool                        // phones can dial feature codes

	RingSeconds int // how long the phone of a user rings who is called directly; 0 means the default
}

// Outcome is what becomes of an attempt to ring some phones.
type Outcome struct {
	Status Status
	By     pbx.UserID // who answers; "" for the first who rings
}

// Status is the status of an attempt to ring.
type Status string

// The statuses.
const (
	Answered       Status = "answer"
	NotAnswered    Status = "no_answer"
	Engaged        Status = "busy"
	CannotBeCalled Status = "unreachable"
)

// Statuses returns all statuses.
func Statuses() []Status { return []Status{Answered, NotAnswered, Engaged, CannotBeCalled} }

// letter returns the status as the dry run of the dialplan reads and records it.
func (s Status) letter() string {
	switch s {
	case Answered:
		return "a"
	case Engaged:
		return "b"
	case CannotBeCalled:
		return "u"
	case NotAnswered:
	}
	return "n"
}

// Result is what happens to a call.
type Result struct {
	Sentence string // all of it in plain English
	Steps    []Step
	Taken    string // the steps in the short form in which the dialplan on Asterisk records a dry run
	Why      []Why
	Faults   []Fault // of what the call came through
}

// StepKind is a kind of Step.
type StepKind string

// The kinds of steps.
const (
	StepEnter  StepKind = "enter"  // the call comes to a thing
	StepRing   StepKind = "ring"   // phones ring
	StepAnswer StepKind = "answer" // a user answers: the call is connected, and the last step
	StepHangup StepKind = "hangup" // the call ends without an answer: the last step
)

// Step is one step of a call.
type Step struct {
	Kind    StepKind
	Thing   Thing   // where the call is; for StepAnswer who answers
	Rings   []Thing // StepRing: whose phones ring
	Seconds int     // StepRing: how long they ring if no user answers
	Outcome Status  // StepRing
	Cause   int     // StepHangup: the cause by Q.850, which decides what the caller hears
	Text    string  // the step in words
}

// Why is a decision with the setting that caused it.
type Why struct {
	Thing Thing
	Field string // the setting of the thing; "" if it is not a setting, but what the request says
	Text  string
}

// The causes by Q.850 that a call ends with.
const (
	causeUnallocated = 1
	causeBusy        = 17
	causeNormal      = 16
	causeNoAnswer    = 19
	causeUnreachable = 20
	causeRejected    = 21
	causeLoop        = 25
)

// maxHops is how many things a call can come to one after the other. The dialplan counts, too.
const maxHops = 10

// walk is one call on its way.
type walk struct {
	index
	model   pbx.Model
	request Request
	calls   func(pbx.UserID) int // how many calls to a user there are, besides this one
	script  []Outcome
	hops    int
	tried   []string // the users to whose phones, or fallbacks, the call came
	result  Result
	taken   []string
	clauses []string // of the sentence
}

// Simulate returns what happens to a call.
func Simulate(m pbx.Model, r Request) Result {
	w := walk{index: newIndex(m), model: m, request: r, script: r.Script, calls: func(u pbx.UserID) (n int) {
		for _, busy := range r.Busy {
			if busy == u {
				n++
			}
		}
		return n
	}}
	w.follow()
	w.result.Sentence = w.sentence()
	for _, f := range Check(m) {
		if slices.ContainsFunc(w.result.Steps, func(s Step) bool { return slices.Contains(f.Things, pbx.Ref{Kind: s.Thing.Kind, ID: s.Thing.ID}) }) {
			w.result.Faults = append(w.result.Faults, f)
		}
	}
	return w.result
}

// follow follows the call to its end.
func (w *walk) follow() {
	if w.request.RingSeconds == 0 {
		w.request.RingSeconds = pbx.DefaultRingTimeout
	}
	for to, ok := w.begin(); ok; {
		to, ok = w.enter(to)
	}
	w.result.Taken = strings.Join(w.taken, " ")
}

// begin returns the thing that is called.
func (w *walk) begin() (to pbx.Destination, ok bool) {
	if w.request.To.Kind != "" {
		return pbx.Destination(w.request.To), true
	}
	r, ok := find(w.model, w.request.Dial)
	if key, value, code := pbx.DialledCode(w.request.Dial); code && w.request.FeatureCodes {
		w.taken = append(w.taken, "code:"+key+"="+value)
		w.end(Thing{Number: w.request.Dial}, causeNormal)
		w.because(Thing{Number: w.request.Dial}, "number", w.request.Dial+" is a feature code, which changes a switch of the caller.")
		return pbx.Destination{}, false
	}
	if !ok { // no step of the dialplan is reached
		w.end(Thing{Number: w.request.Dial}, causeUnallocated)
		w.because(Thing{Number: w.request.Dial}, "number", "No user and no other object has the number "+strconv.Quote(w.request.Dial)+".")
		return pbx.Destination{}, false
	}
	w.because(w.thing(r), "number", fmt.Sprintf("%s is the number of %s.", w.request.Dial, w.thing(r).Name))
	return pbx.Destination(r), true
}

// enter follows the call through one destination.
func (w *walk) enter(to pbx.Destination) (next pbx.Destination, ok bool) {
	t := w.thing(pbx.Ref(to))
	item, user := w.item(pbx.Ref(to)), w.user(pbx.Ref(to))
	if item == nil && user == nil {
		w.taken = append(w.taken, "gone:"+string(to.Kind)+"."+to.ID)
		w.end(t, causeUnallocated)
		return next, false
	}
	text := "the call goes on to " + t.String()
	if len(w.result.Steps) == 0 {
		text = w.caller() + " calls " + t.String()
	}
	w.result.Steps = append(w.result.Steps, Step{Kind: StepEnter, Thing: t, Text: text})
	w.clauses = append(w.clauses, text)
	if user != nil && user.Disabled && w.settings(user).WhenUnreachable.Kind == pbx.Hangup {
		w.because(t, "enabled", t.String()+" is disabled, and cannot be called.")
		w.hangup(t, causeUnreachable)
		return next, false
	}
	if w.hops++; w.hops > maxHops {
		w.taken = append(w.taken, "loop")
		w.because(t, "", fmt.Sprintf("A call comes to at most %d objects one after the other.", maxHops))
		w.end(t, causeLoop)
		return next, false
	}
	if user != nil {
		return w.ringUser(user)
	}
	return kindOf(item.Kind).enter(w, item)
}

// caller returns who calls.
func (w *walk) caller() string {
	u := w.users[string(w.request.As)]
	switch {
	case u != nil:
		return thingOf(u).String()
	case w.request.From != "":
		return "a caller with the number " + w.request.From
	}
	return "a caller"
}

// because records a decision.
func (w *walk) because(t Thing, field, text string) {
	w.result.Why = append(w.result.Why, Why{t, field, text})
}

// hangup ends the call with a cause, which the trace records.
func (w *walk) hangup(t Thing, cause int) {
	w.taken = append(w.taken, "hangup:"+strconv.Itoa(cause))
	w.end(t, cause)
}

// again ends the call with a cause if it would go on to a user to whom it came before, and reports whether it did.
func (w *walk) again(t Thing, to pbx.Destination, cause int) bool {
	if to.Kind != pbx.KindUser || !slices.Contains(w.tried, to.ID) {
		return false
	}
	w.because(w.thing(pbx.Ref(to)), "", fmt.Sprintf("The call came to %s before, and does not go on to a user twice.", w.thing(pbx.Ref(to))))
	w.hangup(t, cause)
	return true
}

// end ends the call with a cause.
func (w *walk) end(t Thing, cause int) {
	meaning := map[int]string{
		causeUnallocated: "not a number in use", causeBusy: "busy", causeNormal: "a feature code", causeNoAnswer: "no answer", causeUnreachable: "unreachable", causeRejected: "rejected", causeLoop: "too many diversions",
	}[cause]
	text := "the call ends: " + meaning
	if len(w.result.Steps) == 0 {
		text = strings.TrimSpace(w.caller()+" dials "+w.request.Dial) + " and the call ends: " + meaning
	}
	w.result.Steps = append(w.result.Steps, Step{Kind: StepHangup, Thing: t, Cause: cause, Text: text})
	w.clauses = append(w.clauses, text)
}

// sentence joins the clauses.
func (w *walk) sentence() string {
	text := strings.Join(w.clauses, "; ")
	if !w.request.At.IsZero() {
		text = w.request.At.Format("Monday, 2 January 2006, 15:04") + ": " + text
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// phone is the phones of a user, which are dialled together.
type phone struct {
	Thing
	devices string // the names of the phones, as the dry run of the dialplan records them
	away    bool   // no phone is registered, and none rings
}

// devicesOf returns the names of the phones of a user, as the dry run of the dialplan records them.
func devicesOf(u *pbx.User) string {
	all := pbx.DeviceName(u.Extension.Number, pbx.FirstDevice)
	for _, d := range u.Devices {
		all += "&" + pbx.DeviceName(u.Extension.Number, d.Suffix)
	}
	return all
}

// full reports whether there are as many calls to a user as there can be.
func (w *walk) full(u *pbx.User) bool {
	limit := w.settings(u).CallLimit
	return limit > 0 && w.calls(u.ID) >= int(limit)
}

// canBeDialled returns the phone of a user, and records why it is not dialled with others, or does not ring. With skipBusy a user in a call is left out.
func (w *walk) canBeDialled(at Thing, u *pbx.User, skipBusy bool) (p phone, ok bool) {
	p = phone{thingOf(u), devicesOf(u), slices.Contains(w.request.Away, u.ID)}
	switch {
	case u.Disabled:
		w.because(p.Thing, "enabled", p.String()+" is disabled: the phone does not ring.")
		return p, false
	case w.request.Switches[u.ID].DoNotDisturb:
		w.because(p.Thing, "do_not_disturb", p.String()+" does not want to be disturbed.")
		return p, false
	case w.full(u):
		w.because(p.Thing, "call_limit", fmt.Sprintf("%s has as many calls as the limit of %d allows.", p, w.settings(u).CallLimit))
		return p, false
	case skipBusy && u.ID == w.request.As:
		w.because(at, "skip_busy", fmt.Sprintf("%s is in this call, and %s skips users who are busy.", p, at))
		return p, false
	case skipBusy && w.calls(u.ID) > 0:
		w.because(at, "skip_busy", fmt.Sprintf("%s is in a call, and %s skips users who are busy.", p, at))
		return p, false
	case p.away:
		w.because(p.Thing, "", "The phone of "+p.String()+" is not registered: it does not ring.")
	}
	return p, true
}

// present returns the phones that ring when they are dialled.
func present(phones []phone) (ring []Thing) {
	for _, p := range phones {
		if !p.away {
			ring = append(ring, p.Thing)
		}
	}
	return ring
}

// ring dials phones and returns the outcome. Without a phone nothing is recorded. Nothing of the script is used if none rings.
func (w *walk) ring(at Thing, phones []phone, seconds int) Status {
	if len(phones) == 0 {
		return CannotBeCalled
	}
	rings, by := present(phones), 0
	next := Outcome{Status: NotAnswered}
	switch {
	case len(rings) == 0:
		next.Status = CannotBeCalled
	case len(w.script) > 0:
		next, w.script = w.script[0], w.script[1:]
	}
	if next.Status == Answered && next.By != "" {
		if by = slices.IndexFunc(rings, func(t Thing) bool { return t.ID == string(next.By) }); by < 0 {
			who := w.thing(pbx.Ref{Kind: pbx.KindUser, ID: string(next.By)})
			w.because(who, "", who.String()+" cannot answer, because the phone does not ring.")
			next.Status = NotAnswered
		}
	}
	numbers := ""
	for _, p := range phones {
		numbers += "+" + p.devices
	}
	w.taken = append(w.taken, fmt.Sprintf("ring:%s:%d=%s", numbers, seconds, next.Status.letter()))
	w.result.Steps = append(w.result.Steps, Step{
		Kind: StepRing, Thing: at, Rings: rings, Seconds: seconds, Outcome: next.Status, Text: attempt(rings, seconds, next.Status),
	})
	if next.Status == Answered {
		w.taken = append(w.taken, "end")
		w.result.Steps = append(w.result.Steps, Step{Kind: StepAnswer, Thing: rings[by], Text: rings[by].String() + " answers"})
	}
	return next.Status
}

// noPhone is what is said of an attempt to ring where no phone can.
const noPhone = "no phone rings"

// describe adds to the sentence what becomes of phones, as the text says, and who answers.
func (w *walk) describe(phones []Thing, text string, status Status) {
	switch {
	case len(phones) == 0:
		text = noPhone
	case status == Answered:
		text += ", and " + w.result.Steps[len(w.result.Steps)-1].Text
	}
	w.clauses = append(w.clauses, text)
}

// ringing returns in words that phones ring at the same time.
func ringing(phones []Thing, seconds int) string {
	verb := " ring together for "
	switch len(phones) {
	case 0:
		return noPhone
	case 1:
		verb = " rings for "
	}
	return names(phones) + verb + strconv.Itoa(seconds) + " seconds"
}

// attempt returns in words that phones are dialled at the same time and what becomes of it. Phones that are busy or cannot be reached do not ring.
func attempt(phones []Thing, seconds int, status Status) string {
	are := " are"
	if len(phones) == 1 {
		are = " is"
	}
	switch {
	case len(phones) == 0 || status == Answered:
	case status == Engaged:
		return names(phones) + are + " busy"
	case status == CannotBeCalled:
		return names(phones) + " cannot be reached"
	default:
		return ringing(phones, seconds) + unanswered
	}
	return ringing(phones, seconds)
}

// unanswered is what is said after that phones ring and no user answers.
const unanswered = " without an answer"
