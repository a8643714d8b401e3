package apply

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// Bounds of LookAtHost: the maximum age of what was read, and the maximum wait of a caller.
const (
	hostAge      = time.Second
	hostPatience = 900 * time.Millisecond
)

// LookAtHost records in the database which numbers the host itself uses. It reads the files at most once a second. It queries the running Asterisk,
// which may have objects that no readable file defines, once in each process; after that, plans and Run keep the record up to date. While Asterisk does
// not answer, the previous record stays. LookAtHost returns within two seconds.
func (e *Engine) LookAtHost(ctx context.Context) {
	e.hostFiles.Recent(ctx, hostAge)
	e.hostRunning.Recent(ctx, math.MaxInt64)
}

// readHostFiles reads what the files define, for LookAtHost.
func (e *Engine) readHostFiles(ctx context.Context) struct{} {
	e.noteDeclared(ctx)
	return struct{}{}
}

// noteDeclared returns the objects that the files define, and records them in the database. It ignores an error of the database.
func (e *Engine) noteDeclared(ctx context.Context) []pbx.HostObject {
	objects, err := e.target.Declared(ctx)
	if err == nil || len(objects) > 0 { // with an error, the objects of the readable files
		_ = e.store.NoteHost(ctx, store.HostFiles, keep(objects, pbx.HostObject.Taken)) // for allocation: plans read the files themselves
	}
	return objects
}

// inPool returns a function that reports whether the number of an object is in a pool of users or features.
func (e *Engine) inPool(ctx context.Context) func(pbx.HostObject) bool {
	settings, err := e.store.Settings(ctx, pbx.DefaultTenant)
	if err != nil { // reported where it matters
		settings = pbx.SettingsOf(nil)
	}
	return func(o pbx.HostObject) bool {
		_, ok := settings.PoolOf(o.Number)
		return ok
	}
}

// askRunningHost queries Asterisk, for LookAtHost.
func (e *Engine) askRunningHost(ctx context.Context) struct{} {
	_, _ = e.runningHost(ctx, true) // an unreachable Asterisk is reported elsewhere
	return struct{}{}
}

// runningHost queries everything that Asterisk has loaded, records the objects of the host, and returns them.
func (e *Engine) runningHost(ctx context.Context, patient bool) ([]pbx.HostObject, error) {
	site, err := e.target.Inspect()
	if err != nil {
		return nil, err
	}
	files, err := render.Read(site.Files)
	if err != nil { // it is unknown which of Asterisk's objects are from these files
		return nil, err
	}
	seen := seenInventory(site)
	live, err := e.ask(ctx, listAll(patient, files, seen), nil, files, seen)
	return live.Host, err
}

// seenInventory returns the inventory of the files that Asterisk was last seen to run; an empty one if those are the files in place, or not the
// portal's.
func seenInventory(site pbx.HostState) render.Inventory {
	if same(site.Files, site.Seen) {
		return render.Inventory{}
	}
	seen, _ := render.Read(site.Seen)
	return seen
}

// listAll returns the query that lists everything of the types and contexts in these inventories, and of those of users.
func listAll(patient bool, inventories ...render.Inventory) pbx.LiveQuery {
	q := pbx.WholeQuery()
	q.Patient = patient
	for _, inventory := range inventories {
		q.Types, q.Contexts = inventory.AddTypes(q.Types), inventory.AddContexts(q.Contexts)
	}
	return q
}

// oursIn returns the ids whose objects count as the portal's even without its mark: those in one of the inventories, unless theirs names an object
// that replaces one of them.
func oursIn(theirs []pbx.HostObject, inventories ...render.Inventory) map[string]bool {
	size := 0
	for _, inventory := range inventories {
		size = max(size, inventory.Size())
	}
	ids := make(map[string]bool, size/3) // most have three objects
	for _, inventory := range inventories {
		inventory.AddIDs(ids)
	}
	for _, o := range theirs {
		if o.Clashes() {
			delete(ids, o.Name())
		}
	}
	return ids
}

