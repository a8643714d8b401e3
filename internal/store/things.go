package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// selectItem is the beginning of every query for items. Each row also contains the number of rows with a hash, counted in the same snapshot.
const (
	selectItem = `
SELECT t.id, t.tenant_id, t.kind, t.short, t.name, t.body, t.version, t.created_at, t.updated_at, coalesce(t.row_hash, 0),
    (SELECT covered FROM things_version)
FROM things t `
	allItems = selectItem + `ORDER BY t.tenant_id, t.kind, t.short`
	anyItem  = selectItem + `WHERE t.id = $1`
	allMarks = `SELECT t.id, t.version, coalesce(t.row_hash, 0), (SELECT covered FROM things_version) FROM things t`
	itemByID = selectItem + `WHERE t.tenant_id = $1 AND t.kind = $2 AND t.id = $3`
	named    = `SELECT id FROM things WHERE tenant_id = $1 AND kind = $2 AND name_key = $3`
)

// itemList is a cached list of a tenant's items with its version in the table things_version.
type itemList struct {
	tenant   pbx.TenantID
	version  string
	items    []pbx.Item // that calls lead to
	settings []pbx.Item
	decoded  pbx.Settings               // settings
	all      map[pbx.ThingID]storedItem // also of other tenants
}

// Items returns the tenant's items that calls lead to, ordered by kind and Short, read in one snapshot. The slice and the bodies are shared; callers must
// not modify them. The last list is cached, and read again when the version in the database has changed. Items that are not as the portal wrote them are an
// error with CodeDatabaseDamaged, also settings, and those of other tenants.
func (s *Store) Items(ctx context.Context, tenant pbx.TenantID) ([]pbx.Item, error) {
	list, err := s.itemList(ctx, tenant)
	return list.items, err
}

// ItemsOf returns the tenant's items of a kind, ordered by Short. Callers must not modify them.
func (s *Store) ItemsOf(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind) (items []pbx.Item, err error) {
	list, err := s.itemList(ctx, tenant)
	all := list.items
	if kind.IsSetting() {
		all = list.settings
	}
	for _, i := range all {
		if i.Kind == kind {
			items = append(items, i)
		}
	}
	return items, err
}

// Settings returns the settings of the tenant. Callers must not modify them.
func (s *Store) Settings(ctx context.Context, tenant pbx.TenantID) (pbx.Settings, error) {
	list, err := s.itemList(ctx, tenant)
	return list.decoded, err
}

// itemList returns the list of a tenant's items, an empty one with an error.
func (s *Store) itemList(ctx context.Context, tenant pbx.TenantID) (*itemList, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	list, err := s.items.read(ctx, s.read, tenant)
	return list, s.fault("list objects", err)
}

// Items returns the tenant's items that calls lead to, ordered by kind and Short. Callers must not modify them.
func (t *Tx) Items(ctx context.Context, tenant pbx.TenantID) ([]pbx.Item, error) {
	list, err := t.items.read(ctx, t.tx, tenant)
	return list.items, err
}

// Settings returns the settings of the tenant. Callers must not modify them.
func (t *Tx) Settings(ctx context.Context, tenant pbx.TenantID) (pbx.Settings, error) {
	list, err := t.items.read(ctx, t.tx, tenant)
	return list.decoded, err
}

// KnownSettings returns the settings of the tenant as they were read last, without a query, and their version; "" if there are none. Callers must not modify
// them.
func (t *Tx) KnownSettings(tenant pbx.TenantID) (s pbx.Settings, version string) {
	last := t.items.last.Load()
	if last == nil || last.tenant != tenant {
		return s, ""
	}
	return last.decoded, last.version
}

// itemCache keeps the last list of items that was read. A transaction may store one that it does not commit: the database never has its version.
type itemCache struct{ last atomic.Pointer[itemList] }

// read returns the list of a tenant's items, an empty one with an error.
func (c *itemCache) read(ctx context.Context, from querier, tenant pbx.TenantID) (*itemList, error) {
	last := c.last.Load()
	now, err := readItems(ctx, from, tenant, last)
	if err != nil {
		return &itemList{}, err
	}
	if now != last {
		c.last.Store(now)
	}
	return now, nil
}

