package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

type ringGroupCommands struct {
	Add    ringGroupAddCommand    `cmd:"" help:"Create a ring group; prints its number."`
	List   ringGroupListCommand   `cmd:"" help:"List ring groups by name."`
	Show   ringGroupShowCommand   `cmd:"" help:"Show one ring group."`
	Set    ringGroupSetCommand    `cmd:"" help:"Change a ring group; what is not given stays."`
	Delete ringGroupDeleteCommand `cmd:"" help:"Delete a ring group and free its number."`
}

// ringGroupFields are the flags of a ring group's fields.
type ringGroupFields struct {
	Name     *string  `help:"The name." placeholder:"NAME"`
	Number   *string  `help:"The number that is dialled." placeholder:"NUMBER"`
	Strategy *string  `help:"How the members ring: all, hunt or memory." placeholder:"STRATEGY"`
	Members  []string `help:"The users, in calling order." placeholder:"1000,1001"`
	Seconds  *int     `help:"How long all ring, or each: 5 to 120." placeholder:"SECONDS"`
	SkipBusy *bool    `negatable:"" help:"Leave out members who are in a call."`
	Fallback *string  `help:"Where the call goes when no member answers." placeholder:"hangup|NUMBER"`
}

// into sets the fields that were given.
func (f ringGroupFields) into(ctx context.Context, p *portal, name *string, g *pbx.RingGroup) error {
	set(name, f.Name)
	set(&g.Number, f.Number)
	set(&g.Strategy, (*pbx.RingStrategy)(f.Strategy))
	set(&g.Seconds, f.Seconds)
	set(&g.SkipBusy, f.SkipBusy)
	if f.Members != nil {
		g.Members = nil
		for _, key := range f.Members {
			u, err := p.user(ctx, strings.TrimSpace(key))
			if err != nil {
				return err
			}
			g.Members = append(g.Members, u.ID)
		}
	}
	if f.Fallback == nil {
		return nil
	}
	to, err := p.destination(ctx, *f.Fallback)
	g.Fallback = to
	return err
}

type ringGroupAddCommand struct {
	ringGroupFields `embed:""`
}

// Run creates the ring group.
func (c *ringGroupAddCommand) Run(ctx context.Context, a *app, p *portal) error {
	name, g := "", &pbx.RingGroup{SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup}}
	if err := c.into(ctx, p, &name, g); err != nil {
		return err
	}
	i, err := p.routing.Create(ctx, pbx.DefaultTenant, name, g)
	if err != nil {
		return err
	}
	return a.printRingGroup(ctx, p, i, "Not applied yet: run pbxportal apply to configure it in Asterisk.")
}

type ringGroupListCommand struct {
	Find string `help:"Only ring groups whose name or number contains this." placeholder:"TEXT"`
}

// Run lists the ring groups.
func (c *ringGroupListCommand) Run(ctx context.Context, a *app, p *portal) error {
	page, err := p.routing.List(ctx, pbx.DefaultTenant, pbx.KindRingGroup, routing.Query{Text: c.Find})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.RingGroupsJSON(page.Items))
	}
	if len(page.Items) == 0 {
		fmt.Fprintln(a.stdout, "No ring groups. Create one: pbxportal ring-group add --name Sales --members 1000,1001")
		return nil
	}
	names, err := p.names(ctx)
	if err != nil {
		return err
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "NUMBER\tNAME\tSTRATEGY\tMEMBERS\tSECONDS\tFALLBACK\tID")
	for _, i := range page.Items {
		if g, ok := i.Body.(*pbx.RingGroup); ok {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", g.Number, oneLine(i.Name), g.Strategy, members(g, names), g.Seconds, destinationText(g.Fallback, names), i.ID)
		}
	}
	return w.Flush()
}

type ringGroupShowCommand struct {
	Group string `arg:"" name:"ring-group" help:"The id, number or name of the ring group."`
}

// Run shows the ring group.
func (c *ringGroupShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	i, err := p.item(ctx, pbx.KindRingGroup, c.Group)
	if err != nil {
		return err
	}
	return a.printRingGroup(ctx, p, i, "")
}

type ringGroupSetCommand struct {
	Group           string `arg:"" name:"ring-group" help:"The id, number or name of the ring group."`
	ringGroupFields `embed:""`
}

// Run changes the ring group.
func (c *ringGroupSetCommand) Run(ctx context.Context, a *app, p *portal) error {
	was, err := p.item(ctx, pbx.KindRingGroup, c.Group)
	if err != nil {
		return err
	}
	given := &pbx.RingGroup{} // looked up here: the change runs in a transaction
	if err = c.into(ctx, p, new(string), given); err != nil {
		return err
	}
	i, err := p.routing.Change(ctx, pbx.DefaultTenant, pbx.KindRingGroup, was.ID, 0, func(i *pbx.Item) error {
		g, ok := i.Body.(*pbx.RingGroup)
		if !ok {
			return nil
		}
		fields := c.ringGroupFields
		fields.Members, fields.Fallback = nil, nil
		if c.Members != nil {
			g.Members = given.Members
		}
		if c.Fallback != nil {
			g.Fallback = given.Fallback
		}
		return fields.into(ctx, p, &i.Name, g)
	})
	if err != nil {
		return err
	}
	next := "Not applied yet: run pbxportal apply."
	if i.Version == was.Version {
		next = "Nothing changed."
	}
	return a.printRingGroup(ctx, p, i, next)
}

type ringGroupDeleteCommand struct {
	Group string `arg:"" name:"ring-group" help:"The id, number or name of the ring group."`
}

// Run deletes the ring group.
func (c *ringGroupDeleteCommand) Run(ctx context.Context, a *app, p *portal) error {
	i, err := p.item(ctx, pbx.KindRingGroup, c.Group)
	if err != nil {
		return err
	}
	if i, err = p.routing.Delete(ctx, pbx.DefaultTenant, pbx.KindRingGroup, i.ID, 0); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.RingGroupJSON(i))
	}
	fmt.Fprintf(a.stdout, "Deleted %s; its number is free.\nIt works until the next apply: run pbxportal apply.\n", oneLine(i.Name))
	return nil
}

// printRingGroup prints one ring group, and in text form a last line that says what to do next.
func (a *app) printRingGroup(ctx context.Context, p *portal, i pbx.Item, next string) error {
	if a.json {
		return a.printJSON(httpapi.RingGroupJSON(i))
	}
	g, ok := i.Body.(*pbx.RingGroup)
	if !ok {
		return nil
	}
	names, err := p.names(ctx)
	if err != nil {
		return err
	}
	busy := "ring, too"
	if g.SkipBusy {
		busy = "are left out"
	}
	w := newTable(a.stdout)
	fmt.Fprintf(w, "Name\t%s\nNumber\t%s\nStrategy\t%s\nMembers\t%s\nSeconds\t%d\nBusy members\t%s\nFallback\t%s\nID\t%s\n",
		oneLine(i.Name), g.Number, g.Strategy, members(g, names), g.Seconds, busy, destinationText(g.Fallback, names), i.ID)
	if next != "" {
		fmt.Fprintln(w, next)
	}
	return w.Flush()
}

// members returns the numbers of the members of a ring group.
func members(g *pbx.RingGroup, names map[pbx.Ref]string) string {
	all := make([]string, len(g.Members))
	for n, m := range g.Members {
		all[n] = names[pbx.Ref{Kind: pbx.KindUser, ID: string(m)}]
	}
	return strings.Join(all, ",")
}
