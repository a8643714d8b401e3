package pbx

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// KindPool is the kind of a pool of numbers.
const KindPool ThingKind = "pool"

// The ids of the default pools of the default tenant. They cannot be deleted.
const (
	UserPoolID    ThingID = "a0000000-0000-0000-0000-000000000002"
	FeaturePoolID ThingID = "a0000000-0000-0000-0000-000000000003"
)

// Pool is a range of numbers that are assigned automatically. No number is in two pools.
type Pool struct {
	Use          PoolUse      `json:"kind"`
	First        Number       `json:"from"`
	Last         Number       `json:"to"` // included
	Order        PoolOrder    `json:"order"`
	CoolDownDays *int         `json:"cool_down_days,omitempty"` // for which a released number is not assigned again: 0–3650; nil: that of the organisation
	Calls        CallSettings `json:"calls,omitzero"`           // of the users with a number of the pool, where they have none of their own
}

// PoolUse is what the numbers of a pool are for.
type PoolUse string

// The uses.
const (
	ForUsers    PoolUse = "users"
	ForFeatures PoolUse = "features" // such as ring groups
)

// PoolOrder is which free number of a pool is assigned.
type PoolOrder string

// The orders.
const (
	LowestFirst PoolOrder = "lowest"
	NextFirst   PoolOrder = "next" // the next one after the last that was assigned; after the end of the pool the lowest
	RandomFirst PoolOrder = "random"
)

// Kind implements Body.
func (*Pool) Kind() ThingKind { return KindPool }

// Clean implements Body.
func (p *Pool) Clean() error {
	p.Use, p.Order = cmp.Or(p.Use, ForUsers), cmp.Or(p.Order, LowestFirst)
	fields := append(p.Calls.clean(CallSettings{}), coolDownFault(p.CoolDownDays))
	if uses := []PoolUse{ForUsers, ForFeatures}; !slices.Contains(uses, p.Use) {
		fields = append(fields, FieldError{Field: "kind", Code: FieldChoice, Message: choice(uses)})
	}
	if orders := []PoolOrder{LowestFirst, NextFirst, RandomFirst}; !slices.Contains(orders, p.Order) {
		fields = append(fields, FieldError{Field: "order", Code: FieldChoice, Message: choice(orders)})
	}
	for _, end := range []struct {
		field string
		n     Number
	}{{"from", p.First}, {"to", p.Last}} {
		if end.n < MinNumber || end.n > MaxNumber {
			fields = append(fields, FieldError{
				Field: end.field, Code: FieldRange, Least: int(MinNumber), Most: int(MaxNumber), Message: fmt.Sprintf("must be a number from %d to %d", MinNumber, MaxNumber),
			})
		}
	}
	if p.First > p.Last {
		fields = append(fields, FieldError{Field: "to", Code: FieldRange, Least: int(p.First), Most: int(MaxNumber), Message: "must not be below from"})
	}
	if p.Use == ForFeatures && p.Calls != (CallSettings{}) {
		fields = append(fields, FieldError{Field: "calls", Code: FieldUnknown, Message: "must be left out, or null: only users inherit call settings from their pool"})
	}
	return Invalid(faults(fields...)...)
}

// Size returns how many numbers the pool has.
func (p *Pool) Size() int { return int(p.Last-p.First) + 1 }

// Contains reports whether a number is in the pool.
func (p *Pool) Contains(n Number) bool { return n >= p.First && n <= p.Last }

// References implements Body.
func (p *Pool) References() []Reference { return p.Calls.References() }

// Claims implements Body.
func (*Pool) Claims() []Claim { return nil }

// SetNumber implements Body.
func (*Pool) SetNumber(string, string) {}

// Facts implements Body.
func (p *Pool) Facts() Facts {
	facts := Facts{
		"kind": string(p.Use), "from": strconv.Itoa(int(p.First)), "to": strconv.Itoa(int(p.Last)), "order": string(p.Order), "cool_down_days": optional(p.CoolDownDays),
	}
	p.Calls.AddTo(facts)
	return facts
}

// CheckAmong implements Setting.
func (p *Pool) CheckAmong(self Meta, before Settings) error {
	var fields []FieldError
	for _, other := range before.Pools {
		switch {
		case other.ID == self.ID && other.IsDefault() && other.Use != p.Use:
			fields = append(fields, FieldError{Field: "kind", Code: FieldChoice, Message: fmt.Sprintf("must be %s: it is a default pool", other.Use)})
		case other.ID != self.ID && p.First <= other.Last && other.First <= p.Last:
			fields = append(fields, FieldError{Field: "from", Code: FieldTaken, Message: fmt.Sprintf("must leave out the numbers of the pool %q, from %s", other.Name, other.Range())})
		}
	}
	return Invalid(fields...)
}

// Needed implements Setting.
func (p *Pool) Needed(self Meta) bool { return NumberPool{self, *p}.IsDefault() }

// Replace implements Body.
func (p *Pool) Replace(user, by UserID) (Body, bool) {
	replaced := *p
	replaced.Calls = p.Calls.Replace(user, by)
	return &replaced, by != ""
}

// NumberPool is a pool with its name.
type NumberPool struct {
	Meta
	Pool
}

// NumberPoolOf returns the pool of an item; ok is false if the item is none.
func NumberPoolOf(i Item) (p NumberPool, ok bool) {
	body, ok := i.Body.(*Pool)
	if !ok {
		return p, false
	}
	return NumberPool{i.Meta, *body}, true
}

// IsDefault reports whether the pool is the one that numbers are assigned from if no other one is named.
func (p NumberPool) IsDefault() bool { return p.ID == UserPoolID || p.ID == FeaturePoolID }

// Range returns the range as a text says it.
func (p NumberPool) Range() string { return fmt.Sprintf("%d–%d", p.First, p.Last) }

// Usage is how many numbers of a pool are in use.
type Usage struct {
	Used int // by users and items
	Host int // of the others, by Asterisk's own configuration
	Size int
}

// PoolStatus is a pool with how many of its numbers are in use, and how long a released one is not assigned again.
type PoolStatus struct {
	NumberPool
	Usage

	CoolDown time.Duration
}

// nearlyFull is the share of used numbers, in percent, from which a pool is nearly exhausted.
const nearlyFull = 90

// NearlyFull reports whether the pool is nearly exhausted.
func (u Usage) NearlyFull() bool { return (u.Used+u.Host)*100 >= u.Size*nearlyFull }

// Warning returns a sentence if the pool is nearly exhausted, otherwise "".
func (u Usage) Warning(p NumberPool) string {
	if !u.NearlyFull() {
		return ""
	}
	return fmt.Sprintf("%d of the %d numbers of the pool %q (%s) are in use: extend it, or create another one, before it is exhausted", u.Used+u.Host, u.Size, p.Name, p.Range())
}