// readItems returns the list of a tenant's items: last if the version in the database is that of last, and otherwise last with the items that have changed,
// if these are few. The version is read first: if items change in between, the list is cached under a version that the database never has again.
func readItems(ctx context.Context, from querier, tenant pbx.TenantID, last *itemList) (*itemList, error) {
	before := ""
	for {
		now := &itemList{tenant: tenant, items: []pbx.Item{}, settings: []pbx.Item{}, all: map[pbx.ThingID]storedItem{}}
		covered, hashed := 0, 0
		if err := from.QueryRowContext(ctx, `SELECT version, covered FROM things_version`).Scan(&now.version, &covered); err != nil {
			return nil, err
		}
		if last != nil && last.tenant == tenant && last.version == now.version {
			return last, nil
		}
		rows, err := changedItems(ctx, from, last)
		if err == nil && rows == nil {
			rows, err = gather(ctx, from, scanStoredItem, allItems)
		}
		if err != nil {
			return nil, err
		}
		for n := range rows {
			i := &rows[n]
			if err := i.check(); err != nil {
				return nil, err
			}
			if n > 0 && rows[n-1].TenantID == i.TenantID && pbx.CompareItems(rows[n-1].Item, i.Item) >= 0 {
				return nil, damaged(fmt.Sprintf("%s comes after %s: an index is damaged", i.Key(), rows[n-1].Key()))
			}
			if covered = i.covered; i.hash != 0 {
				hashed++
			}
			switch now.all[i.ID] = *i; {
			case i.TenantID != tenant:
			case i.Kind.IsSetting():
				now.settings = append(now.settings, i.Item)
			default:
				now.items = append(now.items, i.Item)
			}
		}
		switch {
		case hashed == covered:
			now.decoded = pbx.SettingsOf(now.settings)
			return now, nil
		case len(rows) == 0 && now.version != before: // the count is that of a moment before: the last item may have been deleted meanwhile
			before = now.version
			continue
		}
		return nil, damaged(fmt.Sprintf("%d objects are found as the portal wrote them, and it wrote %d", hashed, covered))
	}
}

// fewItems is how many changed items are read one by one; reading more of them takes as long as reading all.
const fewItems = 20

// changedItems returns all items in the order of allItems, those that have not changed since last from there; nil if all must be read. Every program that
// changes a row with a hash changes its version, or removes the hash.
func changedItems(ctx context.Context, from querier, last *itemList) ([]storedItem, error) {
	if last == nil {
		return nil, nil
	}
	covered, changed := 0, []pbx.ThingID{}
	items, err := gather(ctx, from, func(r row) (known storedItem, err error) {
		var i storedItem
		if err = r.Scan((*string)(&i.ID), &i.Version, &i.hash, &covered); err != nil {
			return known, err
		}
		known, ok := last.all[i.ID]
		if !ok || i.hash == 0 || i.hash != known.hash || i.Version != known.Version {
			changed = append(changed, i.ID)
			known = i
		}
		return known, nil
	}, allMarks)
	if err != nil || len(changed) > fewItems {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(i storedItem) bool { return slices.Contains(changed, i.ID) })
	for _, id := range changed {
		i, ok, err := found(scanStoredItem(from.QueryRowContext(ctx, anyItem, string(id))))
		if err != nil || !ok { // deleted meanwhile
			return nil, err
		}
		items = append(items, i)
	}
	for n := range items {
		items[n].covered = covered
	}
	slices.SortFunc(items, func(a, b storedItem) int {
		return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), pbx.CompareItems(a.Item, b.Item))
	})
	return items, nil
}

// Item returns one item; ok is false if the tenant has none of this kind with this id.
func (s *Store) Item(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID) (i pbx.Item, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	i, ok, err = oneItem(ctx, s.read, tenant, kind, id)
	return i, ok, s.fault("read an object", err)
}

// Item returns one item, which the caller may modify; ok is false if the tenant has none of this kind with this id.
func (t *Tx) Item(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID) (i pbx.Item, ok bool, err error) {
	return oneItem(ctx, t.tx, tenant, kind, id)
}

func oneItem(ctx context.Context, from querier, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID) (pbx.Item, bool, error) {
	i, ok, err := found(scanStoredItem(from.QueryRowContext(ctx, itemByID, string(tenant), string(kind), string(id))))
	if err == nil && ok {
		err = i.check()
	}
	return i.Item, ok, err
}

// storedItem is an item as read.
type storedItem struct {
	pbx.Item

	body    string // as stored
	hash    int64  // as stored; 0 if another program changed the row
	covered int    // the number of rows with a hash, as counted in the same query
}

