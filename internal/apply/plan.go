package apply

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/glance"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/sums"
)

// planned is a plan with what the engine needs to carry it out.
type planned struct {
	pbx.Plan
	site    pbx.HostState
	last    int  // the newest revision in the database
	adopted bool // the files in place were not written by an apply

	read func([]pbx.File) (render.Inventory, error) // Engine.read
	sums *sums.Cache                                // Engine.sums
	ring int                                        // how long the phone of a user rings, in seconds

	came     func(pbx.User) bool         // Engine.cameLater
	switches []pbx.Effect                // of the effects those on switches
	deleted  func() map[pbx.Thing]string // Engine.deletedNames

	declared []pbx.HostObject // the objects that files beside the portal's define
	draft

	phones  map[string]bool     // the names of the phones in the draft
	dialled map[pbx.Number]bool // the numbers with an extension in it

	// Results of compare.
	want  pbx.Live         // what Asterisk would run
	good  render.Inventory // what it was last seen to run
	from  render.Inventory // what is in place
	query pbx.LiveQuery    // the live query after the reload

	changed []string // names of the objects that differ between good and inventory
	hashed  bool     // every object in both has a hash
}

// draft is the configuration after an apply.
type draft struct {
	files     []pbx.File
	inventory render.Inventory // of files
	users     int
	model     pbx.Model // from the database; empty for an earlier revision
}

// Plan returns what an apply would do now, and changes nothing. It waits for a comparison of the files in place with the running Asterisk, however long
// that takes.
func (e *Engine) Plan(ctx context.Context) (pbx.Plan, error) {
	return e.planWith(ctx, 2*timeout)
}

// How long QuickPlan waits for Asterisk: if there is a previous comparison of the same revision, and if there is none.
const (
	planPatience      = 150 * time.Millisecond
	firstPlanPatience = 3 * time.Second
)

// QuickPlan returns what Plan returns, but waits for Asterisk only briefly. If Asterisk does not answer in time, the plan contains the previous comparison,
// made at AskedAt. An Asterisk with many users takes seconds to answer.
func (e *Engine) QuickPlan(ctx context.Context) (pbx.Plan, error) {
	return e.planWith(ctx, planPatience)
}

// planWith returns the plan. It waits for Asterisk for at most patience if there is a previous comparison of the same revision.
func (e *Engine) planWith(ctx context.Context, patience time.Duration) (pbx.Plan, error) {
	p, err := e.plan(ctx, e.beginDraft(ctx, 0, e.store.Model), "")
	if err != nil {
		return pbx.Plan{}, err
	}
	// Before the first comparison seen is zero: revision 0 then does not mean a host without a revision.
	ofThis := func(seen glance.Seen[comparison]) bool {
		return !seen.At.IsZero() && seen.What.revision == p.site.Current
	}
	seen, ok := e.compared.Within(ctx, patience)
	if !ok && !ofThis(seen) {
		seen, ok = e.compared.Within(ctx, firstPlanPatience)
	}
	switch {
	case p.site.Ahead():
		p.SyncCode, p.Behind = notSeen(p.site)
	case ok || ofThis(seen):
		p.SyncCode, p.Behind, p.AskedAt = seen.What.code, seen.What.behind, seen.At
	default:
		p.SyncCode, p.Behind = pbx.NotAsked, fmt.Sprintf("Asterisk has not answered within %s: ask for the plan with --live, or live=true, to wait for it", firstPlanPatience)
	}
	running, err := e.store.Host(ctx, store.HostRunning) // as of the last query
	if err != nil {
		return pbx.Plan{}, inside(err)
	}
	p.findHost(ctx, e, p.declared, running)
	p.explain()
	if p.Pending {
		p.WaitingSince = e.waitingSince(ctx, p.site)
	}
	return p.Plan, nil
}

// firstChange is when the first change was made after a revision.
type firstChange struct {
	revision int
	at       time.Time
}

