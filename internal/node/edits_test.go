package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// This file brings a host into every state that an apply can leave, edits the files there in every way, and then lets the portal do everything
// that it can do. No edit may be lost: its bytes are still in place, or in an audit record. And none may be undone without force.

// host is a host with real files and a simulated Asterisk, which by default runs the files that it reads at a reload.
type host struct {
	*node.Local
	dir     string
	running []pbx.File

	away      bool              // Asterisk is unreachable
	ambiguous bool              // its answer to a reload is ambiguous
	deny      int               // the number of next queries that Asterisk answers as if it ran nothing
	before    map[string]func() // is called before a method, once
	after     map[string]func()
}

// at calls the function before a method, and returns the one to call after it.
func (h *host) at(method string) (afterwards func()) {
	do, then := h.before[method], h.after[method]
	delete(h.before, method)
	delete(h.after, method)
	if do != nil {
		do()
	}
	if then == nil {
		return func() {}
	}
	return then
}

func (h *host) Stage(number, parent int, id pbx.RunID, files []pbx.File) error {
	defer h.at("stage")()
	return h.Local.Stage(number, parent, id, files)
}

func (h *host) Activate(number int, over []pbx.File) ([]string, error) {
	defer h.at("flip")()
	return h.Local.Activate(number, over)
}

func (h *host) MarkVerified(number int) error {
	defer h.at("accept")()
	return h.Local.MarkVerified(number)
}

func (h *host) Reload(context.Context, []pbx.Module) (pbx.Reload, error) {
	defer h.at("reload")()
	if h.away {
		return pbx.Reload{}, errors.New("Asterisk cannot be reached")
	}
	var files []pbx.File
	for _, name := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
		content, err := os.ReadFile(filepath.Join(h.dir, name))
		if err != nil {
			content = nil
		}
		files = append(files, pbx.File{Path: name, Content: content})
	}
	if _, err := render.Read(files); err == nil { // otherwise it keeps what it has loaded
		h.running = files
	}
	return pbx.Reload{Understood: !h.ambiguous}, nil
}

func (h *host) Live(_ context.Context, q pbx.LiveQuery) (pbx.Live, error) {
	defer h.at("live")()
	if h.away {
		return pbx.Live{}, errors.New("Asterisk cannot be reached")
	}
	if h.deny > 0 {
		h.deny--
		return pbx.Live{}, nil
	}
	inventory, err := render.Read(h.running)
	live := inventory.Live()
	live.Steps = slices.DeleteFunc(slices.Clone(live.Steps), func(s pbx.Step) bool { return !q.Covers(s) })
	return live, err
}

func (*host) Do(context.Context, []pbx.Effect) ([]pbx.Effect, error) { return nil, nil }

// bench is a host with a portal, on which the cases are tried one after another.
type bench struct {
	*host
	t         *testing.T
	engine    *apply.Engine
	store     *store.Store
	directory *directory.Directory
	users     []pbx.User
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	control, err := asterisk.NewControl(filepath.Join(dir, "none.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	local, err := node.New(dir, control)
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.New(t)
	b := &bench{host: &host{Local: local, dir: dir}, t: t, store: db, directory: directory.New(db, time.Now)}
	b.engine = apply.New(apply.Config{Store: db, Target: b.host, Now: time.Now, Keep: 3})
	for range 3 {
		b.change()
	}
	b.settle()
	return b
}

// settle ends a case: it restores a host in sync from any state.
func (b *bench) settle() {
	b.away, b.ambiguous, b.deny, b.before, b.after = false, false, 0, map[string]func(){}, map[string]func(){}
	for _, p := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
		foreign, err := filepath.Glob(filepath.Join(b.dir, filepath.Dir(p), "theirs*"))
		if err != nil {
			b.t.Fatal(err)
		}
		for _, f := range foreign {
			_ = os.Remove(f)
		}
	}
	if run, err := b.engine.Apply(b.t.Context(), apply.Request{TriggeredBy: "test", Force: true}); err != nil || run.Verification != pbx.Confirmed {
		b.t.Fatalf("a forced apply does not help: %s, %v", run.Verification, err)
	}
}

// change makes the database differ from the files.
func (b *bench) change() {
	b.t.Helper()
	if len(b.users) > 2 {
		if _, err := b.directory.Delete(b.t.Context(), pbx.DefaultTenant, b.users[0].ID); err != nil {
			b.t.Fatal(err)
		}
		b.users = b.users[1:]
	}
	u, err := b.directory.Create(b.t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "U", Email: fmt.Sprintf("%d@example.com", time.Now().UnixNano())})
	if err != nil {
		b.t.Fatal(err)
	}
	b.users = append(b.users, u)
}

