package store

import (
	"context"
	"iter"
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

// Usage returns how many numbers of a pool are in use.
func (s *Store) Usage(ctx context.Context, p pbx.Pool) (pbx.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	u, err := usage(ctx, s.read, p)
	return u, s.fault("count the numbers of a pool", err)
}

// Usage returns how many numbers of a pool are in use.
func (t *Tx) Usage(ctx context.Context, p pbx.Pool) (pbx.Usage, error) { return usage(ctx, t.tx, p) }

func usage(ctx context.Context, from querier, p pbx.Pool) (u pbx.Usage, err error) {
	texts, err := gather(ctx, from, scanText, ownNumbers, int(p.First), int(p.Last))
	if err != nil {
		return u, err
	}
	taken := map[pbx.Number]bool{}
	count := func(n pbx.Number) (added int) {
		if p.Contains(n) && !taken[n] {
			taken[n], added = true, 1
		}
		return added
	}
	for _, text := range texts {
		if n, ok := pbx.ParseNumber(text); ok {
			u.Used += count(n)
		}
	}
	host, err := hostOf(ctx, from)
	for _, o := range host {
		if o.Taken() {
			u.Host += count(o.Number)
		}
	}
	u.Size = p.Size()
	return u, err
}

// Taken is a set of numbers that cannot be assigned, by their text.
type Taken map[string]bool

// Has reports whether a number is in the set.
func (t Taken) Has(n pbx.Number) bool { return t[strconv.Itoa(int(n))] }

// add adds numbers, and those that the host has.
func (t Taken) add(numbers iter.Seq[string], host []pbx.HostObject) {
	for n := range numbers {
		t[n] = true
	}
	for _, o := range host {
		if o.Taken() {
			t[strconv.Itoa(int(o.Number))] = true
		}
	}
}

// Taken returns the numbers from first to last, and others, that a user, an item or the host has, or that were released after the given time. It reserves
// nothing: the caller holds the writers' lock.
func (t *Tx) Taken(ctx context.Context, first, last pbx.Number, freed time.Time) (Taken, error) {
	numbers, err := gather(ctx, t.tx, scanText, takenNumbers, int(first), int(last), freed)
	if err != nil {
		return nil, err
	}
	host, err := t.host(ctx)
	taken := Taken{}
	taken.add(slices.Values(numbers), host)
	return taken, err
}

// ReleasedSince returns the numbers that a user or an item no longer had at some moment after a time. Another user may have one of them now.
func (s *Store) ReleasedSince(ctx context.Context, since time.Time) (Taken, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	numbers, err := gather(ctx, s.read, scanText, `SELECT CAST(number AS text) FROM freed_numbers WHERE freed_at > $1`, since)
	released := Taken{}
	released.add(slices.Values(numbers), nil)
	return released, s.fault("read which numbers were released", err)
}

// LastOf returns the number of a pool that SetLastOf recorded, 0 if there is none.
func (t *Tx) LastOf(ctx context.Context, pool pbx.ThingID) (last pbx.Number, err error) {
	last, _, err = found(func() (n pbx.Number, err error) {
		return n, t.tx.QueryRowContext(ctx, `SELECT last FROM pool_marks WHERE pool_id = $1`, string(pool)).Scan((*int)(&n))
	}())
	return last, err
}

// SetLastOf records the number of a pool that was assigned last.
func (t *Tx) SetLastOf(ctx context.Context, pool pbx.ThingID, last pbx.Number) error {
	_, err := t.tx.ExecContext(ctx, `INSERT INTO pool_marks (pool_id, last) VALUES ($1, $2) ON CONFLICT (pool_id) DO UPDATE SET last = excluded.last`, string(pool), int(last))
	return err
}

// host returns the objects of the host, from all sources.
func (t *Tx) host(ctx context.Context) ([]pbx.HostObject, error) { return hostOf(ctx, t.tx) }

func hostOf(ctx context.Context, from querier) ([]pbx.HostObject, error) {
	arrays, err := gather(ctx, from, scanText, `SELECT objects FROM host_objects ORDER BY source`)
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