// waitingSince returns when the first change was made after the revision that Asterisk was last seen to run; zero if it is not known. It is looked up once for each
// revision, because the queries take as long as the plan.
func (e *Engine) waitingSince(ctx context.Context, site pbx.HostState) (first time.Time) {
	if known := e.waiting.Load(); known != nil && known.revision == site.LastVerified {
		return known.at
	}
	deployed := e.seenAt(ctx, site)
	if deployed.IsZero() {
		return first
	}
	actions := []string{
		pbx.ActionUserCreate, pbx.ActionUserChange, pbx.ActionUserDelete, pbx.ActionUserSecret, pbx.ActionDeviceCreate, pbx.ActionDeviceSecret, pbx.ActionDeviceDelete,
	}
	for _, kind := range slices.Concat(pbx.Kinds(), pbx.SettingKinds()) {
		actions = append(actions, string(kind)+".")
	}
	for _, action := range actions {
		events, err := e.store.EventsAfter(ctx, store.EventQuery{Action: action, Since: deployed}, 0, 1)
		if err != nil {
			return time.Time{}
		}
		if len(events) > 0 && (first.IsZero() || events[0].Event.At.Before(first)) {
			first = events[0].Event.At
		}
	}
	if !first.IsZero() {
		e.waiting.Store(&firstChange{site.LastVerified, first})
	}
	return first
}

// comparison is the result of comparing the files in place with the running Asterisk.
type comparison struct {
	revision int // that of the files
	code     pbx.SyncCode
	behind   string
}

// compareRunning compares the files in place with the running Asterisk.
func (e *Engine) compareRunning(ctx context.Context) (c comparison) {
	site, err := e.target.Inspect()
	if err != nil {
		return comparison{-1, pbx.NotOurs, err.Error()}
	}
	c.revision = site.Current
	c.code, c.behind = e.behind(ctx, site, true)
	return c
}

// plan returns the plan of an apply of this draft; explain adds the explanation. id is that of the apply, "" for a plan alone; on a host without a
// revision, the apply adopts the existing files as the first one.
func (e *Engine) plan(ctx context.Context, wanted func() (draft, error), id pbx.RunID) (*planned, error) {
	p := &planned{read: e.read, sums: &e.sums, ring: e.options.RingTimeout}
	p.came = e.cameLater(ctx, func() time.Time { return e.seenAt(ctx, p.site) })
	p.deleted = sync.OnceValue(func() map[pbx.Thing]string { return e.deletedNames(ctx) })
	var declared, running []pbx.HostObject
	counted := async(func() (err error) { // the database and the disk, concurrently
		p.last, err = e.store.LastRevision(ctx)
		if err == nil {
			running, err = e.store.Host(ctx, store.HostRunning)
		}
		return inside(err)
	})
	read := async(func() error {
		declared = e.noteDeclared(ctx)
		return nil
	})
	known := true // whether the run that made the revision in place is known
	looked := async(func() (err error) {
		if p.site, err = e.target.Inspect(); err != nil {
			return applyError(pbx.CodeWriteFailed, err)
		}
		known, err = e.knownRevision(ctx, p.site)
		return inside(err)
	})
	var err error
	p.draft, err = wanted()
	if err = cmp.Or(err, looked(), counted(), read()); err != nil {
		return nil, err
	}
	p.Users, p.Items = p.users, p.inventory.Items()
	p.findHost(ctx, e, declared, running)
	unused := neverUsed(p.site)
	p.adopted = unused
	switch {
	case unused && id != "" && len(p.Clashes) == 0: // otherwise the apply is refused
		if p.site, err = e.adopt(ctx, p.site, p.last, id); err != nil {
			return nil, err
		}
		p.last = p.site.Current
	case unused: // the plan is the one that follows an adoption
		if p.site.Files, err = asAdopted(p.site.Files); err != nil {
			return nil, err
		}
	}
	p.Revision, p.Drift = p.site.Current, p.site.Drift
	if !known {
		p.Drift = append(p.Drift, pbx.Drift{Kind: pbx.Unknown, Path: fmt.Sprintf("revision %d", p.site.Current)})
	}
	p.Pending = unused || !same(p.site.Files, p.files)
	return p, nil
}

// neverUsed reports whether the portal was never used on this host. A missing link to the current revision is drift instead.
func neverUsed(site pbx.HostState) bool {
	return site.Current == 0 && len(site.Drift) == len(externalFiles(site.Drift))
}

// compare determines what would change, thing by thing, and what Asterisk must have loaded afterwards.
func (p *planned) compare() {
	p.want = p.inventory.Live()
	p.from, p.good = p.inPlace()
	p.setChanges(p.from, p.good)
	p.changed, p.hashed = render.ChangedObjects(p.good, p.inventory)
	p.query = p.liveQuery()
}

// maxPointLookups is the largest number of objects that are queried one by one rather than by lists of all.
const maxPointLookups = 60

