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
	status := CannotBeCalled
	if p, rings := w.canBeDialled(t, u, false); rings {
		switch origin := w.levels.Origins(*u, pbx.Installation(w.request.RingSeconds))["ring_seconds"]; origin {
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
		return w.goOn(t, "when_busy", "is busy", calls.WhenBusy, causeBusy)
	case NotAnswered:
		return w.goOn(t, "when_unanswered", "does not answer", calls.WhenUnanswered, causeNoAnswer)
	case CannotBeCalled:
		return w.goOn(t, "when_unreachable", "cannot be reached", calls.WhenUnreachable, causeUnreachable)
	}
	return next, false
}

// goOn returns where the call to a user goes next, or ends it with a cause.
func (w *walk) goOn(t Thing, field, what string, to pbx.Destination, cause int) (next pbx.Destination, ok bool) {
	if to.Kind == pbx.Hangup {
		w.hangup(t, cause)
		return to, false
	}
	w.because(t, field, fmt.Sprintf("%s %s, and the call goes on to %s.", t, what, w.thing(pbx.Ref(to))))
	return to, true
}