// apply applies, whatever the result. A panic represents the death of the portal.
func (b *bench) apply(r apply.Request) {
	defer func() { _ = recover() }()
	r.TriggeredBy = "test"
	_, _ = b.engine.Apply(b.t.Context(), r)
}

func die() { panic("the portal dies here") }

// states are the functions that bring about the states that an apply can leave. An edit during an apply is a state as well: the next apply
// calls edit at that moment.
func states() map[string]func(b *bench, edit func()) {
	diesAt := func(method string, after bool) func(*bench, func()) {
		return func(b *bench, edit func()) {
			b.change()
			if after {
				b.after[method] = die
			} else {
				b.before[method] = die
			}
			b.apply(apply.Request{})
			b.before, b.after = map[string]func(){}, map[string]func(){}
			edit()
		}
	}
	during := func(method string, after bool, prepare func(*bench)) func(*bench, func()) {
		return func(b *bench, edit func()) {
			b.change()
			prepare(b)
			if after {
				b.after[method] = edit
			} else {
				b.before[method] = edit
			}
		}
	}
	well := func(*bench) {}
	denied := func(b *bench) { b.deny = 1 }
	return map[string]func(*bench, func()){
		"Asterisk runs the files": func(_ *bench, edit func()) { edit() },
		"something is to be done": func(b *bench, edit func()) { b.change(); edit() },
		"Asterisk is away":        func(b *bench, edit func()) { b.change(); b.away = true; b.apply(apply.Request{}); edit() },
		"Asterisk was away": func(b *bench, edit func()) {
			b.change()
			b.away = true
			b.apply(apply.Request{})
			edit()
			b.away = false
		},
		"it was away, and more is": func(b *bench, edit func()) {
			b.change()
			b.away = true
			b.apply(apply.Request{})
			b.change()
			edit()
			b.away = false
		},
		"it could not be understood": func(b *bench, edit func()) {
			b.change()
			b.ambiguous = true
			b.apply(apply.Request{})
			b.ambiguous = false
			edit()
		},
		"it was rolled back": func(b *bench, edit func()) { b.change(); b.deny = 1; b.apply(apply.Request{}); edit() },
		"rolling back failed": func(b *bench, edit func()) {
			b.change()
			b.deny = 2
			b.apply(apply.Request{})
			edit()
		},
		"what it refuses was kept": func(b *bench, edit func()) {
			b.change()
			b.deny = 1
			b.apply(apply.Request{OnFailure: apply.Keep})
			edit()
		},
		"a revision was put back": func(b *bench, edit func()) {
			if n, err := b.engine.Previous(b.t.Context()); err == nil {
				b.apply(apply.Request{Restore: n})
			}
			edit()
		},
		"it died before it wrote":           diesAt("stage", false),
		"it died before the switch":         diesAt("stage", true),
		"it died after the switch":          diesAt("flip", true),
		"it died after the reload":          diesAt("reload", true),
		"it died before it was noted":       diesAt("accept", false),
		"it died before the end":            diesAt("accept", true),
		"recovery came after a death":       func(b *bench, edit func()) { diesAt("flip", true)(b, func() { b.recover(); edit() }) },
		"an apply writes":                   during("stage", false, well),
		"an apply is about to switch":       during("flip", false, well),
		"an apply has switched":             during("flip", true, well),
		"Asterisk is about to read":         during("reload", false, well),
		"Asterisk has read":                 during("reload", true, well),
		"Asterisk is asked":                 during("live", true, well),
		"Asterisk has read what it refuses": during("reload", true, denied),
		"Asterisk has refused it":           during("live", true, denied),
	}
}

func (b *bench) recover() { _, _ = b.engine.Recover(b.t.Context()) }

// actions are the actions of the portal, and whether they use force.
func actions() map[string]struct {
	do    func(b *bench)
	force bool
} {
	return map[string]struct {
		do    func(b *bench)
		force bool
	}{
		"apply":         {func(b *bench) { b.apply(apply.Request{}) }, false},
		"apply --force": {func(b *bench) { b.apply(apply.Request{Force: true}) }, true},
		"recover":       {func(b *bench) { b.recover(); b.recover() }, false},
		"serve":         {func(b *bench) { b.recover(); b.catchUp(); b.catchUp() }, false}, // its automatic actions
		"rollback": {func(b *bench) {
			if n, err := b.engine.Previous(b.t.Context()); err == nil {
				b.apply(apply.Request{Restore: n})
			}
		}, false},
		"three applies": {func(b *bench) { // the third deletes a left-over revision
			for range 3 {
				b.apply(apply.Request{})
				b.change()
			}
		}, false},
	}
}

func (b *bench) catchUp() { _, _ = b.engine.CatchUp(b.t.Context()) }