// liveQuery returns the query that verifies, after a reload, that Asterisk runs what is planned and not what it ran before: the ids of all endpoints, if
// PJSIP reloads, and the content of each object, of any type, and of each extension of the dialplan that was added, removed or changed. The last object of
// each type and the last extension of each context represent the unchanged ones: Asterisk has accepted these before, and reads a file from the top, once for
// each type. Everything is listed after a larger change, if the previous files were not the portal's, and if Asterisk may be out of sync.
func (p *planned) liveQuery() pbx.LiveQuery {
	switch {
	case p.mayBeOutOfSync():
		return p.fullQuery(p.inventory, p.want)
	case !p.hashed, len(p.changed) > maxPointLookups, len(p.want.IDs["endpoint"]) == 0: // an empty list proves that nothing is left
		return p.listQuery(p.want)
	}
	contents := slices.Concat(p.changed, p.inventory.Last())
	slices.Sort(contents)
	q := pbx.LiveQuery{Contents: slices.Compact(contents)}
	if slices.Contains(p.modules(), pbx.PJSIP) {
		q.Types = []string{"endpoint"}
	}
	q.Contexts, q.Extens = p.dialplanQuery()
	return q
}

// dialplanQuery returns the contexts that are listed whole, and the extensions that are queried in the others. Whole are those that were added or removed,
// those with includes, those of which many extensions changed, and those of which one cannot be queried by itself.
func (p *planned) dialplanQuery() (contexts, extens []string) {
	good, changed := p.good.Includes(), map[string][]string{}
	for _, place := range render.ChangedExtens(p.good, p.inventory) {
		_, in, _ := strings.Cut(place, "@")
		changed[in] = append(changed[in], place)
	}
	for name, includes := range p.want.Contexts {
		was, had := good[name]
		places := changed[name]
		last := p.inventory.LastExten(name)
		if !had || len(was)+len(includes) > 0 || len(places) > maxPointLookups || last == "" || slices.ContainsFunc(places, render.NoQuery) {
			contexts = append(contexts, name)
			continue
		}
		extens = append(append(extens, places...), last)
	}
	for name := range good {
		if _, stays := p.want.Contexts[name]; !stays {
			contexts = append(contexts, name)
		}
	}
	slices.Sort(contexts)
	slices.Sort(extens)
	return contexts, slices.Compact(extens)
}

// mayBeOutOfSync reports whether Asterisk may run something other than what it was last seen to run.
func (p *planned) mayBeOutOfSync() bool { return p.Behind != "" || len(p.Drift) > 0 || p.site.Ahead() }

// modules returns the modules that must reload: those with a file that differs from what Asterisk was last seen to run; all if Asterisk may be out of sync,
// and after an adoption, whose files it was never seen to run.
func (p *planned) modules() []pbx.Module {
	if p.adopted || p.mayBeOutOfSync() {
		return pbx.AllModules()
	}
	var changed []pbx.Module
	for _, f := range pbx.GeneratedFiles() {
		if !slices.Contains(changed, f.Module) && !bytes.Equal(pbx.ContentOf(p.files, f.Path), pbx.ContentOf(p.site.Seen, f.Path)) {
			changed = append(changed, f.Module)
		}
	}
	if len(changed) == 0 { // an apply that reloads nothing would verify nothing
		return pbx.AllModules()
	}
	return changed
}

// listQuery returns the query for all objects by name, and for the content of those that changed.
func (p *planned) listQuery(want pbx.Live) pbx.LiveQuery {
	if p.site.Ahead() {
		return p.fullQuery(p.good, want)
	}
	good := p.good.Live().Hashes
	q := listAll(false, p.inventory, p.good)
	q.Contents = slices.DeleteFunc(slices.Clone(p.changed), func(name string) bool { return good[name] == "" || p.want.Hashes[name] == "" })
	return q
}

// fullQuery returns the query for all objects by name and content, for an Asterisk that may run any of several revisions: the one of inventory, the planned
// one, or one of those that it may have run before.
func (p *planned) fullQuery(inventory render.Inventory, want pbx.Live) pbx.LiveQuery {
	return fullQuery(want, inventory, p.inventory, p.good, p.from)
}

// fullQuery returns the query for all objects of these inventories by name, and for the content of those in want.
func fullQuery(want pbx.Live, inventories ...render.Inventory) pbx.LiveQuery {
	q := listAll(false, inventories...)
	q.Contents = slices.Sorted(maps.Keys(want.Hashes))
	return q
}

