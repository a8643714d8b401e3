package directory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// numbers assigns the numbers of the users of a batch, in one transaction.
type numbers struct {
	directory *Directory
	tx        *store.Tx
	now       time.Time
	tenant    pbx.TenantID
	settings  pbx.Settings // of the tenant
	pools     []*openPool
	assigned  map[pbx.Number]bool // by this batch, whose users are inserted together
}

// openPool is a pool that numbers are being assigned from.
type openPool struct {
	pbx.NumberPool
	*pbx.Assigner

	left int        // the free numbers, those of this batch included that were given explicitly
	last pbx.Number // the last one that was assigned; 0: none in this batch
	full error      // of the requests for which there is none left
}

// begin looks up the taken addresses, and opens the pool of the first request in the same query.
func (n *numbers) begin(ctx context.Context, emails []string, first *createRequest) (addresses []store.Address, err error) {
	settings, version := n.tx.KnownSettings(first.tenant)
	if version != "" {
		n.tenant, n.settings = first.tenant, settings
	}
	for {
		if err = n.turnTo(ctx, first.tenant); err != nil {
			return nil, err
		}
		pool, known := n.poolOf(first.wanted)
		allocation, err := n.tx.Allocate(ctx, emails, pool.First, pool.Last, n.freed(pool))
		if err == nil && version != "" && version != allocation.Version { // the settings were changed since they were read
			n.tenant, version = "", ""
			continue
		}
		if err == nil && known {
			err = n.open(ctx, pool, allocation.Taken)
		}
		return allocation.Addresses, err
	}
}

// turnTo reads the settings of a tenant.
func (n *numbers) turnTo(ctx context.Context, tenant pbx.TenantID) (err error) {
	if n.tenant != tenant {
		n.settings, err = n.tx.Settings(ctx, tenant)
		n.tenant = tenant
	}
	return err
}

// freed returns the time after which a number of a pool must not have been released.
func (n *numbers) freed(p pbx.NumberPool) time.Time {
	return n.now.Add(-n.settings.CoolDown(p, n.directory.quarantine))
}

// poolOf returns the pool that a new user gets the number from; known is false if it cannot be assigned from.
func (n *numbers) poolOf(u pbx.NewUser) (p pbx.NumberPool, known bool) {
	switch pools := n.settings.PoolsFor(pbx.ForUsers); {
	case u.Number != 0:
		p, known = n.settings.PoolOf(u.Number)
	case u.Pool != "":
		p, known = n.settings.PoolWith(u.Pool)
	case len(pools) > 0:
		return pools[0], true
	}
	return p, known && p.Use == pbx.ForUsers
}

// open begins to assign numbers from a pool, of which these are taken.
func (n *numbers) open(ctx context.Context, p pbx.NumberPool, taken store.Taken) error {
	o := &openPool{NumberPool: p, left: p.Size()}
	reserved := n.settings.Organisation.Emergency()
	for number := range taken {
		if t, ok := pbx.ParseNumber(number); ok && p.Contains(t) {
			o.left--
		}
	}
	var last pbx.Number
	var err error
	if p.Order == pbx.NextFirst {
		last, err = n.tx.LastOf(ctx, p.ID)
	}
	o.Assigner = pbx.NewAssigner(p.Pool, last, func(number pbx.Number) bool {
		return taken.Has(number) || n.assigned[number] || slices.Contains(reserved, strconv.Itoa(int(number)))
	})
	n.pools = append(n.pools, o)
	return err
}

// opened returns a pool that numbers are being assigned from.
func (n *numbers) opened(ctx context.Context, p pbx.NumberPool) (*openPool, error) {
	for _, o := range n.pools {
		if o.ID == p.ID {
			return o, nil
		}
	}
	taken, err := n.tx.Taken(ctx, p.First, p.Last, n.freed(p))
	if err == nil {
		err = n.open(ctx, p, taken)
	}
	if err != nil {
		return nil, err
	}
	return n.pools[len(n.pools)-1], nil
}