// trace is the result of an edit: the content at a path.
type trace struct {
	path    string
	content []byte // nil: none
	link    string
}

// look reads the content at a path, and the link to it.
func look(path string) trace {
	content, err := os.ReadFile(path)
	if err != nil {
		content = nil
	}
	link, _ := os.Readlink(path)
	return trace{path, content, link}
}

func (a trace) same(b trace) bool {
	return bytes.Equal(a.content, b.content) && (a.content == nil) == (b.content == nil) && a.link == b.link
}

// way is a way to edit a file. It returns the paths at which it leaves content; a removal leaves nothing to keep.
type way struct {
	edit func(b *bench, file string, content []byte) (touched []string, err error)
}

// ways are the ways to edit a file.
func ways() map[string]way {
	portal := func(b *bench, elem ...string) string {
		return filepath.Join(append([]string{b.dir, "pjsip.d/synergycall/.portal"}, elem...)...)
	}
	generation := func(b *bench, link, file string) (string, error) {
		dir, err := filepath.EvalSymlinks(portal(b, link))
		return filepath.Join(dir, filepath.Base(file)), err
	}
	replace := func(path string, content []byte) error {
		return errors.Join(os.WriteFile(path+".tmp", content, 0o600), os.Rename(path+".tmp", path))
	}
	return map[string]way{
		"written through the link": {func(_ *bench, file string, content []byte) ([]string, error) {
			return []string{file}, os.WriteFile(file, content, 0o600)
		}},
		"appended through the link": {func(_ *bench, file string, content []byte) ([]string, error) {
			old, err := os.ReadFile(file)
			return []string{file}, errors.Join(err, os.WriteFile(file, append(append(old, content...), '\n'), 0o600))
		}},
		"moved over the link": {func(_ *bench, file string, content []byte) ([]string, error) {
			return []string{file}, replace(file, content)
		}},
		"removed and written": {func(_ *bench, file string, content []byte) ([]string, error) {
			return []string{file}, errors.Join(os.Remove(file), os.WriteFile(file, content, 0o600))
		}},
		"a link to another file": {func(b *bench, file string, content []byte) ([]string, error) {
			other := filepath.Join(b.dir, "elsewhere")
			return []string{file}, errors.Join(os.WriteFile(other, content, 0o600), os.Remove(file), os.Symlink(other, file))
		}},
		"a link to nothing": {func(b *bench, file string, _ []byte) ([]string, error) {
			return []string{file}, errors.Join(os.Remove(file), os.Symlink(filepath.Join(b.dir, "nowhere"), file))
		}},
		"removed": {func(_ *bench, file string, _ []byte) ([]string, error) { return []string{file}, os.Remove(file) }},
		"moved into the revision": {func(b *bench, file string, content []byte) ([]string, error) {
			path, err := generation(b, "current", file)
			if err == nil {
				err = replace(path, content)
			}
			return []string{file, path}, err
		}},
		"removed from the revision": {func(b *bench, file string, _ []byte) ([]string, error) {
			path, err := generation(b, "current", file)
			return []string{file}, errors.Join(err, os.Remove(path))
		}},
		"in the revision and over the link": {func(_ *bench, file string, content []byte) ([]string, error) {
			path, err := filepath.EvalSymlinks(file)
			if err == nil {
				err = errors.Join(os.WriteFile(path, append([]byte("; first\n"), content...), 0o600), replace(file, content))
			}
			return []string{path, file}, err
		}},
		"a file beside, in the revision": {func(b *bench, file string, content []byte) ([]string, error) {
			path, err := generation(b, "current", file)
			return []string{path + "~"}, errors.Join(err, os.WriteFile(path+"~", content, 0o600))
		}},
		"the revision that ran": {func(b *bench, file string, content []byte) ([]string, error) {
			path, err := generation(b, "good", file)
			return []string{path}, errors.Join(err, os.WriteFile(path, content, 0o600))
		}},
		"the newest revision": {func(b *bench, file string, content []byte) ([]string, error) {
			all, err := filepath.Glob(portal(b, "gen", "0*"))
			path := filepath.Join(all[len(all)-1], filepath.Base(file))
			return []string{path}, errors.Join(err, os.WriteFile(path, content, 0o600))
		}},
		"a file beside": {func(_ *bench, file string, content []byte) ([]string, error) {
			path := filepath.Join(filepath.Dir(file), "theirs.conf")
			return []string{path}, os.WriteFile(path, content, 0o600)
		}},
	}
}