// inPlace returns what the files in place define, and what those define that Asterisk was last seen to run. Files that are not the portal's (an administrator's
// own, a manual edit) count as empty; Diffs counts their lines.
func (p *planned) inPlace() (from, good render.Inventory) {
	from, _ = p.read(p.site.Files)
	if same(p.site.Files, p.site.Seen) {
		return from, from
	}
	good, _ = p.read(p.site.Seen)
	return from, good
}

// setChanges sets the changes of the plan from this inventory, and their effects in Asterisk. good is the inventory that Asterisk was last seen to run.
func (p *planned) setChanges(from, good render.Inventory) {
	p.Changes = render.JoinRenumbered(render.Changes(from, p.inventory), from, p.inventory, p.model.Users)
	p.nameThings()
	p.Effects = pbx.EffectsOf(p.Changes)
	if good.LooksAtSwitches() {
		p.switches = render.SwitchEffects(good, p.inventory, p.model.Users, p.came)
		p.Effects = append(p.Effects, p.switches...)
	}
}

// maxDeletedNames is how many of the last deletions of each kind are searched for the name of an item that an apply removes.
const maxDeletedNames = 1000

// deletedNames returns the names of deleted items, from the audit trail. If it cannot be read, plans have these items without names.
func (e *Engine) deletedNames(ctx context.Context) map[pbx.Thing]string {
	names := map[pbx.Thing]string{}
	for _, kind := range pbx.Kinds() {
		deletions, _ := e.store.EventsBefore(ctx, store.EventQuery{Action: string(kind) + ".delete"}, 0, maxDeletedNames)
		for _, d := range deletions {
			names[pbx.Thing{Kind: kind, Key: d.Event.Before["key"]}] = d.Event.Object.Name
		}
	}
	return names
}

// nameThings fills in names that the files do not have: those of items, and of users whose files have none, as they are disabled.
func (p *planned) nameThings() {
	var names map[pbx.Thing]string
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Number != 0 {
			if c.Name == "" && c.Kind == pbx.Added {
				byNumber := func(u pbx.User, n pbx.Number) int { return cmp.Compare(u.Extension.Number, n) }
				if at, ok := slices.BinarySearchFunc(p.model.Users, c.Number, byNumber); ok {
					c.Name = p.model.Users[at].Name
				}
			}
			continue
		}
		if names == nil {
			names = make(map[pbx.Thing]string, len(p.model.Items))
			for _, item := range p.model.Items {
				names[pbx.Thing{Kind: item.Kind, Key: item.Key()}] = item.Name
			}
		}
		p.Changes[i].Name = names[p.Changes[i].Owner]
		if c := &p.Changes[i]; c.Name == "" && c.Kind == pbx.Removed {
			c.Name = p.deleted()[c.Owner]
		}
	}
}

// explain fills in the parts of a plan that are shown to people: the changes and the differences of the files.
func (p *planned) explain() {
	compared := async(func() error {
		p.setHash()
		p.Diffs = render.Diff("in place", p.site.Files, "planned", p.files)
		return nil
	})
	from, good := p.inPlace()
	p.setChanges(from, good)
	p.setBehaviour(from)
	_ = compared() // it returns no error
}

// maxBehaviour is how many items a plan describes whose calls behave differently.
const maxBehaviour = 20

// setBehaviour determines which calls behave differently than with this inventory. It leaves out what it cannot compare: the plan of an earlier revision,
// which has no model, and files that this version did not write.
func (p *planned) setBehaviour(from render.Inventory) {
	p.Behaviour = nil
	if len(p.Changes) == 0 || p.model.Users == nil || len(p.model.Items) == 0 && from.Items() == 0 {
		return
	}
	touched := make([]pbx.Thing, 0, 2*len(p.Changes))
	for _, c := range p.Changes {
		touched = append(touched, c.Owner)
		if c.Was != 0 {
			touched = append(touched, pbx.Thing{Kind: pbx.KindUser, Key: strconv.Itoa(int(c.Was))})
		}
	}
	items := slices.ContainsFunc(touched, func(t pbx.Thing) bool { return t.Kind != pbx.KindUser }) // also one that is removed
	if !items && !callflow.Affects(touched, p.model) {
		return
	}
	before, ok := from.Model(p.model)
	if !ok {
		return
	}
	for i := range before.Items {
		if m := &before.Items[i].Meta; m.Name == "" {
			m.Name = p.deleted()[pbx.Thing{Kind: m.Kind, Key: m.Key()}]
		}
	}
	for _, d := range callflow.Compare(before, p.model, touched, p.ring, maxBehaviour) {
		p.Behaviour = append(p.Behaviour, d.String())
	}
}

