package cli

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type ringGroupCommands struct {
	Add    ringGroupAddCommand    `cmd:"" help:"Create a ring group from --name and --members; prints its number."`
	List   ringGroupListCommand   `cmd:"" help:"List ring groups by name."`
	Show   ringGroupShowCommand   `cmd:"" help:"Show one ring group."`
	Set    ringGroupSetCommand    `cmd:"" help:"Change a ring group; what is not given stays."`
	Delete ringGroupDeleteCommand `cmd:"" help:"Delete a ring group and free its number."`
}

// ringGroupFields are the flags of a ring group's fields.
type ringGroupFields struct {
	Name     *string  `help:"The name." placeholder:"NAME"`
	Number   *string  `help:"The number that is dialled." placeholder:"NUMBER"`
	Strategy *string  `help:"How the members ring: all, hunt (one by one) or memory (one more each time)." placeholder:"STRATEGY"`
	Members  []string `help:"The users, in calling order." placeholder:"1000,1001"`
	Seconds  *int     `help:"How long all ring, or each: 5 to 120." placeholder:"SECONDS"`
	SkipBusy *bool    `negatable:"" help:"Leave out members who are in a call."`
	Fallback *string  `help:"Where the call goes when no member answers." placeholder:"hangup|NUMBER"`
}

// setter looks up what the fields name, and returns the function that sets those that were given.
func (f ringGroupFields) setter(ctx context.Context, p *portal) (func(*pbx.Item) error, error) {
	var members []pbx.UserID
	for _, key := range f.Members {
		u, err := p.user(ctx, strings.TrimSpace(key))
		if err != nil {
			return nil, err
		}
		members = append(members, u.ID)
	}
	var fallback *pbx.Destination
	if f.Fallback != nil {
		to, err := p.destination(ctx, *f.Fallback)
		if err != nil {
			return nil, err
		}
		fallback = &to
	}
	return func(i *pbx.Item) error {
		if g, ok := i.Body.(*pbx.RingGroup); ok {
			set(&i.Name, f.Name)
			set(&g.Number, f.Number)
			set(&g.SkipBusy, f.SkipBusy)
			set(&g.Fallback, fallback)
			if f.Members != nil {
				g.Members = members
			}
			return errors.Join(setNonZero("strategy", &g.Strategy, (*pbx.RingStrategy)(f.Strategy)), setNonZero("seconds", &g.Seconds, f.Seconds))
		}
		return nil
	}, nil
}

type ringGroupAddCommand struct {
	ringGroupFields `embed:""`
}

// Help returns what the flags that are not given mean.
func (*ringGroupAddCommand) Help() string {
	return "Only --name and --members are required. The others default to a number of a pool of features, strategy all, 20 seconds, --skip-busy and fallback hangup."
}

// Run creates the ring group.
func (c *ringGroupAddCommand) Run(ctx context.Context, a *app, p *portal) error {
	fields, err := c.setter(ctx, p)
	if err != nil {
		return err
	}
	return a.addThing(ctx, p, shownRingGroups(), &pbx.RingGroup{SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup}}, fields)
}

type ringGroupListCommand struct {
	Find string `help:"Only ring groups whose name or number contains this." placeholder:"TEXT"`
}

// Run lists the ring groups.
func (c *ringGroupListCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.listThings(ctx, p, shownRingGroups(), c.Find)
}

type ringGroupShowCommand struct {
	Group string `arg:"" name:"ring-group" help:"The id, number or name of the ring group."`
}

// Run shows the ring group.
func (c *ringGroupShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.showThing(ctx, p, shownRingGroups(), c.Group)
}

type ringGroupSetCommand struct {
	Group           string `arg:"" name:"ring-group" help:"The id, number or name of the ring group."`
	ringGroupFields `embed:""`
}

// Run changes the ring group.
func (c *ringGroupSetCommand) Run(ctx context.Context, a *app, p *portal) error {
	fields, err := c.setter(ctx, p)
	if err != nil {
		return err
	}
	return a.setThing(ctx, p, shownRingGroups(), c.Group, fields)
}

type ringGroupDeleteCommand struct {
	Group string `arg:"" name:"ring-group" help:"The id, number or name of the ring group."`
}

// Run deletes the ring group.
func (c *ringGroupDeleteCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.deleteThing(ctx, p, shownRingGroups(), c.Group)
}

// shownRingGroups returns how ring groups are printed.
func shownRingGroups() shownKind {
	return shownKind{
		kind: pbx.KindRingGroup,
		json: func(i pbx.Item) (any, error) { return httpapi.RingGroupJSON(i), nil },
		list: func(items []pbx.Item) (any, error) { return httpapi.RingGroupsJSON(items), nil },

		example: "--name Sales --members 1000,1001",
		cells: func(i pbx.Item, names map[pbx.Ref]string) ([]cell, error) {
			g, ok := i.Body.(*pbx.RingGroup)
			if !ok {
				return nil, nil
			}
			members := make([]string, len(g.Members))
			for n, m := range g.Members {
				members[n] = names[pbx.Ref{Kind: pbx.KindUser, ID: string(m)}]
			}
			busy := "ring, too"
			if g.SkipBusy {
				busy = "are left out"
			}
			return []cell{
				{"Strategy", string(g.Strategy), true},
				{"Members", strings.Join(members, ","), true},
				{"Seconds", strconv.Itoa(g.Seconds), true},
				{"Busy members", busy, false},
				{"Fallback", destinationText(g.Fallback, names), true},
			}, nil
		},
	}
}
