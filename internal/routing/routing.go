// Package routing manages the things besides users, such as ring groups: it is the service of items of all kinds. It does not deal with HTTP, SQL or
// Asterisk, and never applies anything.
package routing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Routing is the service. It is safe for concurrent use.
type Routing struct {
	store      *store.Store
	now        func() time.Time
	quarantine time.Duration
	look       func(context.Context)          // may be nil
	codecs     func(context.Context) []string // may be nil
}

// New returns a Routing over a store; now returns the current time.
func New(s *store.Store, now func() time.Time) *Routing { return &Routing{store: s, now: now} }

// WithQuarantine returns a copy of r that assigns a released number again only after the given cool-down. The default is zero.
func (r *Routing) WithQuarantine(coolDown time.Duration) *Routing {
	with := *r
	with.quarantine = coolDown
	return &with
}

// WithHost returns a copy of r that calls look before it assigns a number. look records in the store which numbers the Asterisk host itself uses, and must
// return soon.
func (r *Routing) WithHost(look func(context.Context)) *Routing {
	with := *r
	with.look = look
	return &with
}

// WithCodecs returns a copy of r that goes by these codecs of Asterisk. codecs returns none if they are not known, and must return soon.
func (r *Routing) WithCodecs(codecs func(context.Context) []string) *Routing {
	with := *r
	with.codecs = codecs
	return &with
}

// Create creates an item. A number that is left out is assigned from a pool of features; an explicit one may be one that waits for its cool-down.
// Errors: KindInvalid for the input, and for references to what does not exist or that lead a call in a circle; KindConflict if the name or a number is
// taken, or the pool is exhausted.
func (r *Routing) Create(ctx context.Context, tenant pbx.TenantID, name string, body pbx.Body) (created pbx.Item, err error) {
	if r.look != nil {
		r.look(ctx)
	}
	err = r.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now := r.now().UTC().Truncate(time.Microsecond)
		i := pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(uuid.NewString()), TenantID: tenant, Kind: body.Kind(), Name: name}, Body: pbx.NewBody(body.Kind())}
		if err := copyBody(i.Body, body); err != nil { // the transaction may be repeated
			return err
		}
		if err := r.prepare(ctx, tx, &i, nil, nil, now); err != nil {
			return err
		}
		created, err = tx.PutItem(ctx, i, now, pbx.ItemEvent(ctx, now, i, nil, i.Facts()))
		return err
	})
	return created, err
}

// Settings returns the settings of the tenant. Callers must not modify them.
func (r *Routing) Settings(ctx context.Context, tenant pbx.TenantID) (pbx.Settings, error) {
	return r.store.Settings(ctx, tenant)
}

// PoolStatus returns a pool with how many of its numbers are in use.
func (r *Routing) PoolStatus(ctx context.Context, p pbx.NumberPool) (pbx.PoolStatus, error) {
	settings, err := r.store.Settings(ctx, p.TenantID)
	if err != nil {
		return pbx.PoolStatus{}, err
	}
	usage, err := r.store.Usage(ctx, p.Pool)
	return pbx.PoolStatus{NumberPool: p, Usage: usage, CoolDown: settings.CoolDown(p, r.quarantine)}, err
}

// Quarantine returns how long a released number is not assigned again, unless the settings say otherwise.
func (r *Routing) Quarantine() time.Duration { return r.quarantine }

// copyBody copies a body.
func copyBody(into, from pbx.Body) error {
	text, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("cannot copy a %s: %w", from.Kind(), err)
	}
	return json.Unmarshal(text, into)
}

// Get returns an item; KindNotFound if the tenant has none of the kind with that id. The body is shared; callers must not modify it.
func (r *Routing) Get(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID) (pbx.Item, error) {
	canonical, ok := pbx.CanonicalID(id)
	if !ok {
		return pbx.Item{}, notFound(kind, id)
	}
	i, ok, err := r.store.Item(ctx, tenant, kind, canonical)
	if err == nil && !ok {
		err = notFound(kind, id)
	}
	return i, err
}

// Change changes the name and the body of an item in one transaction: patch gets the item as stored, and may be called again. ifMatch is the version that the
// caller read; 0 matches any. A change that leaves everything as it is does nothing. Errors: KindNotFound if there is no such item; KindConflict with
// CodeChangedMeanwhile if it has another version; else those of Create.
func (r *Routing) Change(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID, ifMatch int64, patch func(*pbx.Item) error) (changed pbx.Item, err error) {
	if r.look != nil {
		r.look(ctx)
	}
	var codecs []string
	if _, ok := pbx.NewBody(kind).(pbx.Setting); ok && r.codecs != nil {
		codecs = r.codecs(ctx) // before the transaction
	}
	err = r.withItem(ctx, tenant, kind, id, ifMatch, func(ctx context.Context, tx *store.Tx, was pbx.Item, now time.Time) error {
		before := was.Facts()
		patched := was
		patched.Body = pbx.NewBody(kind)
		err := copyBody(patched.Body, was.Body)
		if err == nil {
			err = patch(&patched)
		}
		i := pbx.Item{Meta: was.Meta, Body: patched.Body}
		i.Name = patched.Name
		if err == nil {
			err = r.prepare(ctx, tx, &i, &was, codecs, now)
		}
		if err != nil {
			return err
		}
		event := pbx.ItemEvent(ctx, now, i, before, i.Facts())
		if changed = was; event.Before == nil && event.After == nil {
			return nil
		}
		changed, err = tx.PutItem(ctx, i, now, event)
		return err
	})
	return changed, err
}

