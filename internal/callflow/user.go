package callflow

import (
	"fmt"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// ringUser rings the phone of a user who is called directly, and ends the call if the user does not answer.
func (w *walk) ringUser(u *pbx.User) {
	t := thingOf(u)
	p, _ := w.canBeDialled(t, u, false)
	w.because(t, "", fmt.Sprintf("A phone that is called directly rings for %d seconds, as this installation is set.", w.request.RingSeconds))
	status := w.ring(t, []phone{p}, w.request.RingSeconds)
	rings := present([]phone{p})
	w.describe(rings, attempt(rings, w.request.RingSeconds, status), status)
	switch status {
	case Answered:
	case Engaged:
		w.hangup(t, causeBusy)
	case NotAnswered:
		w.hangup(t, causeNoAnswer)
	case CannotBeCalled:
		w.hangup(t, causeUnreachable)
	}
}
