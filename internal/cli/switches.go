package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type userSwitchesCommand struct {
	User        string  `arg:"" help:"The user's id or extension number."`
	DND         *string `name:"dnd" help:"Do not disturb: on or off." placeholder:"on|off"`
	Always      *string `name:"forward-always" help:"Forward all calls to this number, or none." placeholder:"NUMBER"`
	Busy        *string `name:"forward-busy" help:"Forward calls when busy." placeholder:"NUMBER"`
	Unanswered  *string `name:"forward-unanswered" help:"Forward calls without an answer." placeholder:"NUMBER"`
	Unreachable *string `name:"forward-unreachable" help:"Forward calls while no phone is registered." placeholder:"NUMBER"`
}

// Run shows the switches, and changes those that are given.
func (c *userSwitchesCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	if c.DND != nil && *c.DND != "on" && *c.DND != "off" {
		return usage(errors.New("--dnd must be on or off"))
	}
	s, _, err := p.engine.ChangeSwitches(ctx, u, func(s *pbx.Switches) error {
		if c.DND != nil {
			s.DoNotDisturb = *c.DND == "on"
		}
		for _, f := range []struct{ to, given *string }{
			{&s.ForwardAlways, c.Always}, {&s.ForwardBusy, c.Busy}, {&s.ForwardUnanswered, c.Unanswered}, {&s.ForwardUnreachable, c.Unreachable},
		} {
			if set(f.to, f.given); *f.to == "none" {
				*f.to = ""
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.SwitchesJSON(s))
	}
	w := newTable(a.stdout)
	dnd := "off"
	if s.DoNotDisturb {
		dnd = "on"
	}
	fmt.Fprintf(w, "Do not disturb\t%s\n", dnd)
	for _, f := range []struct{ name, to string }{
		{"all calls", s.ForwardAlways}, {"when busy", s.ForwardBusy}, {"without an answer", s.ForwardUnanswered}, {"unreachable", s.ForwardUnreachable},
	} {
		if f.to == "" {
			f.to = "none"
		}
		fmt.Fprintf(w, "Forward %s\t%s\n", f.name, f.to)
	}
	return w.Flush()
}