// scanStoredItem scans a row of selectItem's columns, without its body, which check decodes.
func scanStoredItem(r row) (i storedItem, err error) {
	err = r.Scan((*string)(&i.ID), (*string)(&i.TenantID), (*string)(&i.Kind), &i.Short, &i.Name, &i.body, &i.Version, &i.CreatedAt, &i.UpdatedAt, &i.hash, &i.covered)
	i.CreatedAt, i.UpdatedAt = i.CreatedAt.UTC(), i.UpdatedAt.UTC()
	if malformed(err) {
		return i, damaged("a value in the row of an object has a form that is never written")
	}
	return i, err
}

// check decodes the body. It returns an error if the row is not as the portal wrote it.
func (i *storedItem) check() error {
	if i.Body != nil { // it was checked before
		return nil
	}
	if i.hash != 0 && i.hash != itemHash(i.Item, i.body) {
		return damaged(fmt.Sprintf("the row of %s (%s %q) is not as the portal wrote it", i.Key(), i.Kind, i.ID))
	}
	i.Body = pbx.NewBody(i.Kind)
	if i.Body == nil || json.Unmarshal([]byte(i.body), i.Body) != nil {
		return damaged(fmt.Sprintf("the row of the object %q has a kind or body that is never written", i.ID))
	}
	return nil
}

// itemHash returns the hash of an item, with its body as stored, never 0.
func itemHash(i pbx.Item, body string) int64 {
	f := newFrame()
	f.text("id", string(i.ID))
	f.text("tenant", string(i.TenantID))
	f.text("kind", string(i.Kind))
	f.number("short", int64(i.Short))
	f.text("name", i.Name)
	f.text("body", body)
	f.number("version", i.Version)
	f.instant("created", i.CreatedAt)
	f.instant("updated", i.UpdatedAt)
	return f.sum()
}

// nameKey returns the form in which names of items are compared.
func nameKey(name string) string { return strings.ToLower(name) }

// Named returns the id of the tenant's item of a kind with a name, without regard to case; "" if there is none.
func (t *Tx) Named(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, name string) (pbx.ThingID, error) {
	id, _, err := found(scanText(t.tx.QueryRowContext(ctx, named, string(tenant), string(kind), nameKey(name))))
	return pbx.ThingID(id), err
}

// Exists reports whether the tenant has a user with an extension, or an item.
func (t *Tx) Exists(ctx context.Context, tenant pbx.TenantID, r pbx.Ref) (bool, error) {
	query, values := `SELECT t.id FROM things t WHERE t.tenant_id = $1 AND t.id = $2 AND t.kind = $3`, []any{string(tenant), r.ID, string(r.Kind)}
	if r.Kind == pbx.KindUser {
		query, values = `SELECT u.id FROM users u JOIN extensions e ON e.user_id = u.id WHERE u.tenant_id = $1 AND u.id = $2`, values[:2]
	}
	_, ok, err := found(scanText(t.tx.QueryRowContext(ctx, query, values...)))
	return ok, err
}

// PutItem stores an item with its references and numbers at a time, appends the audit event, and returns the item as stored. An item with version 0 is
// new, and gets its short number. The error has CodeChangedMeanwhile if another item than that of the version is stored. The caller has checked that the
// name and the numbers are free, and that what the item refers to exists.
func (t *Tx) PutItem(ctx context.Context, i pbx.Item, now time.Time, event pbx.AuditEvent) (pbx.Item, error) {
	body, err := json.Marshal(i.Body)
	if err != nil {
		return i, err
	}
	was := i.Version
	i.Version, i.UpdatedAt = was+1, now.UTC().Truncate(time.Microsecond)
	if was == 0 {
		i.CreatedAt = i.UpdatedAt
		if err := t.tx.QueryRowContext(ctx, `INSERT INTO thing_counters (tenant_id, kind, last) VALUES ($1, $2, 1)
ON CONFLICT (tenant_id, kind) DO UPDATE SET last = thing_counters.last + 1 RETURNING last`, string(i.TenantID), string(i.Kind)).Scan(&i.Short); err != nil {
			return i, err
		}
	}
	written, err := changed(t.tx.ExecContext(ctx, putItem, string(i.ID), string(i.TenantID), string(i.Kind), i.Short, i.Name, nameKey(i.Name), string(body),
		i.Version, i.CreatedAt, i.UpdatedAt, itemHash(i, string(body)), was))
	if err == nil && !written {
		err = pbx.ChangedMeanwhile(i.Kind)
	}
	if err == nil {
		err = t.putReferences(ctx, i)
	}
	if err == nil {
		err = t.putNumbers(ctx, i, now)
	}
	if err == nil {
		err = t.AppendEvent(ctx, event)
	}
	return i, err
}