// beginDraft starts to read an earlier revision, or, for 0, to read and render what is configured in the database: with Store.CheckedModel what is applied,
// with Store.Model what is only shown. The function that it returns waits for the result.
func (e *Engine) beginDraft(ctx context.Context, restore int, read func(context.Context, pbx.TenantID) (pbx.Model, error)) func() (draft, error) {
	var d draft
	wait := async(func() (err error) {
		if restore != 0 {
			d, err = e.oldDraft(ctx, restore)
			return err
		}
		model, err := read(ctx, pbx.DefaultTenant)
		if err != nil {
			return inside(err)
		}
		before := cmp.Or(e.draft.Load(), &render.Rendered{})
		next, err := e.options.Next(*before, model)
		if err != nil {
			return err
		}
		e.draft.Store(&next)
		d = draft{next.Files, next.Inventory, len(model.Users), model}
		return nil
	})
	return sync.OnceValues(func() (draft, error) { err := wait(); return d, err })
}

// read returns what render.Read returns. It caches the inventory of the files in place: these are usually the files that were rendered or read last.
func (e *Engine) read(files []pbx.File) (render.Inventory, error) {
	if d := e.draft.Load(); d != nil && same(d.Files, files) {
		e.place.Store(&inPlace{d.Files, d.Inventory})
		return d.Inventory, nil
	}
	if p := e.place.Load(); p != nil && same(p.files, files) {
		return p.inventory, nil
	}
	inventory, err := e.parse(files)
	if err == nil {
		e.place.Store(&inPlace{files, inventory})
	}
	return inventory, err
}

// parse returns what render.Read returns. It reuses what it can of the files in place.
func (e *Engine) parse(files []pbx.File) (render.Inventory, error) {
	there := cmp.Or(e.place.Load(), &inPlace{})
	return render.ReadAfter(there.files, there.inventory, files)
}

// inPlace is a set of files with its inventory.
type inPlace struct {
	files     []pbx.File
	inventory render.Inventory
}

// oldDraft returns an earlier revision as a draft.
func (e *Engine) oldDraft(ctx context.Context, number int) (d draft, err error) {
	run, err := e.Revision(ctx, number)
	if err != nil {
		return d, err
	}
	if run.Files == nil {
		return d, &pbx.Error{
			Kind: pbx.KindNotFound, Code: pbx.CodeForgotten,
			Msg: fmt.Sprintf("the files of revision %d are no longer kept: restore a newer one, or apply the database", number),
		}
	}
	inventory, err := e.parse(run.Files)
	if err != nil {
		return d, applyError(pbx.CodeRefused, err)
	}
	return draft{run.Files, inventory, len(inventory.Numbers()), pbx.Model{}}, nil
}

// asAdopted returns the files as they are after an adoption: missing ones are empty.
func asAdopted(there []pbx.File) ([]pbx.File, error) {
	empty, _, err := render.Config(nil)
	if err != nil {
		return nil, err
	}
	adopted := slices.Clone(there)
	for i, f := range adopted {
		if f.Content == nil {
			adopted[i].Content = pbx.ContentOf(empty, f.Path)
		}
	}
	return adopted, nil
}

// adopt takes over a host on which the portal was never used: the existing files become a revision of their own, with a record, so that it can be restored.
// If there are none, the two empty files that it creates need no record other than that of the apply, whose id is given.
func (e *Engine) adopt(ctx context.Context, site pbx.HostState, last int, id pbx.RunID) (pbx.HostState, error) {
	empty, _, err := render.Config(nil)
	if err != nil {
		return site, err
	}
	a := e.attempt(ctx, Request{TriggeredBy: "portal", Comment: "what was in place before the first apply"})
	defer a.close()
	number := max(site.Next, last+1)
	recorded := id == "" || slices.ContainsFunc(site.Files, func(f pbx.File) bool { return !render.IsEmpty(f.Content) })
	if recorded {
		id = a.id()
	}
	files, err := e.target.Adopt(number, id, empty)
	if err != nil {
		return site, applyError(pbx.CodeWriteFailed, err)
	}
	if recorded {
		a.run.Revision = number
		a.run.Files = files
		if there, err := render.Read(files); err == nil { // otherwise they are not the portal's, and the users in them are unknown
			a.run.Users = len(there.Numbers())
		}
		a.run.Result, a.run.Log.Outcome, a.run.Log.ErrorDetails = pbx.Applied, pbx.Success, ""
		event := pbx.NewAuditEvent(ctx, a.start, pbx.ActionApplyAdopt, a.object())
		event.After = pbx.Facts{"revision": strconv.Itoa(number)}
		if err := a.save(ctx, event); err != nil {
			return site, err
		}
	}
	if site, err = e.target.Inspect(); err != nil {
		return site, applyError(pbx.CodeWriteFailed, err)
	}
	return site, nil
}

