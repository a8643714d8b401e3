package callflow

import (
	"fmt"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// settings returns the call settings that apply to a user.
func (w *walk) settings(u *pbx.User) pbx.CallSettings {
	return w.levels.Of(*u, pbx.Installation(w.request.RingSeconds))
}

// ringUser rings the phone of a user who is called directly. It returns where the call goes next if the user does not answer; ok is false if it has ended.
func (w *walk) ringUser(u *pbx.User) (next pbx.Destination, ok bool) {
	t, calls := thingOf(u), w.settings(u)
	var switched pbx.Switches
	if !u.Disabled {
		switched = w.request.Switches[u.ID]
	}
	if switched.ForwardAlways != "" {
		return w.forward(t, "forward_always", "forwards all calls", switched.ForwardAlways, causeNoAnswer)
	}
	w.tried = append(w.tried, t.ID)
	status := CannotBeCalled
	if p, rings := w.canBeDialled(t, u, false); rings {
		switch origin := w.levels.RingSecondsFrom(*u); origin {
		case pbx.FromUser:
			w.because(t, "ring_seconds", fmt.Sprintf("The phone rings for %d seconds.", calls.RingSeconds))
		case pbx.FromPool, pbx.FromOrganisation:
			w.because(t, "", fmt.Sprintf("The phone rings for %d seconds, as the %s is set.", calls.RingSeconds, origin))
		default:
			w.because(t, "", fmt.Sprintf("A phone that is called directly rings for %d seconds, as this installation is set.", calls.RingSeconds))
		}
		status = w.ring(t, []phone{p}, calls.RingSeconds)
		present := present([]phone{p})
		w.describe(present, attempt(present, calls.RingSeconds, status), status)
	} else if !u.Disabled {
		status = Engaged
		w.clauses = append(w.clauses, t.String()+" is busy")
	}
	switch status {
	case Answered:
	case Engaged:
		return w.goOn(t, "busy", "is busy", switched.ForwardBusy, calls.WhenBusy, causeBusy)
	case NotAnswered:
		return w.goOn(t, "unanswered", "does not answer", switched.ForwardUnanswered, calls.WhenUnanswered, causeNoAnswer)
	case CannotBeCalled:
		return w.goOn(t, "unreachable", "cannot be reached", switched.ForwardUnreachable, calls.WhenUnreachable, causeUnreachable)
	}
	return next, false
}

// goOn returns where the call to a user goes next, or ends it with a cause.
func (w *walk) goOn(t Thing, when, what, forward string, to pbx.Destination, cause int) (next pbx.Destination, ok bool) {
	switch {
	case forward != "":
		return w.forward(t, "forward_"+when, what+" and forwards such calls", forward, cause)
	case to.Kind == pbx.Hangup:
		w.hangup(t, cause)
		return to, false
	}
	w.because(t, "when_"+when, fmt.Sprintf("%s %s, and the call goes on to %s.", t, what, w.thing(pbx.Ref(to))))
	return to, !w.again(t, to, cause)
}

// forward returns where the call to a user who forwards it goes next. It ends the call if nothing has the number, or with a cause if it came to the user with
// the number before.
func (w *walk) forward(t Thing, field, what, number string, cause int) (next pbx.Destination, ok bool) {
	w.because(t, field, fmt.Sprintf("%s %s to %s.", t, what, number))
	if r, ok := find(w.model, number); ok {
		return pbx.Destination(r), !w.again(t, pbx.Destination(r), cause)
	}
	if _, _, code := pbx.DialledCode(number); code && w.request.FeatureCodes {
		w.hangup(t, causeRejected)
		return next, false
	}
	w.taken = append(w.taken, "gone:"+pbx.Context+"."+number)
	w.end(t, causeUnallocated)
	return next, false
}