// Delete deletes an item, releases its numbers, and returns the item as it was. ifMatch is the version that the caller read; 0 matches any. Errors:
// KindNotFound if there is no such item; KindConflict if it was changed meanwhile, or with CodeInUse if other items refer to it.
func (r *Routing) Delete(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID, ifMatch int64) (deleted pbx.Item, err error) {
	err = r.withItem(ctx, tenant, kind, id, ifMatch, func(ctx context.Context, tx *store.Tx, i pbx.Item, now time.Time) error {
		uses, err := tx.UsedBy(ctx, pbx.Ref{Kind: kind, ID: string(i.ID)})
		if err != nil {
			return err
		}
		if uses = slices.DeleteFunc(uses, func(u pbx.Use) bool { return u.ID == i.ID }); len(uses) > 0 {
			return pbx.InUse(kind, i.Name, uses)
		}
		if setting, ok := i.Body.(pbx.Setting); ok {
			if setting.Needed(i.Meta) {
				return pbx.NeverDeleted(kind, i.Name)
			}
			if err := dispensable(ctx, tx, i); err != nil {
				return err
			}
		}
		deleted = i
		return tx.DeleteItem(ctx, i, now, pbx.ItemEvent(ctx, now, i, i.Facts(), nil))
	})
	return deleted, err
}

// withItem calls do with an item as stored, in one transaction.
func (r *Routing) withItem(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, id pbx.ThingID, ifMatch int64,
	do func(ctx context.Context, tx *store.Tx, i pbx.Item, now time.Time) error,
) error {
	canonical, ok := pbx.CanonicalID(id)
	if !ok {
		return notFound(kind, id)
	}
	return r.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		i, ok, err := tx.Item(ctx, tenant, kind, canonical)
		switch {
		case err != nil:
			return err
		case !ok:
			return notFound(kind, id)
		case ifMatch != 0 && ifMatch != i.Version:
			return pbx.ChangedMeanwhile(kind)
		}
		return do(ctx, tx, i, r.now().UTC().Truncate(time.Microsecond))
	})
}

// prepare brings an item into its normal form, assigns numbers that are left out, and checks all rules that depend on other things. was is the item as
// stored, nil for a new one; codecs are those of Asterisk, as far as they are known.
func (r *Routing) prepare(ctx context.Context, tx *store.Tx, i, was *pbx.Item, codecs []string, now time.Time) error {
	if err := i.Clean(); err != nil {
		return err
	}
	switch other, err := tx.Named(ctx, i.TenantID, i.Kind, i.Name); {
	case err != nil:
		return err
	case other != "" && other != i.ID:
		return nameTaken(i.Kind, i.Name)
	}
	var had []pbx.Claim
	var referred []pbx.Reference
	if was != nil {
		had, referred = was.Body.Claims(), was.Body.References()
	}
	if err := pbx.CheckReferences(i.Body.References(), referred, func(to pbx.Ref) (bool, error) { return tx.Exists(ctx, i.TenantID, to) }); err != nil {
		return err
	}
	settings, err := tx.Settings(ctx, i.TenantID)
	if err != nil {
		return err
	}
	if setting, ok := i.Body.(pbx.Setting); ok {
		settings.Codecs = codecs
		return fits(ctx, tx, setting, i, settings)
	}
	if err := r.numbers(ctx, tx, i, had, settings, now); err != nil {
		return err
	}
	return circles(ctx, tx, i, settings)
}

// fits returns the error of a setting that breaks a rule among the others, reserves a number that something has, or leads calls in a circle.
func fits(ctx context.Context, tx *store.Tx, setting pbx.Setting, i *pbx.Item, before pbx.Settings) error {
	after := before.With(*i)
	if err := setting.CheckAmong(i.Meta, before); err != nil {
		return err
	}
	for _, n := range after.Organisation.Emergency() {
		if slices.Contains(before.Organisation.Emergency(), n) {
			continue
		}
		switch by, taken, err := tx.Holder(ctx, i.TenantID, n); {
		case err != nil:
			return err
		case taken:
			return pbx.ReservedInUse("country", n, by)
		}
	}
	m, err := modelWith(ctx, tx, i.TenantID, before, after)
	if err != nil {
		return err
	}
	return callflow.ThroughSettings(m, i.Body.References())
}