// contents are the contents of edits; ours is the content in place.
func contents(ours []byte) map[string][]byte {
	changed := bytes.Replace(ours, []byte("allow=ulaw,alaw"), []byte("allow=opus"), 1)
	flipped := bytes.Clone(ours)
	if len(flipped) > 40 {
		flipped[40] ^= 1
	}
	return map[string][]byte{
		"a comment":       []byte("; by hand\n"),
		"a setting":       append(changed, "; changed\n"...),
		"one bit":         flipped,
		"half of it":      append([]byte("\n"), ours[:len(ours)/2]...),
		"nothing":         {},
		"no text":         {0, 1, 0xff, 0xfe, '\n'},
		"what is no file": []byte("[1000\ntype=endpoint"),
		"another file":    []byte("[1777]\ntype=endpoint\n"),
	}
}

// saved returns everything that the newest records have saved.
func (b *bench) saved(known map[pbx.RunID]bool) (all [][]byte) {
	page, err := b.engine.Logs(b.t.Context(), apply.LogQuery{Limit: 12})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range page.Logs {
		if known[l.ID] {
			continue
		}
		run, err := b.engine.RunDetails(b.t.Context(), l.ID)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, f := range run.Saved {
			all = append(all, f.Content)
		}
	}
	return all
}

// try makes one edit in one state, and then takes one action. It returns what is wrong with the result.
func (b *bench) try(state func(*bench, func()), edit func() []string, action func(*bench), force bool) (faults []string) {
	known := map[pbx.RunID]bool{}
	page, err := b.engine.Logs(b.t.Context(), apply.LogQuery{Limit: 12})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range page.Logs {
		known[l.ID] = true
	}
	var left []trace
	state(b, func() {
		for _, path := range edit() {
			left = append(left, look(path))
		}
	})
	action(b)
	if left == nil { // the moment of the edit never came
		return nil
	}
	for _, was := range left {
		is := look(was.path)
		saved := slices.ContainsFunc(b.saved(known), func(content []byte) bool {
			return bytes.Equal(content, was.content) || was.link != "" && string(content) == "this was a link to "+was.link+"\n"
		})
		shown := !strings.Contains(was.path, "/.portal/")
		switch {
		case was.same(is):
		case shown && !force:
			faults = append(faults, fmt.Sprintf("undone unasked: %s showed %.40q (-> %q), and now %.40q (-> %q)", was.path, was.content, was.link, is.content, is.link))
		case was.content != nil && !saved:
			faults = append(faults, fmt.Sprintf("lost: %.40q at %s", was.content, was.path))
		}
	}
	return faults
}

// The long form tries every edit in every state, each with one or two of the actions; the short form a part of that.
func TestNoHandEditIsLostOrUndoneWithoutForceAtLength(t *testing.T) {
	t.Parallel()
	type edit struct {
		name, way, file, content string
	}
	var edits []edit
	for _, way := range slices.Sorted(maps.Keys(ways())) {
		for _, file := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
			for _, content := range slices.Sorted(maps.Keys(contents(nil))) {
				edits = append(edits, edit{fmt.Sprintf("%s, %s, %s", way, filepath.Base(file), content), way, file, content})
			}
		}
	}
	if len(edits) < 200 {
		t.Errorf("only %d edits", len(edits))
	}
	every := labtest.Soak(307, 5) // of 6 actions: each edit in each state at least once
	if testing.Short() {
		every = 1009
	}
	const workers = 4
	counts := make(chan [2]int, workers)
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tried, at := [2]int{}, 0
			for _, e := range edits {
				for _, state := range slices.Sorted(maps.Keys(states())) {
					for _, action := range slices.Sorted(maps.Keys(actions())) {
						if at++; at%(every*workers) != worker*every%(every*workers) {
							continue
						}
						tried[0]++
						todo := actions()[action]
						faults := b.try(states()[state], func() []string {
							file := filepath.Join(b.dir, e.file)
							ours, err := os.ReadFile(file)
							if err != nil {
								t.Fatal(err)
							}
							touched, err := ways()[e.way].edit(b, file, contents(ours)[e.content])
							if err != nil {
								t.Fatalf("%s, while %s: %v", e.name, state, err)
							}
							return touched
						}, todo.do, todo.force)
						for _, fault := range faults {
							if tried[1]++; tried[1] <= 10 {
								t.Errorf("%s, while %s, then %s: %s", e.name, state, action, fault)
							}
						}
						b.settle()
					}
				}
			}
			counts <- tried
		})
	}
	t.Cleanup(func() {
		close(counts)
		tried, violations := 0, 0
		for c := range counts {
			tried, violations = tried+c[0], violations+c[1]
		}
		t.Logf("%d edits in %d states, each followed by %d actions: %d of %d tried, %d violations", len(edits), len(states()), len(actions()), tried, len(edits)*len(states())*len(actions()), violations)
	})
}
