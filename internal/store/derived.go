package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// The keys of rows that follow from users and things: each row names a user or a thing.
type (
	reference struct {
		from    string
		field   string
		ordinal int
	}
	userReference struct{ from, field string }
	number        struct{ tenant, number string }
)

// target is the user or the thing that such a row names.
type target struct {
	id    string
	thing bool
}

// discrepancy is a difference between what is stored and what follows from users and things.
type discrepancy struct {
	text        string
	del, insert string // the statements that correct it, "" for none; both "" where users or things contradict each other
	key         []any  // the values of both; insert has id, too
	id          string
}

// Discrepancies compares references and numbers, which have tables of their own, with the users and things that they follow from. It returns the
// differences in words: of rows that Derive writes again, and of users and things that contradict each other.
func (s *Store) Discrepancies(ctx context.Context) (rows, contradictions []string, err error) {
	err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		rows, contradictions = nil, nil
		all, err := tx.discrepancies(ctx)
		for _, d := range all {
			if d.key == nil {
				contradictions = append(contradictions, d.text)
			} else {
				rows = append(rows, d.text)
			}
		}
		return err
	})
	return rows, contradictions, err
}

// Derive writes those rows of references and numbers again that differ from what follows from users and things, and returns their number.
func (s *Store) Derive(ctx context.Context) (n int, err error) {
	err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		n = 0
		all, err := tx.discrepancies(ctx)
		corrections := &pgx.Batch{}
		for _, d := range all {
			if d.key != nil {
				n++
			}
			if err == nil && d.del != "" {
				err = tx.queue(ctx, corrections, d.del, d.key...)
			}
			if err == nil && d.insert != "" {
				err = tx.queue(ctx, corrections, d.insert, append(slices.Clone(d.key), d.id)...)
			}
		}
		if err != nil {
			return err
		}
		return tx.send(ctx, corrections)
	})
	return n, err
}

// discrepancies returns the differences, those of each table in the order of their texts.
func (t *Tx) discrepancies(ctx context.Context) (all []discrepancy, err error) {
	names, references, numbers := map[target]string{}, map[reference]target{}, map[number]target{}
	userReferences := map[userReference]target{}
	var settled []pbx.User // with call settings
	if _, err = gather(ctx, t.tx, func(r row) (none struct{}, err error) {
		var u target
		n, calls := number{}, ""
		err = r.Scan(&u.id, &n.tenant, &n.number, &calls)
		names[u], numbers[n] = "the user with extension "+n.number, u
		if calls != "" && err == nil {
			with := pbx.User{ID: pbx.UserID(u.id)}
			if with.Calls, err = pbx.CallSettingsFrom(calls); err != nil {
				err = damaged(names[u] + " has call settings in a form that is never written")
			}
			settled = append(settled, with)
		}
		return none, err
	}, `SELECT u.id, u.tenant_id, CAST(e.number AS text), u.calls FROM users u JOIN extensions e ON e.user_id = u.id`); err != nil {
		return nil, err
	}
	items, err := gather(ctx, t.tx, scanStoredItem, allItems)
	if err != nil {
		return nil, err
	}
	kinds := map[target]pbx.ThingKind{}
	for n := range items {
		if err := items[n].check(); err != nil {
			return nil, err
		}
		i := target{string(items[n].ID), true}
		names[i], kinds[i] = fmt.Sprintf("the %s %s (%q)", kindWords(items[n].Kind), items[n].Key(), i.id), items[n].Kind
	}
	contradiction := func(format string, values ...any) {
		all = append(all, discrepancy{text: fmt.Sprintf(format, values...)})
	}
	referTo := func(from target, all []pbx.Reference, take func(pbx.Reference, target)) {
		for _, r := range all {
			to := target{r.To.ID, r.To.Kind != pbx.KindUser}
			if names[to] == "" || to.thing && kinds[to] != r.To.Kind {
				contradiction("%s refers in %s to the %s %q, which does not exist", names[from], r.Field, kindWords(r.To.Kind), r.To.ID)
				continue
			}
			take(r, to)
		}
	}
	for _, u := range settled {
		id := string(u.ID)
		referTo(target{id: id}, u.Calls.References(), func(r pbx.Reference, to target) { userReferences[userReference{id, r.Field}] = to })
	}
	for n := range items {
		i := target{string(items[n].ID), true}
		referTo(i, items[n].Body.References(), func(r pbx.Reference, to target) { references[reference{i.id, r.Field, r.Ordinal}] = to })
		for _, c := range items[n].Body.Claims() {
			at := number{string(items[n].TenantID), c.Number}
			if by, taken := numbers[at]; taken {
				contradiction("%s and %s have the same number %s", names[by], names[i], c.Number)
			} else if c.Number != "" {
				numbers[at] = i
			}
		}
	}
	wrong, err := compareTargets(ctx, t, `thing_refs`, []string{"from_id", "field", "ordinal"}, [2]string{"to_user", "to_thing"}, references,
		func(k *reference) []any { return []any{&k.from, &k.field, &k.ordinal} },
		func(k reference) string {
			return fmt.Sprintf("a reference in %s of %s", k.field, names[target{k.from, true}])
		})
	if err != nil {
		return nil, err
	}
	all = append(all, wrong...)
	wrong, err = compareTargets(ctx, t, `user_refs`, []string{"from_user", "field"}, [2]string{"to_user", "to_thing"}, userReferences,
		func(k *userReference) []any { return []any{&k.from, &k.field} },
		func(k userReference) string {
			return fmt.Sprintf("a reference in %s of %s", k.field, names[target{id: k.from}])
		})
	if err != nil {
		return nil, err
	}
	all = append(all, wrong...)
	wrong, err = compareTargets(ctx, t, `numbers`, []string{"tenant_id", "number"}, [2]string{"user_id", "thing_id"}, numbers,
		func(k *number) []any { return []any{&k.tenant, &k.number} },
		func(k number) string { return "the number " + k.number })
	return append(all, wrong...), err
}