const putItem = `INSERT INTO things (id, tenant_id, kind, short, name, name_key, body, version, created_at, updated_at, row_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key, body = excluded.body, version = excluded.version,
    updated_at = excluded.updated_at, row_hash = excluded.row_hash
WHERE things.version = $12`

// putReferences replaces the references of an item.
func (t *Tx) putReferences(ctx context.Context, i pbx.Item) error {
	batch := &pgx.Batch{}
	if err := t.queue(ctx, batch, `DELETE FROM thing_refs WHERE from_id = $1`, string(i.ID)); err != nil {
		return err
	}
	for _, r := range i.Body.References() {
		if err := t.queue(ctx, batch, `INSERT INTO thing_refs (from_id, field, ordinal, `+refColumn(r.To)+`) VALUES ($1, $2, $3, $4)`,
			string(i.ID), r.Field, r.Ordinal, r.To.ID); err != nil {
			return err
		}
	}
	return t.send(ctx, batch)
}

// putNumbers makes the numbers of an item those that it claims, and records when the others were released.
func (t *Tx) putNumbers(ctx context.Context, i pbx.Item, now time.Time) error {
	had, err := gather(ctx, t.tx, scanText, `SELECT number FROM numbers WHERE thing_id = $1`, string(i.ID))
	if err != nil {
		return err
	}
	var has []string
	for _, c := range i.Body.Claims() {
		if c.Number != "" {
			has = append(has, c.Number)
		}
	}
	for _, n := range had {
		if slices.Contains(has, n) {
			continue
		}
		if _, err := t.tx.ExecContext(ctx, `DELETE FROM numbers WHERE number = $1 AND thing_id = $2`, n, string(i.ID)); err != nil {
			return err
		}
		if err := t.releaseText(ctx, n, now); err != nil {
			return err
		}
	}
	for _, n := range has {
		if slices.Contains(had, n) {
			continue
		}
		if _, err := t.tx.ExecContext(ctx, `INSERT INTO numbers (number, tenant_id, thing_id) VALUES ($1, $2, $3)`, n, string(i.TenantID), string(i.ID)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteItem removes an item, records when its numbers were released, and appends the audit event. The caller has checked that nothing refers to it.
func (t *Tx) DeleteItem(ctx context.Context, i pbx.Item, now time.Time, event pbx.AuditEvent) error {
	for _, c := range i.Body.Claims() {
		if err := t.releaseText(ctx, c.Number, now); err != nil {
			return err
		}
	}
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM things WHERE tenant_id = $1 AND id = $2`, string(i.TenantID), string(i.ID)); err != nil {
		return err
	}
	return t.AppendEvent(ctx, event)
}

// UsedBy returns the fields of items that refer to a user or an item, ordered by kind, Short and field, and then those of other users, ordered by number.
func (t *Tx) UsedBy(ctx context.Context, to pbx.Ref) ([]pbx.Use, error) {
	uses, err := gather(ctx, t.tx, func(r row) (u pbx.Use, err error) {
		err = r.Scan((*string)(&u.Kind), &u.Name, &u.Field, (*string)(&u.ID))
		return u, err
	}, usesOf(to), to.ID)
	return slices.Compact(uses), err
}

// usesOf returns the query for what refers to a user or an item.
func usesOf(to pbx.Ref) string {
	return `SELECT kind, name, field, id FROM (
    SELECT t.kind, t.name, r.field, t.id, t.short AS place, 0 AS users FROM thing_refs r JOIN things t ON t.id = r.from_id WHERE r.` + refColumn(to) + ` = $1
    UNION ALL
    SELECT 'user', u.name, r.field, u.id, e.number, 1 FROM user_refs r JOIN users u ON u.id = r.from_user JOIN extensions e ON e.user_id = u.id WHERE r.` + refColumn(to) + ` = $1
) AS uses ORDER BY users, kind, place, field`
}

// refColumn returns the column of thing_refs for a reference to a user or an item.
func refColumn(to pbx.Ref) string {
	if to.Kind == pbx.KindUser {
		return "to_user"
	}
	return "to_thing"
}

// Model returns the tenant's users, items and settings as of one moment, the users as Users does. The slices are shared; callers must not modify them.
func (s *Store) Model(ctx context.Context, tenant pbx.TenantID) (pbx.Model, error) {
	return s.model(ctx, tenant, s.Users)
}

// CheckedModel returns what Model returns, the users as CheckedUsers does.
func (s *Store) CheckedModel(ctx context.Context, tenant pbx.TenantID) (pbx.Model, error) {
	return s.model(ctx, tenant, s.CheckedUsers)
}

func (s *Store) model(ctx context.Context, tenant pbx.TenantID, users func(context.Context, pbx.TenantID) ([]pbx.User, error)) (m pbx.Model, err error) {
	version, err := s.modelVersion(ctx)
	for range attempts {
		before := version
		if err == nil {
			m.Users, err = users(ctx, tenant)
		}
		if err == nil {
			var list *itemList
			list, err = s.itemList(ctx, tenant)
			list.addTo(&m)
		}
		if err == nil {
			version, err = s.modelVersion(ctx)
		}
		if err != nil || version == before {
			return m, err
		}
	}
	// They change all the time: no user and no item of the portal changes during a transaction.
	err = s.InTx(ctx, func(ctx context.Context, tx *Tx) (err error) {
		m, err = tx.Model(ctx, tenant)
		return err
	})
	return m, err
}

// modelVersion returns a text that is another one after each change of a user or an item.
func (s *Store) modelVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	version, err := scanText(s.read.QueryRowContext(ctx, `SELECT CAST(u.version AS text) || ' ' || CAST(t.version AS text) FROM users_version u CROSS JOIN things_version t`))
	return version, s.fault("read the version of users and other objects", err)
}

// addTo adds the items and settings to a model.
func (l *itemList) addTo(m *pbx.Model) {
	m.Items, m.Levels, m.Phones = l.items, l.decoded.Levels(), l.decoded.Organisation.Phones
}

// Model returns the tenant's users, items and settings. Callers must not modify them.
func (t *Tx) Model(ctx context.Context, tenant pbx.TenantID) (m pbx.Model, err error) {
	list, err := t.items.read(ctx, t.tx, tenant)
	if err == nil {
		list.addTo(&m)
		m.Users, err = t.Users(ctx, tenant)
	}
	return m, err
}

// CallModel returns the tenant's items and those users whose calls go on to something, with these settings. Callers must not modify them.
func (t *Tx) CallModel(ctx context.Context, tenant pbx.TenantID, settings pbx.Settings) (m pbx.Model, err error) {
	m.Levels, m.Phones = settings.Levels(), settings.Organisation.Phones
	users := t.UsersWithCalls
	if m.Levels.References() != nil {
		users = t.Users
	}
	if m.Users, err = users(ctx, tenant); err == nil {
		m.Items, err = t.Items(ctx, tenant)
	}
	return m, err
}

// differingItems returns the ids of the items without a hash; with accept also of those that are not as the portal wrote them, which are an error otherwise.
func (s *Store) differingItems(ctx context.Context, accept bool) (ids []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	items, err := gather(ctx, s.read, scanStoredItem, allItems)
	for _, i := range items {
		if hash := itemHash(i.Item, i.body); err == nil && i.hash != hash {
			if i.hash != 0 && !accept {
				err = i.check()
			}
			ids = append(ids, string(i.ID))
		}
	}
	return ids, err
}

// coverItems gives items without a hash one; with accept also those that are not as the portal wrote them. Another transaction may have changed them since
// differingItems returned their ids.
func (t *Tx) coverItems(ctx context.Context, ids []string, accept bool) error {
	updates := &pgx.Batch{}
	for _, id := range ids {
		i, ok, err := found(scanStoredItem(t.tx.QueryRowContext(ctx, anyItem, id)))
		if hash := itemHash(i.Item, i.body); err == nil && ok && hash != i.hash && (accept || i.hash == 0) {
			err = t.queue(ctx, updates, `UPDATE things SET row_hash = $1 WHERE id = $2`, hash, id)
		}
		if err != nil {
			return err
		}
	}
	return t.send(ctx, updates)
}
