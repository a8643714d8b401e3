package render

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// dialling is what the dialplan has of the call settings of a user.
type dialling struct {
	seconds, limit                int // no limit: 0
	busy, unanswered, unreachable string
}

// userCalls is what the files have of the call settings of a user. Texts are empty where nothing is written.
type userCalls struct {
	dialling

	callerName, callerNumber string
	pickup, language         string
}

// userCalls returns what the files have of the call settings that apply to a user.
func (o Options) userCalls(s pbx.CallSettings, r references) (c userCalls, err error) {
	c = userCalls{
		dialling: dialling{seconds: s.RingSeconds, limit: int(s.CallLimit)}, callerName: s.CallerName, callerNumber: s.CallerNumber, language: s.Language,
		pickup: strings.Trim(strings.ReplaceAll(fmt.Sprint(s.PickupGroups.Numbers()), " ", ","), "[]"),
	}
	c.busy, err = r.destinationOr(s.WhenBusy, causeBusy)
	if err == nil {
		c.unanswered, err = r.destinationOr(s.WhenUnanswered, causeNoAnswer)
	}
	if err == nil {
		c.unreachable, err = r.destinationOr(s.WhenUnreachable, causeUnreachable)
	}
	return c, err
}

// callsIn returns what the files have of the call settings of users: of those to whom the settings of the organisation apply, and of the others by id.
func (o Options) callsIn(m pbx.Model, r references) (usual userCalls, own map[pbx.UserID]userCalls, err error) {
	installation := pbx.Installation(o.ring())
	usual, err = o.userCalls(m.Levels.Of(pbx.User{}, installation), r)
	var targets []pbx.Ref // users who do not inherit that calls go on to themselves
	for _, to := range m.Levels.References() {
		targets = append(targets, to.To)
	}
	for i := range m.Users {
		u := &m.Users[i]
		inherits := u.Calls == (pbx.CallSettings{}) && m.Levels.PoolOf(u.Extension.Number) < 0 && !slices.Contains(targets, pbx.Ref{Kind: pbx.KindUser, ID: string(u.ID)})
		if inherits || err != nil {
			continue
		}
		c, wrong := o.userCalls(m.Levels.Of(*u, installation), r)
		if wrong != nil {
			err = refused(fmt.Sprintf("the call settings of user %d cannot be written for Asterisk: %v. Correct them", u.Extension.Number, wrong))
		}
		if own == nil {
			own = map[pbx.UserID]userCalls{}
		}
		own[u.ID] = c
	}
	return usual, own, err
}

// mediaOptions returns the settings of an endpoint that encrypt its media.
func (o Options) mediaOptions() []setting {
	switch o.phones.SRTP {
	case pbx.SRTPOffered:
		return []setting{{"media_encryption", "sdes"}, {"media_encryption_optimistic", "yes"}}
	case pbx.SRTPRequired:
		return []setting{{"media_encryption", "sdes"}}
	case pbx.SRTPOff:
	}
	return nil
}

// callOptions returns the settings of an endpoint that follow from call settings, which most users have none of.
func (c userCalls) callOptions() (all []setting) {
	if c.pickup != "" {
		all = append(all, setting{"named_call_group", c.pickup}, setting{"named_pickup_group", c.pickup})
	}
	if c.language != "" {
		all = append(all, setting{"language", c.language})
	}
	return all
}

// callerID returns the value of the callerid option of a user.
func (c userCalls) callerID(name, number string) string {
	return callerID(cmp.Or(c.callerName, name), cmp.Or(c.callerNumber, number))
}

// userArguments returns the arguments of the routine for users as a kind of item, with their names in the contract.
func userArguments() itemKind {
	end := func(cause string) func(string) bool {
		return func(s string) bool {
			context, exten, _ := strings.Cut(s, ".")
			return isDestination(s) && (context != hangupContext || exten == cause)
		}
	}
	return itemKind{
		kind: pbx.KindUser, context: userContext, routine: "user",
		fields: []field{
			{"number", isNumbers},
			{"calls.ring_seconds", isCount},
			{"calls.when_busy", end(causeBusy)},
			{"calls.when_unanswered", end(causeNoAnswer)},
			{"calls.when_unreachable", end(causeUnreachable)},
		},
	}
}

// diallingOf returns what the dialplan has of the call settings of a user's piece; ok is false if that is not known: a disabled user has none, and another
// version may write them in another form.
func diallingOf(p *piece) (d dialling, ok bool) {
	for _, s := range p.steps {
		switch s.Context {
		case pbx.Context:
			if s.App == "Dial" {
				_, seconds, _ := strings.Cut(s.Args, ",")
				d = usualDialling(ringOf(seconds))
				ok = true
			}
		case limitContext:
			d.limit, _ = strconv.Atoi(s.Args) // 0 if it is none that the portal writes
		case userContext:
			k := userArguments()
			args := k.arguments(&s)
			if args == nil || args[0] != p.owner.Key || !k.allValid(args) {
				continue
			}
			d.seconds, _ = strconv.Atoi(args[1]) // isCount has checked it
			d.busy, d.unanswered, d.unreachable = args[2], args[3], args[4]
			ok = true
		}
	}
	return d, ok
}

// usualDialling returns what the dialplan does for a user without call settings of their own.
func usualDialling(seconds int) dialling {
	return dialling{
		seconds: seconds, busy: destination(hangupContext, causeBusy), unanswered: destination(hangupContext, causeNoAnswer),
		unreachable: destination(hangupContext, causeUnreachable),
	}
}

// allValid reports whether all arguments are such that the portal writes.
func (k itemKind) allValid(args []string) bool {
	for i, f := range k.fields {
		if !f.valid(args[i]) {
			return false
		}
	}
	return true
}

// differing returns the names of the settings that differ.
func (d dialling) differing(other dialling) (names []string) {
	for _, f := range []struct {
		name   string
		differ bool
	}{
		{"calls.ring_seconds", d.seconds != other.seconds},
		{"calls.call_limit", d.limit != other.limit},
		{"calls.when_busy", d.busy != other.busy},
		{"calls.when_unanswered", d.unanswered != other.unanswered},
		{"calls.when_unreachable", d.unreachable != other.unreachable},
	} {
		if f.differ {
			names = append(names, f.name)
		}
	}
	return names
}

// settings returns the call settings that have the same effect on calls to the user.
func (d dialling) settings(r originals) pbx.CallSettings {
	c := pbx.CallSettings{RingSeconds: d.seconds, CallLimit: pbx.CallLimit(d.limit)}
	if usual := usualDialling(d.seconds); d.busy != usual.busy {
		c.WhenBusy = r.destination(d.busy)
	}
	if end := destination(hangupContext, causeNoAnswer); d.unanswered != end {
		c.WhenUnanswered = r.destination(d.unanswered)
	}
	if now := r.destination(d.unreachable); now != cmp.Or(c.WhenUnanswered, pbx.Destination{Kind: pbx.Hangup}) {
		c.WhenUnreachable = now
	}
	return c
}
