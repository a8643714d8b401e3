package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// callFields are the flags of the call settings of a user, which the help lists together. An empty text is the value of a setting that is inherited.
type callFields struct {
	RingSeconds     *string `hidden:""`
	CallLimit       *string `hidden:""`
	WhenBusy        *string `hidden:""`
	WhenUnanswered  *string `hidden:""`
	WhenUnreachable *string `hidden:""`
	CallerName      *string `hidden:""`
	CallerNumber    *string `hidden:""`
	PickupGroups    *string `hidden:""`
	Record          *string `hidden:""`
	Language        *string `hidden:""`
	DialClass       *string `hidden:""`
}

// callsHelp describes the flags of call settings.
const callsHelp = "Calls (empty: inherited): --ring-seconds 5-120, --call-limit 1-10 (0 for none), --when-busy, --when-unanswered and --when-unreachable " +
	"(hangup or a number), --caller-name, --caller-number, --pickup-groups 0-63, --record never|on_demand|always, --language, --dial-class."

// setter looks up what the fields name, and returns the function that sets those that were given.
func (f callFields) setter(ctx context.Context, p *portal) (func(*pbx.CallSettings), error) {
	var sets []func(*pbx.CallSettings)
	number := func(flag string, given *string, none int, set func(c *pbx.CallSettings, n int)) error {
		if given == nil {
			return nil
		}
		n := 0
		if text := pbx.Fold(*given); text != "" {
			var err error
			if n, err = strconv.Atoi(text); err != nil || n < 0 {
				return usage(fmt.Errorf("--%s must be a number, or empty to inherit it", flag))
			}
			if n == 0 {
				n = none
			}
		}
		sets = append(sets, func(c *pbx.CallSettings) { set(c, n) })
		return nil
	}
	text := func(given *string, field func(*pbx.CallSettings) *string) {
		if given != nil {
			sets = append(sets, func(c *pbx.CallSettings) { *field(c) = *given })
		}
	}
	destination := func(given *string, field func(*pbx.CallSettings) *pbx.Destination) error {
		if given == nil {
			return nil
		}
		to := pbx.Destination{}
		if *given != "" {
			var err error
			if to, err = p.destination(ctx, *given); err != nil {
				return err
			}
		}
		sets = append(sets, func(c *pbx.CallSettings) { *field(c) = to })
		return nil
	}
	for _, err := range []error{
		number("ring-seconds", f.RingSeconds, -1, func(c *pbx.CallSettings, n int) { c.RingSeconds = n }), // -1 is out of range
		number("call-limit", f.CallLimit, int(pbx.NoCallLimit), func(c *pbx.CallSettings, n int) { c.CallLimit = pbx.CallLimit(n) }),
		destination(f.WhenBusy, func(c *pbx.CallSettings) *pbx.Destination { return &c.WhenBusy }),
		destination(f.WhenUnanswered, func(c *pbx.CallSettings) *pbx.Destination { return &c.WhenUnanswered }),
		destination(f.WhenUnreachable, func(c *pbx.CallSettings) *pbx.Destination { return &c.WhenUnreachable }),
	} {
		if err != nil {
			return nil, err
		}
	}
	text(f.CallerName, func(c *pbx.CallSettings) *string { return &c.CallerName })
	text(f.CallerNumber, func(c *pbx.CallSettings) *string { return &c.CallerNumber })
	text(f.Record, func(c *pbx.CallSettings) *string { return (*string)(&c.Record) })
	text(f.Language, func(c *pbx.CallSettings) *string { return &c.Language })
	text(f.DialClass, func(c *pbx.CallSettings) *string { return &c.DialClass })
	if f.PickupGroups != nil {
		groups, err := pickupGroups(*f.PickupGroups)
		if err != nil {
			return nil, err
		}
		sets = append(sets, func(c *pbx.CallSettings) { c.PickupGroups = groups })
	}
	return func(c *pbx.CallSettings) {
		for _, set := range sets {
			set(c)
		}
	}, nil
}

// pickupGroups reads numbers separated by commas.
func pickupGroups(text string) (pbx.PickupGroups, error) {
	var numbers []int
	ok := true
	for part := range strings.FieldsFuncSeq(pbx.Fold(text), func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(part)
		numbers, ok = append(numbers, n), ok && err == nil
	}
	groups, distinct := pbx.PickupGroupsOf(numbers)
	if !ok || !distinct {
		return 0, usage(fmt.Errorf("--pickup-groups must be different numbers from 0 to %d, separated by commas, or empty", pbx.MaxPickupGroup))
	}
	return groups, nil
}

// writeCalls writes the call settings of a user: those that apply, and the level that they are inherited from.
func (p *portal) writeCalls(ctx context.Context, w io.Writer, u pbx.User) error {
	settings, err := p.routing.Settings(ctx, pbx.DefaultTenant)
	if err != nil {
		return err
	}
	levels := settings.Levels()
	return p.writeCallsOf(ctx, w, levels.Shown(u, p.engine.Calls()), levels.Origins(u, p.engine.Calls()))
}

// writeCallsOf writes call settings, and the level that each comes from, by its name in the contract.
func (p *portal) writeCallsOf(ctx context.Context, w io.Writer, c pbx.CallSettings, origins map[string]string) error {
	names, err := p.names(ctx)
	if err != nil {
		return err
	}
	row := func(label, text, field string) {
		from := origins[field]
		switch from {
		case pbx.FromUser:
		case pbx.FromDefault:
			text += " (default)"
		default:
			text += " (inherited: " + from + ")"
		}
		if from != "" {
			fmt.Fprintf(w, "%s\t%s\n", label, oneLine(text))
		}
	}
	limit := "none"
	if c.CallLimit > 0 {
		limit = fmt.Sprintf("%d at once", c.CallLimit)
	}
	row("Calls ring", fmt.Sprintf("%d seconds", c.RingSeconds), "ring_seconds")
	row("Call limit", limit, "call_limit")
	row("When busy", destinationText(c.WhenBusy, names), "when_busy")
	row("When unanswered", destinationText(c.WhenUnanswered, names), "when_unanswered")
	row("When unreachable", destinationText(c.WhenUnreachable, names), "when_unreachable")
	row("Shown name", c.CallerName, "caller_name")
	row("Shown number", c.CallerNumber, "caller_number")
	row("Pickup groups", strings.Trim(fmt.Sprint(c.PickupGroups.Numbers()), "[]"), "pickup_groups")
	row("Record", string(c.Record), "record")
	row("Language", c.Language, "language")
	row("Dial class", c.DialClass, "dial_class")
	return nil
}
