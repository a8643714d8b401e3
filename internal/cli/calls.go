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

// setter looks up what the fields name, and returns the function that sets those that were given.
func (f callFields) setter(ctx context.Context, p *portal) (func(*pbx.CallSettings), error) {
	var sets []func(*pbx.CallSettings)
	number := func(flag string, given *string, field func(*pbx.CallSettings) *int) error {
		if given == nil {
			return nil
		}
		n := 0
		if text := pbx.Fold(*given); text != "" {
			var err error
			if n, err = strconv.Atoi(text); err != nil || n < 1 {
				return usage(fmt.Errorf("--%s must be a number, or empty to inherit it", flag))
			}
		}
		sets = append(sets, func(c *pbx.CallSettings) { *field(c) = n })
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
		number("ring-seconds", f.RingSeconds, func(c *pbx.CallSettings) *int { return &c.RingSeconds }),
		number("call-limit", f.CallLimit, func(c *pbx.CallSettings) *int { return &c.CallLimit }),
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

// writeCalls writes the call settings of a user: those that apply, and whether they are inherited.
func (p *portal) writeCalls(ctx context.Context, w io.Writer, u pbx.User) error {
	names, err := p.names(ctx)
	if err != nil {
		return err
	}
	own, c := u.Calls, u.EffectiveCalls(p.engine.Calls())
	row := func(label, text string, inherited bool) {
		if inherited && text != "" {
			text += " (inherited)"
		}
		if text != "" {
			fmt.Fprintf(w, "%s\t%s\n", label, oneLine(text))
		}
	}
	none := pbx.Destination{}
	limit := ""
	if c.CallLimit > 0 {
		limit = fmt.Sprintf("%d at once", c.CallLimit)
	}
	row("Calls ring", fmt.Sprintf("%d seconds", c.RingSeconds), own.RingSeconds == 0)
	row("Call limit", limit, own.CallLimit == 0)
	row("When busy", destinationText(c.WhenBusy, names), own.WhenBusy == none)
	row("When unanswered", destinationText(c.WhenUnanswered, names), own.WhenUnanswered == none)
	row("When unreachable", destinationText(c.WhenUnreachable, names), own.WhenUnreachable == none)
	row("Shown name", c.CallerName, own.CallerName == "")
	row("Shown number", c.CallerNumber, own.CallerNumber == "")
	row("Pickup groups", strings.Trim(fmt.Sprint(c.PickupGroups.Numbers()), "[]"), own.PickupGroups == 0)
	row("Record", string(c.Record), own.Record == "")
	row("Language", c.Language, own.Language == "")
	row("Dial class", c.DialClass, own.DialClass == "")
	return nil
}
