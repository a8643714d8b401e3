package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type poolCommands struct {
	Add    poolAddCommand    `cmd:"" help:"Create a pool from --name, --from and --to."`
	List   poolListCommand   `cmd:"" help:"List pools by name, with how many numbers are in use."`
	Show   poolShowCommand   `cmd:"" help:"Show one pool."`
	Set    poolSetCommand    `cmd:"" help:"Change a pool; what is not given stays."`
	Delete poolDeleteCommand `cmd:"" help:"Delete a pool; users and other objects keep their numbers."`
}

// poolFields are the flags of a pool's fields.
type poolFields struct {
	Name     *string `help:"The name." placeholder:"NAME"`
	Kind     *string `hidden:""`
	From     *string `help:"The first number." placeholder:"NUMBER"`
	To       *string `help:"The last number." placeholder:"NUMBER"`
	Order    *string `hidden:""`
	CoolDown *string `hidden:""`

	callFields `embed:""`
}

// poolHelp describes those that are not listed; call settings follow.
const poolHelp = "Numbers: --kind users|features, --order lowest|next|random, --cool-down DAYS until a released one is reused. "

// setter looks up what the fields name, and returns the function that sets those that were given.
func (f poolFields) setter(ctx context.Context, p *portal) (func(*pbx.Item) error, error) {
	calls, err := f.callFields.setter(ctx, p)
	if err != nil {
		return nil, err
	}
	days, err := coolDown(f.CoolDown)
	if err != nil {
		return nil, err
	}
	var ends [2]*pbx.Number
	for i, given := range []*string{f.From, f.To} {
		if given != nil {
			n, ok := pbx.ParseNumber(*given)
			if !ok {
				return nil, usage(fmt.Errorf("--from and --to must be numbers of %d to %d", pbx.MinNumber, pbx.MaxNumber))
			}
			ends[i] = &n
		}
	}
	return func(i *pbx.Item) error {
		if pool, ok := i.Body.(*pbx.Pool); ok {
			set(&i.Name, f.Name)
			set(&pool.First, ends[0])
			set(&pool.Last, ends[1])
			set(&pool.CoolDownDays, days)
			calls(&pool.Calls)
			return errors.Join(setNonZero("kind", &pool.Use, (*pbx.PoolUse)(f.Kind)), setNonZero("order", &pool.Order, (*pbx.PoolOrder)(f.Order)))
		}
		return nil
	}, nil
}

// coolDown reads a number of days: nil if it was not given, a nil number if it is empty.
func coolDown(given *string) (**int, error) {
	var days *int
	if given == nil {
		return nil, nil
	}
	if *given != "" {
		n, err := strconv.Atoi(*given)
		if err != nil {
			return nil, usage(fmt.Errorf("--cool-down must be a number of days, or empty to inherit it"))
		}
		days = &n
	}
	return &days, nil
}

type poolAddCommand struct {
	poolFields `embed:""`
}

// Help describes the flags that are not listed.
func (*poolAddCommand) Help() string { return poolHelp + callsHelp }

// Run creates the pool.
func (c *poolAddCommand) Run(ctx context.Context, a *app, p *portal) error {
	fields, err := c.setter(ctx, p)
	if err != nil {
		return err
	}
	return a.addThing(ctx, p, shownPools(ctx, p), &pbx.Pool{}, fields)
}

type poolListCommand struct {
	Find string `help:"Only pools whose name contains this." placeholder:"TEXT"`
}

// Run lists the pools.
func (c *poolListCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.listThings(ctx, p, shownPools(ctx, p), c.Find)
}

type poolShowCommand struct {
	Pool string `arg:"" help:"The id or name of the pool."`
}

// Run shows the pool.
func (c *poolShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.showThing(ctx, p, shownPools(ctx, p), c.Pool)
}

type poolSetCommand struct {
	Pool       string `arg:"" help:"The id or name of the pool."`
	poolFields `embed:""`
}

// Help describes the flags that are not listed.
func (*poolSetCommand) Help() string { return poolHelp + callsHelp }

// Run changes the pool.
func (c *poolSetCommand) Run(ctx context.Context, a *app, p *portal) error {
	fields, err := c.setter(ctx, p)
	if err != nil {
		return err
	}
	return a.setThing(ctx, p, shownPools(ctx, p), c.Pool, fields)
}

type poolDeleteCommand struct {
	Pool string `arg:"" help:"The id or name of the pool."`
}

// Run deletes the pool.
func (c *poolDeleteCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.deleteThing(ctx, p, shownPools(ctx, p), c.Pool)
}

// shownPools returns how pools are printed.
func shownPools(ctx context.Context, p *portal) shownKind {
	json := func(i pbx.Item) (openapi.Pool, error) {
		status, err := p.poolStatus(ctx, i)
		return httpapi.PoolJSON(i, status), err
	}
	return shownKind{
		kind: pbx.KindPool, example: "--name Berlin --from 2000 --to 2999",
		json: func(i pbx.Item) (any, error) { return json(i) },
		list: func(items []pbx.Item) (any, error) {
			all := make([]openapi.Pool, len(items))
			var err error
			for n, i := range items {
				if err == nil {
					all[n], err = json(i)
				}
			}
			return httpapi.PoolsJSON(all), err
		},
		cells: func(i pbx.Item, names map[pbx.Ref]string) ([]cell, error) {
			s, err := p.poolStatus(ctx, i)
			of := string(s.Use)
			if s.IsDefault() {
				of += " (default)"
			}
			cells := []cell{
				{"Kind", of, true},
				{"From", fmt.Sprint(int(s.First)), true},
				{"To", fmt.Sprint(int(s.Last)), true},
				{"Order", string(s.Order), true},
				{"Used", fmt.Sprintf("%d of %d", s.Used+s.Host, s.Size), true},
				{"Cool-down", durationText(s.CoolDown), true},
			}
			if s.Calls != (pbx.CallSettings{}) {
				cells = append(cells, cell{"Calls", callsText(s.Calls, names), false})
			}
			if warning := s.Warning(s.NumberPool); warning != "" {
				cells = append(cells, cell{"Warning", warning, false})
			}
			return cells, err
		},
		changed: "Call settings take effect with the next apply: run pbxportal apply.",
		deleted: "users and other objects keep their numbers.",
	}
}

// poolStatus returns the status of the pool of an item.
func (p *portal) poolStatus(ctx context.Context, i pbx.Item) (pbx.PoolStatus, error) {
	pool, _ := pbx.NumberPoolOf(i)
	return p.routing.PoolStatus(ctx, pool)
}

// durationText returns a cool-down in words.
func durationText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "none"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
