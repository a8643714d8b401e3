package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// ownNumbers are the numbers from $1 to $2 that users and items have, and others that items have; takenNumbers also those that were released after $3.
// The items' numbers are found by the index of these alone.
const (
	ownNumbers = `SELECT CAST(number AS text) AS number FROM extensions WHERE number BETWEEN $1 AND $2
        UNION ALL SELECT number FROM numbers WHERE thing_id IS NOT NULL`
	takenNumbers = ownNumbers + `
        UNION ALL SELECT CAST(number AS text) FROM freed_numbers WHERE number BETWEEN $1 AND $2 AND freed_at > $3`

	holder = `SELECT coalesce(t.kind, 'user'), CAST(coalesce(n.thing_id, n.user_id) AS text), coalesce(t.name, u.name, '')
FROM numbers n LEFT JOIN things t ON t.id = n.thing_id LEFT JOIN users u ON u.id = n.user_id
WHERE n.number = $1 AND n.tenant_id = $2`
)

// numbersOf returns the numbers of a query for ownNumbers or takenNumbers, from the first to the last of its parameters.
func (t *Tx) numbersOf(ctx context.Context, query string, first, last int, more ...any) (numbers []pbx.Number, err error) {
	texts, err := gather(ctx, t.tx, scanText, query, append([]any{first, last}, more...)...)
	for _, text := range texts {
		if n, ok := pbx.ParseNumber(text); ok && int(n) >= first && int(n) <= last {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// FreeNumber returns the lowest number from first to last that no user, no item and not the host has and that was not released after the given time; ok is
// false if there is none. It reserves nothing: the caller holds the writers' lock.
func (t *Tx) FreeNumber(ctx context.Context, first, last pbx.Number, freed time.Time) (n pbx.Number, ok bool, err error) {
	taken, err := t.numbersOf(ctx, takenNumbers, int(first), int(last), freed)
	if err != nil {
		return 0, false, err
	}
	host, err := t.host(ctx)
	for _, o := range host {
		if o.Taken() {
			taken = append(taken, o.Number)
		}
	}
	for n := first; n <= last; n++ {
		if err == nil && !slices.Contains(taken, n) {
			return n, true, nil
		}
	}
	return 0, false, err
}

// host returns the objects of the host, from all sources.
func (t *Tx) host(ctx context.Context) ([]pbx.HostObject, error) {
	arrays, err := gather(ctx, t.tx, scanText, `SELECT objects FROM host_objects ORDER BY source`)
	if err != nil {
		return nil, err
	}
	return hostObjects(strings.Join(arrays, " "))
}

// Holder returns who has a number: a user or an item of the tenant, or the host; ok is false if the number is free.
func (t *Tx) Holder(ctx context.Context, tenant pbx.TenantID, number string) (h pbx.Holder, ok bool, err error) {
	h, ok, err = found(func() (h pbx.Holder, err error) {
		err = t.tx.QueryRowContext(ctx, holder, number, string(tenant)).Scan((*string)(&h.Kind), &h.ID, &h.Name)
		return h, err
	}())
	if err != nil || ok {
		return h, ok, err
	}
	host, err := t.host(ctx)
	for _, o := range host {
		if o.Taken() && strconv.Itoa(int(o.Number)) == number {
			return pbx.Holder{Host: o.String()}, true, nil
		}
	}
	return pbx.Holder{}, false, err
}

// release records when a number was released.
func (t *Tx) release(ctx context.Context, n pbx.Number, now time.Time) error {
	_, err := t.tx.ExecContext(ctx, insertFreed, int(n), now)
	return err
}

// releaseText records when the number of an item was released. Numbers that are no extension numbers are not assigned automatically.
func (t *Tx) releaseText(ctx context.Context, number string, now time.Time) error {
	n, ok := pbx.ParseNumber(number)
	if !ok {
		return nil
	}
	return t.release(ctx, n, now)
}