// compareTargets compares the rows of a table, each with its key and in one of two columns a user or a thing, with what they should be.
func compareTargets[K comparable](ctx context.Context, t *Tx, table string, key []string, columns [2]string, want map[K]target, into func(*K) []any, name func(K) string) (
	all []discrepancy, err error,
) {
	has := map[K]target{}
	if _, err = gather(ctx, t.tx, func(r row) (none struct{}, err error) {
		var k K
		to := target{}
		err = r.Scan(append(into(&k), &to.id, &to.thing)...)
		has[k] = to
		return none, err
	}, fmt.Sprintf(`SELECT %s, coalesce(%s, %s), %[3]s IS NOT NULL FROM %[4]s`, strings.Join(key, ", "), columns[0], columns[1], table)); err != nil {
		return nil, err
	}
	where, values := make([]string, len(key)), ""
	for n, column := range key {
		where[n] = fmt.Sprintf("%s = $%d", column, n+1)
		values += fmt.Sprintf("$%d, ", n+1)
	}
	add := func(k K, is, should bool) {
		d := discrepancy{text: name(k), key: into(&k)}
		if is {
			d.del = `DELETE FROM ` + table + ` WHERE ` + strings.Join(where, " AND ")
		}
		if to := want[k]; should {
			column := columns[0]
			if to.thing {
				column = columns[1]
			}
			d.insert, d.id = fmt.Sprintf(`INSERT INTO %s (%s, %s) VALUES (%s$%d)`, table, strings.Join(key, ", "), column, values, len(key)+1), to.id
		}
		all = append(all, d)
	}
	for k, to := range want {
		if is, ok := has[k]; !ok || is != to {
			add(k, ok, true)
		}
	}
	for k := range has {
		if _, ok := want[k]; !ok {
			add(k, true, false)
		}
	}
	slices.SortFunc(all, func(a, b discrepancy) int { return cmp.Compare(a.text, b.text) })
	return all, nil
}

// kindWords returns a kind as a text says it.
func kindWords(k pbx.ThingKind) string { return strings.ReplaceAll(string(k), "_", " ") }