// dispensable returns the error of a setting without which calls would go in a circle, or to more things than they can come to.
func dispensable(ctx context.Context, tx *store.Tx, i pbx.Item) error {
	settings, err := tx.Settings(ctx, i.TenantID)
	if err != nil {
		return err
	}
	m, err := modelWith(ctx, tx, i.TenantID, settings, settings.Without(i.ID))
	if err != nil {
		return err
	}
	if f, ok := callflow.Endless(m); ok {
		return pbx.NeededForCalls(i.Kind, i.Name, f.Text)
	}
	return nil
}

// modelWith returns the model with changed settings, empty if calls do what they did before.
func modelWith(ctx context.Context, tx *store.Tx, tenant pbx.TenantID, before, after pbx.Settings) (m pbx.Model, err error) {
	if after.Levels().Equal(before.Levels()) {
		return m, nil
	}
	return tx.CallModel(ctx, tenant, after)
}

// numbers assigns the numbers that are left out, and returns the error of one that is taken.
func (r *Routing) numbers(ctx context.Context, tx *store.Tx, i *pbx.Item, had []pbx.Claim, settings pbx.Settings, now time.Time) error {
	for _, c := range i.Body.Claims() {
		if c.Number == "" && slices.ContainsFunc(had, func(h pbx.Claim) bool { return h.Field == c.Field && h.Number != "" }) {
			return pbx.Invalid(pbx.FieldError{Field: c.Field, Code: pbx.FieldMissing, Message: "must not be empty: give a number, or leave the field as it is"})
		}
		if c.Number == "" {
			n, err := r.assign(ctx, tx, i.Kind, settings, now)
			if err != nil {
				return err
			}
			i.Body.SetNumber(c.Field, strconv.Itoa(int(n)))
			continue
		}
		if slices.ContainsFunc(had, func(h pbx.Claim) bool { return h.Number == c.Number }) {
			continue
		}
		if n, ok := pbx.ParseNumber(c.Number); ok && settings.Reserved(n) {
			return pbx.NumberReserved(c.Field, c.Number)
		}
		by, taken, err := tx.Holder(ctx, i.TenantID, c.Number)
		if err != nil {
			return err
		}
		if taken {
			return pbx.NumberTaken(c.Field, c.Number, by)
		}
	}
	return nil
}

// assign returns a number of the first pool of features that has a free one.
func (r *Routing) assign(ctx context.Context, tx *store.Tx, kind pbx.ThingKind, settings pbx.Settings, now time.Time) (pbx.Number, error) {
	var tried []string
	for _, p := range settings.PoolsFor(pbx.ForFeatures) {
		taken, err := tx.Taken(ctx, p.First, p.Last, now.Add(-settings.CoolDown(p, r.quarantine)))
		if err != nil {
			return 0, err
		}
		last, err := tx.LastOf(ctx, p.ID)
		if err != nil {
			return 0, err
		}
		n, ok := pbx.NewAssigner(p.Pool, last, func(n pbx.Number) bool { return taken.Has(n) || settings.Reserved(n) }).Next()
		if ok && p.Order == pbx.NextFirst {
			err = tx.SetLastOf(ctx, p.ID, n)
		}
		if ok || err != nil {
			return n, err
		}
		tried = append(tried, fmt.Sprintf("%q (%s)", p.Name, p.Range()))
	}
	return 0, &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeNumbersUsedUp,
		Msg: fmt.Sprintf("no number of the pools of features, %s, is free for a %s: give one explicitly, extend a pool, or delete a %[2]s that is no longer needed; a released number is "+
			"assigned again after its cool-down", strings.Join(tried, ", "), words(kind)),
	}
}

// circles returns the error of an item through which a call would go in a circle by itself, or come to more things than it can.
func circles(ctx context.Context, tx *store.Tx, i *pbx.Item, settings pbx.Settings) error {
	m, err := tx.CallModel(ctx, i.TenantID, settings)
	if err != nil {
		return err
	}
	m.Items = slices.Clone(m.Items)
	if at := slices.IndexFunc(m.Items, func(other pbx.Item) bool { return other.ID == i.ID }); at >= 0 {
		m.Items[at] = *i
	} else {
		m.Items = append(m.Items, *i)
	}
	return callflow.Through(m, pbx.Ref{Kind: i.Kind, ID: string(i.ID)}, i.Body.References())
}

func words(k pbx.ThingKind) string { return strings.ReplaceAll(string(k), "_", " ") }

func notFound(kind pbx.ThingKind, id pbx.ThingID) error {
	return &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeThingNotFound,
		Msg: fmt.Sprintf("there is no %s %q: list them to see which there are", words(kind), string(id)),
	}
}

func nameTaken(kind pbx.ThingKind, name string) error {
	fix := fmt.Sprintf("another %s has this name: choose a different one", words(kind))
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeNameTaken, Msg: fmt.Sprintf("the name %q is taken", name),
		Fields: []pbx.FieldError{{Field: "name", Code: pbx.FieldTaken, Message: fix}},
	}
}