// Install adopts the files of users, and creates the missing ones empty, so that Asterisk can include them. It returns false if that was done before.
// KindConflict while an apply runs, and if existing files differ from what the portal wrote (CodeDrift).
func (e *Engine) Install(ctx context.Context) (bool, error) {
	unlock, err := e.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	site, err := e.target.Inspect()
	if err != nil {
		return false, applyError(pbx.CodeWriteFailed, err)
	}
	if !neverUsed(site) {
		return false, drifted(site.Drift)
	}
	last, err := e.store.LastRevision(ctx)
	if err != nil {
		return false, err
	}
	_, err = e.adopt(ctx, site, last, "")
	return err == nil, err
}

// knownRevision reports whether the database has the apply that made the revision in place; true if there is no revision. If it does not, the database was
// restored from a backup, or is a different one.
func (e *Engine) knownRevision(ctx context.Context, site pbx.HostState) (bool, error) {
	if site.Current == 0 || site.RunID == "" {
		return true, nil
	}
	return e.store.HasRun(ctx, site.RunID)
}

// behind returns why Asterisk does not run the files in place, "" if it does.
func (e *Engine) behind(ctx context.Context, site pbx.HostState, patient bool) (pbx.SyncCode, string) {
	if site.Ahead() {
		return notSeen(site)
	}
	code, contradiction, err := e.contradiction(ctx, site, patient)
	if err != nil {
		return pbx.NotAsked, "Asterisk cannot be asked: " + err.Error()
	}
	return code, contradiction
}

func notSeen(site pbx.HostState) (pbx.SyncCode, string) {
	return pbx.NotSeen, fmt.Sprintf("Asterisk was not yet seen to run revision %d", site.Current)
}

// contradiction compares the names of all objects that Asterisk has loaded, and its dialplan, with the files in place. It returns the first difference, ""
// if there is none.
func (e *Engine) contradiction(ctx context.Context, site pbx.HostState, patient bool) (pbx.SyncCode, string, error) {
	if slices.ContainsFunc(site.Drift, func(d pbx.Drift) bool { return d.Kind == pbx.Edited || d.Kind == pbx.Replaced }) {
		return pbx.NotOurs, "the files in place are not the portal's: they were changed by hand", nil
	}
	inventory, err := e.read(site.Files)
	if err != nil {
		return pbx.NotOurs, "the files in place are not the portal's: " + err.Error(), nil //nolint:nilerr // that is the result
	}
	seen := seenInventory(site)
	all := listAll(patient, inventory, seen)
	live, err := e.ask(ctx, all, nil, inventory, seen)
	if err != nil {
		return "", "", err
	}
	if diffs := differences(all, inventory.Live(), live); len(diffs) > 0 {
		return pbx.Differs, "Asterisk runs something else: " + diffs[0], nil
	}
	return "", "", nil
}

// same reports whether two sets of files are equal, byte for byte and by path.
func same(a, b []pbx.File) bool {
	return slices.EqualFunc(a, b, func(x, y pbx.File) bool { return x.Path == y.Path && bytes.Equal(x.Content, y.Content) })
}

// setHash computes the hash of the plan: of what is in place, the drift, and what would be in place.
func (p *planned) setHash() {
	h := sha256.New()
	for _, f := range slices.Concat(p.site.Files, p.files) {
		fmt.Fprintf(h, "%s %x\n", f.Path, p.sums.Of(f.Path, f.Content))
	}
	fmt.Fprint(h, p.Drift)
	p.Hash = hex.EncodeToString(h.Sum(nil)[:16])
}

// inside returns err, or, for an internal error of the database, one whose details are only logged.
func inside(err error) error {
	if err == nil || pbx.KindOf(err) != pbx.KindInternal {
		return err
	}
	return &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeInternal, Msg: "the database gave an answer the portal cannot use: see the log of the portal", Err: err}
}

// applyError returns err, or, for an internal error before an apply, one whose text is shown to the caller.
func applyError(code string, err error) error {
	if pbx.KindOf(err) != pbx.KindInternal {
		return err
	}
	return &pbx.Error{Kind: pbx.KindApply, Code: code, Msg: err.Error(), Err: err}
}
