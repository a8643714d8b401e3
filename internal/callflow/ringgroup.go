package callflow

import (
	"fmt"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// ringGroup returns the row of ring groups.
func ringGroup() kind {
	return kind{
		automatic: []string{"fallback"},
		enter: func(w *walk, item *pbx.Item) (pbx.Destination, bool) {
			g, ok := item.Body.(*pbx.RingGroup)
			if !ok || w.ringMembers(w.thing(refOf(item)), g) {
				return pbx.Destination{}, false
			}
			t := w.thing(refOf(item))
			if g.Fallback.Kind == pbx.Hangup {
				w.because(t, "fallback", fmt.Sprintf("No user answers, and the fallback of %s is to end the call.", t))
				w.hangup(t, causeNoAnswer)
				return pbx.Destination{}, false
			}
			w.because(t, "fallback", fmt.Sprintf("No user answers, and the fallback of %s is %s.", t, w.thing(pbx.Ref(g.Fallback))))
			return g.Fallback, true
		},
	}
}

// ringMembers rings the members of a ring group, and reports whether one answers.
func (w *walk) ringMembers(t Thing, g *pbx.RingGroup) (answered bool) {
	var phones []Thing // the members who can ring
	for _, m := range g.Members {
		if u := w.users[string(m)]; u != nil && w.canRing(t, u, g.SkipBusy) {
			phones = append(phones, thingOf(u))
		}
	}
	if len(phones) > 0 {
		w.because(t, "strategy", map[pbx.RingStrategy]string{
			pbx.RingAll: "All members ring at once.", pbx.RingHunt: "The members ring one after the other.",
			pbx.RingMemory: "The members ring one after the other, and those before go on ringing.",
		}[g.Strategy])
		w.because(t, "seconds", fmt.Sprintf("Each attempt rings for %d seconds.", g.Seconds))
	}
	status := CannotBeCalled
	text := ringing(phones, g.Seconds)
	switch {
	case g.Strategy == pbx.RingAll:
		status = w.ring(t, phones, g.Seconds)
	default:
		for i := range phones {
			first := i
			if g.Strategy == pbx.RingMemory {
				first = 0
			}
			if status = w.ring(t, phones[first:i+1], g.Seconds); status == Answered {
				break
			}
			status = NotAnswered
		}
		if len(phones) > 1 {
			text = fmt.Sprintf("%s ring one after the other for %d seconds each", names(phones), g.Seconds)
		}
		if len(phones) > 1 && g.Strategy == pbx.RingMemory {
			text = fmt.Sprintf("%s ring, one more every %d seconds", names(phones), g.Seconds)
		}
	}
	w.describe(phones, text, status)
	return status == Answered
}