// next returns the number of a new user, with a sentence if the pool is nearly exhausted.
func (n *numbers) next(ctx context.Context, c *createRequest) (number pbx.Number, warning string, err error) {
	if err = n.turnTo(ctx, c.tenant); err != nil {
		return 0, "", err
	}
	pool, known := n.poolOf(c.wanted)
	if !known {
		return 0, "", n.noPool(c.wanted)
	}
	o, err := n.opened(ctx, pool)
	if err != nil {
		return 0, "", err
	}
	if number = c.wanted.Number; number != 0 {
		err = n.free(ctx, c.tenant, number)
	} else if next, ok := o.Next(); ok {
		number, o.last = next, next
	} else {
		if o.full == nil {
			o.full = n.exhausted(ctx, pool)
		}
		err = o.full
	}
	if err != nil {
		return 0, "", err
	}
	n.assigned[number] = true
	o.left--
	return number, pbx.Usage{Used: o.Size() - max(o.left, 0), Size: o.Size()}.Warning(pool), nil
}

// free returns the error if a number cannot be given to a user.
func (n *numbers) free(ctx context.Context, tenant pbx.TenantID, number pbx.Number) error {
	if n.assigned[number] {
		return pbx.NumberTaken("number", strconv.Itoa(int(number)), pbx.Holder{Ref: pbx.Ref{Kind: pbx.KindUser}, Name: "that is being created"})
	}
	return numberFree(ctx, n.tx, tenant, number)
}

// noPool returns the error of a new user whose number is in no pool of users, or whose pool is none.
func (n *numbers) noPool(u pbx.NewUser) error {
	fault := pbx.FieldError{Field: "pool", Code: pbx.FieldChoice, Message: "must be the id of a pool of users: list the pools to see which there are"}
	if u.Number != 0 {
		fault.Field, fault.Message = "number", "must be in a pool of users: extend one of the pools, or create one, first"
		for i, p := range n.settings.PoolsFor(pbx.ForUsers) {
			if i == 0 {
				fault.Message += "; there are"
			} else {
				fault.Message += ","
			}
			fault.Message += fmt.Sprintf(" %q (%s)", p.Name, p.Range())
		}
	}
	return pbx.Invalid(fault)
}

// exhausted returns the error of a pool without a free number.
func (n *numbers) exhausted(ctx context.Context, p pbx.NumberPool) error {
	use, err := n.tx.Usage(ctx, p.Pool)
	if err != nil {
		return err
	}
	for number := range n.assigned {
		if p.Contains(number) {
			use.Used++
		}
	}
	return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodePoolExhausted, Msg: exhaustedText(p, use)}
}

func exhaustedText(p pbx.NumberPool, use pbx.Usage) string {
	const extend = "or extend the pool, or give another pool or a number"
	switch {
	case use.Host > 0:
		return fmt.Sprintf("no extension number of the pool %q (%s) is free: %d of %d are in use by users and other objects, and Asterisk's own configuration has %d of the rest: "+
			"see with pbxportal plan which they are and rename or remove some of them there, delete a user who is no longer needed, %s", p.Name, p.Range(), use.Used, use.Size, use.Host, extend)
	case use.Used < use.Size:
		return fmt.Sprintf("no extension number of the pool %q (%s) is free: %d of %d are in use, and the rest is an emergency number, or was released less than the cool-down ago: "+
			"wait, shorten the cool-down (cool_down_days of the pool or the organisation, else NUMBER_QUARANTINE), %s", p.Name, p.Range(), use.Used, use.Size, extend)
	}
	return fmt.Sprintf("all extension numbers of the pool %q (%s) are in use (%d of %d): delete a user who is no longer needed, and create this one again, %s",
		p.Name, p.Range(), use.Used, use.Size, extend)
}

// end records which numbers were assigned last.
func (n *numbers) end(ctx context.Context) error {
	for _, o := range n.pools {
		if o.last != 0 && o.Order == pbx.NextFirst {
			if err := n.tx.SetLastOf(ctx, o.ID, o.last); err != nil {
				return err
			}
		}
	}
	return nil
}