// ask queries what Asterisk has loaded, and separates what is not the portal's (oursIn). If the query is for everything, the objects of the host that its
// files do not define are recorded.
func (e *Engine) ask(ctx context.Context, q pbx.LiveQuery, theirs []pbx.HostObject, inventories ...render.Inventory) (pbx.Live, error) {
	q.Ours = oursIn(theirs, inventories...)
	live, err := e.target.Live(ctx, q)
	if err != nil || !q.IsWhole() {
		return live, err
	}
	declared := e.noteDeclared(ctx)
	live.Host = pbx.JoinHostObjects(nil, pbx.OnlyRunning(declared, live.Host)) // in order: the same objects are recorded once
	_ = e.store.NoteHost(ctx, store.HostRunning, live.Host)                    // the next query for everything records them again
	return live, nil
}

// findHost fills in Host, the host's objects with numbers of a pool, of users or of items, and Clashes, those of them that clash with the plan. It queries
// Asterisk again before it reports a clash that only the running Asterisk had.
func (p *planned) findHost(ctx context.Context, e *Engine, declared, running []pbx.HostObject) {
	if p.phones == nil {
		p.phones, p.dialled = make(map[string]bool, p.users), p.inventory.Dialled()
		p.inventory.AddIDs(p.phones)
	}
	phones, dialled := p.phones, p.dialled
	clashes := func(all []pbx.HostObject) []pbx.HostObject {
		return keep(all, func(o pbx.HostObject) bool { return o.Conflicts(phones[o.Name()], dialled[o.Number]) })
	}
	p.declared = declared
	p.Host = pbx.JoinHostObjects(declared, running)
	if p.Clashes = clashes(p.Host); len(p.Clashes) > len(clashes(declared)) {
		running, err := e.runningHost(ctx, false)
		if err != nil {
			running = nil
		}
		p.Host = pbx.JoinHostObjects(declared, running)
		p.Clashes = clashes(p.Host)
	}
	inPool := e.inPool(ctx)
	p.Host = keep(p.Host, func(o pbx.HostObject) bool {
		if o.Kind == pbx.KindReference { // to the object of a user it is none of the host's
			return !phones[o.Name()]
		}
		return phones[o.Name()] || o.Suffix == 0 && (inPool(o) || dialled[o.Number])
	})
}

// keep returns the objects for which wanted reports true.
func keep(all []pbx.HostObject, wanted func(pbx.HostObject) bool) []pbx.HostObject {
	return slices.DeleteFunc(slices.Clone(all), func(o pbx.HostObject) bool { return !wanted(o) })
}

// Host returns the host's objects with numbers of a pool, of users or of items, and those of them that clash. If Asterisk does not answer, its objects
// are those of the last query. Host also works with a database that cannot be written.
func (e *Engine) Host(ctx context.Context) (host, clashes []pbx.HostObject, err error) {
	p := &planned{}
	if p.draft, err = e.beginDraft(ctx, 0, e.store.Model)(); err != nil {
		return nil, nil, err
	}
	running, err := e.runningHost(ctx, true)
	if err != nil { // Asterisk is not running, or the files are not the portal's
		if running, err = e.store.Host(ctx, store.HostRunning); err != nil {
			return nil, nil, err
		}
	}
	p.findHost(ctx, e, e.noteDeclared(ctx), running)
	return p.Host, p.Clashes, nil
}

// clashText returns the message for numbers that both the database and the host have, or for references of the host to users that are gone.
func clashText(clashes []pbx.HostObject) string {
	const most = 5
	var texts []string
	for _, o := range clashes[:min(len(clashes), most)] {
		texts = append(texts, o.String())
	}
	if more := len(clashes) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	if !slices.ContainsFunc(clashes, func(o pbx.HostObject) bool { return o.Kind != pbx.KindReference }) {
		return "Asterisk's own configuration refers to objects of users that are gone, and would be rejected as a whole: " + strings.Join(texts, ", ") +
			"; nothing was changed, and force does not help. Rename or remove these sections there, then apply again"
	}
	return "Asterisk's own configuration has objects with numbers of the portal: " + strings.Join(texts, ", ") +
		"; nothing was changed, and force does not help. Rename or remove them there, or change these numbers in the portal; then apply again"
}
