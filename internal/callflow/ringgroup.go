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
			return g.Fallback, !w.again(t, g.Fallback, causeNoAnswer)
		},
	}
}

// ringMembers rings the members of a ring group, and reports whether one answers.
func (w *walk) ringMembers(t Thing, g *pbx.RingGroup) (answered bool) {
	var phones []phone
	for _, m := range g.Members {
		if u := w.users[string(m)]; u != nil {
			if p, ok := w.canBeDialled(t, u, g.SkipBusy); ok {
				phones = append(phones, p)
			}
		}
	}
	rings := present(phones)
	status, text := NotAnswered, ringing(rings, g.Seconds)
	switch g.Strategy {
	case pbx.RingAll:
		w.because(t, "strategy", "All members ring at once.")
		status = w.ring(t, phones, g.Seconds)
		text = attempt(rings, g.Seconds, status)
	case pbx.RingHunt:
		w.because(t, "strategy", "The members ring one after the other.")
		for i := 0; i < len(phones) && status != Answered; i++ {
			status = w.ring(t, phones[i:i+1], g.Seconds)
		}
		if len(rings) > 1 {
			text = fmt.Sprintf("%s ring one after the other for %d seconds each", names(rings), g.Seconds)
		}
	case pbx.RingMemory:
		w.because(t, "strategy", "The members ring one after the other, and those before go on ringing.")
		for i := 0; i < len(phones) && status != Answered; i++ {
			status = w.ring(t, phones[:i+1], g.Seconds)
		}
		if len(rings) > 1 {
			text = fmt.Sprintf("%s ring, one more every %d seconds", names(rings), g.Seconds)
		}
	}
	w.because(t, "seconds", fmt.Sprintf("Each attempt rings for %d seconds.", g.Seconds))
	if status != Answered && g.Strategy != pbx.RingAll {
		status, text = NotAnswered, text+unanswered
	}
	w.describe(rings, text, status)
	return status == Answered
}
