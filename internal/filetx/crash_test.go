package filetx_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/filetx"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// This file cuts the power, and kills the program, at every operation of every session below, with every possible state of the disk, and again
// during the recovery. In each state, before and after recovery, both fixed paths must show one generation, old or new.

// session is a program that uses a tree.
type session struct {
	place
	t        testing.TB // of what comes before the session; nil in a child
	raw      filetx.FS  // the disk as other processes see it
	tree     *filetx.Tree
	allowed  []string // what may be read at the fixed paths from now on
	accepted int      // the generation that has to be good from now on; 0: any
	doubted  int      // the generation that has to be doubted from now on; 0: any
	drift    bool     // a path may have to be replaced after an external change
	rotten   int      // the generation that was damaged before the session, and stays so; 0: none
}

const missing = "-"

// look returns what a reader finds at the fixed paths. An optional path that leads nowhere is as good as a missing one.
func (p place) look(d filetx.FS) string {
	var seen []string
	for _, l := range p.links {
		read := os.ReadFile // as Asterisk does, through all links
		if simulated, ok := d.(*disk); ok {
			read = func(name string) ([]byte, error) { return simulated.read(name, true) }
		}
		content, err := read(l.Path)
		if err != nil {
			content = []byte(err.Error())
			if _, linkErr := d.Lstat(l.Path); errors.Is(linkErr, fs.ErrNotExist) || l.Optional && errors.Is(err, fs.ErrNotExist) {
				content = []byte(missing)
			}
		}
		seen = append(seen, string(content))
	}
	return strings.Join(seen, "|")
}

// contentOf returns the content of a generation for a word; one that ends in + has the optional file. both is what a reader then finds.
func contentOf(word string) map[string][]byte {
	files := pair(word+":first:"+strings.Repeat("x", 20), word+":second:"+strings.Repeat("y", 20))
	if strings.HasSuffix(word, "+") {
		files["c.conf"] = []byte(word + ":third:" + strings.Repeat("z", 20))
	}
	return files
}

func both(word string) string {
	files, third := contentOf(word), missing
	if content, ok := files["c.conf"]; ok {
		third = string(content)
	}
	return string(files["a.conf"]) + "|" + string(files["b.conf"]) + "|" + third
}

// mayAppear lists what can be read while the paths that never held anything get their first content.
func mayAppear(seen string) []string {
	parts, first := strings.Split(seen, "|"), strings.Split(both("min"), "|")
	all := []string{""}
	for i, p := range parts {
		var more []string
		for _, s := range all {
			more = append(more, strings.TrimPrefix(s+"|"+p, "|"))
			if p == missing {
				more = append(more, strings.TrimPrefix(s+"|"+first[i], "|"))
			}
		}
		all = more
	}
	return all
}

func (s *session) recover() error {
	unlock, busy, err := s.tree.TryLock()
	if err != nil {
		return err
	}
	if busy {
		return errors.New("somebody else has the lock")
	}
	defer unlock()
	if _, err := s.tree.Recover(); err != nil {
		return err
	}
	// From now on the files must not change without an action.
	s.allowed = []string{s.look(s.raw)}
	return nil
}

// converge does what each apply does: it activates a new generation, from any state.
func (s *session) converge(word string) error {
	if err := s.recover(); err != nil {
		return err
	}
	state, err := s.tree.State()
	if err != nil {
		return err
	}
	s.allowed = mayAppear(s.look(s.raw))
	if err := s.tree.Adopt(filetx.Generation{Number: state.Next(), RunID: "adopt", Files: contentOf("min")}); err != nil {
		return err
	}
	s.allowed = []string{s.look(s.raw)}
	n, err := s.stage(word)
	if err != nil {
		return err
	}
	if err := s.flip(n, word); err != nil {
		return err
	}
	s.accepted, s.doubted = 0, 0
	if err := s.tree.MarkVerified(n); err != nil {
		return err
	}
	s.accepted = n
	return s.tree.Prune(2, func(path string, content []byte) error {
		if strings.HasPrefix(path, fmt.Sprintf("%s/gen/%06d/", s.dir, s.rotten)) {
			return nil
		}
		return refuseEdits(path, content)
	})
}

func (s *session) stage(word string) (int, error) {
	state, err := s.tree.State()
	if err != nil {
		return 0, err
	}
	return state.Next(), s.tree.Stage(filetx.Generation{Number: state.Next(), RunID: word, Parent: state.Current, Files: contentOf(word)})
}

func (s *session) flip(n int, word string) error {
	old := s.allowed
	s.allowed = append(slices.Clone(old), both(word))
	seen, err := inPlace(s.tree)
	if err != nil {
		s.allowed = old
		return err
	}
	if err := s.tree.Activate(n, seen); err != nil {
		if !errors.Is(err, filetx.ErrInDoubt) {
			s.allowed = old
		}
		return err
	}
	s.allowed = []string{both(word)}
	return nil
}

// inPlace returns the files at the fixed paths, before a switch.
func inPlace(tree *filetx.Tree) (map[string][]byte, error) {
	state, err := tree.State()
	seen := map[string][]byte{}
	for _, p := range state.Paths {
		if p.Content != nil {
			seen[p.Name] = p.Content
		}
	}
	return seen, err
}

// refuseEdits is the save function of scenarios without edits: it fails the test.
func refuseEdits(path string, _ []byte) error { return errors.New("no edit was made: " + path) }

// settled returns the disk with everything synced.
func settled(d *disk) *disk {
	all := remains{make([]bool, len(d.log)), map[int]int{}}
	for i := range all.changes {
		all.changes[i] = true
	}
	return d.powerCut(all)
}

// newSession returns a session in a place whose disk the program accesses through fsys.
func newSession(t testing.TB, p place, raw, fsys filetx.FS) *session {
	t.Helper()
	return &session{place: p, t: t, raw: raw, tree: p.open(t, fsys), allowed: []string{p.look(raw)}}
}

// bring activates generations, one after another.
func (s *session) bring(words ...string) {
	s.t.Helper()
	for _, w := range words {
		must(s.t, s.converge(w))
	}
}

// put writes a file like an external process.
func (s *session) put(name, content string) {
	s.t.Helper()
	var missing []string
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if _, err := s.raw.Lstat(dir); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		must(s.t, s.raw.Mkdir(dir))
	}
	if _, err := s.raw.Lstat(name); err == nil {
		must(s.t, s.raw.Remove(name))
	}
	f, err := s.raw.Create(name)
	must(s.t, err)
	_, err = f.Write([]byte(content))
	must(s.t, err)
	must(s.t, s.raw.Sync(f))
	must(s.t, f.Close())
}

// scenario is a session to search: the initial disk, and the actions of the program.
type scenario struct {
	name   string
	before func(s *session)
	script func(s *session) error
	rotten int  // the generation that is damaged before the scenario begins
	drift  bool // a path was changed externally before the scenario begins
	alike  bool // it has the same code paths as another scenario: only the long form of a search includes it
}

// prepare returns the initial disk of a scenario.
func (ta scenario) prepare(t testing.TB) *disk {
	t.Helper()
	d := newDisk()
	must(t, d.Mkdir("/etc"))
	ta.before(newSession(t, placeIn("/etc"), d, d))
	return settled(d)
}

func one(s *session) error { return s.converge("one") }

var scenarios = []scenario{
	{"install on an empty host", func(*session) {}, one, 0, false, false},
	{"adoption of ordinary files", func(s *session) {
		for name, content := range contentOf("hand") {
			s.put(s.pathOf(name), string(content))
		}
	}, one, 0, false, false},
	{"adoption of ordinary files, the optional one among them", func(s *session) {
		for name, content := range contentOf("hand+") {
			s.put(s.pathOf(name), string(content))
		}
	}, one, 0, false, true},
	{"adoption where one file is missing", func(s *session) { s.put(s.links[1].Path, "half") }, one, 0, false, false},
	{"apply", func(s *session) { s.bring("one", "two", "three") }, func(s *session) error { return s.converge("four") }, 0, false, false},
	{"apply, flip back, recover, apply", func(s *session) { s.bring("one", "two") }, func(s *session) error {
		return s.backAndForth("bad", "two", "three")
	}, 0, false, false},
	{"apply over a damaged generation", func(s *session) {
		s.bring("one")
		n, err := s.stage("two")
		must(s.t, err)
		must(s.t, s.flip(n, "two"))
		s.put(s.dir+"/current/a.conf", "bits fell over")
	}, func(s *session) error {
		return s.converge("three")
	}, 3, false, false},
	{"apply over what an interrupted one left", func(s *session) {
		s.bring("one")
		for _, word := range []string{"bad", "worse"} { // the first is evidence by then
			must(s.t, s.recover())
			_, err := s.stage(word)
			must(s.t, err)
		}
	}, one, 0, false, false},
	{"take a path back", func(s *session) {
		s.bring("one")
		s.put(s.links[0].Path, "by hand")
	}, func(s *session) error {
		if err := s.recover(); err != nil {
			return err
		}
		s.allowed = append(s.allowed, both("one"))
		if _, err := s.tree.Overwrite(func(string, []byte) error { return nil }); err != nil {
			return err
		}
		s.allowed = []string{both("one")}
		n, err := s.stage("two")
		if err != nil {
			return err
		}
		return s.flip(n, "two")
	}, 0, true, false},
	{"detach, begin again", func(s *session) { s.bring("one", "two") }, detachAndBegin, 0, false, false},
	{"an optional file appears", func(s *session) { s.bring("one", "two") }, func(s *session) error { return s.converge("three+") }, 0, false, false},
	{"an optional file changes", func(s *session) { s.bring("one+") }, func(s *session) error { return s.converge("two+") }, 0, false, true},
	{"an optional file disappears", func(s *session) { s.bring("one+") }, func(s *session) error { return s.converge("two") }, 0, false, true},
	{"an optional file comes back", func(s *session) { s.bring("one+", "two") }, func(s *session) error { return s.converge("three+") }, 0, false, true},
	{"an optional file appears, flip back, apply", func(s *session) { s.bring("one", "two") }, func(s *session) error {
		return s.backAndForth("bad+", "two", "three+")
	}, 0, false, false},
	{"an optional file disappears, flip back, apply", func(s *session) { s.bring("one+") }, func(s *session) error {
		return s.backAndForth("bad", "one+", "three")
	}, 0, false, false},
	{"take back the path of an optional file that the generation lacks", func(s *session) {
		s.bring("one")
		s.put(s.links[2].Path, "by hand")
	}, func(s *session) error {
		if err := s.recover(); err != nil {
			return err
		}
		s.allowed = append(s.allowed, both("one"))
		if _, err := s.tree.Overwrite(func(string, []byte) error { return nil }); err != nil {
			return err
		}
		s.allowed = []string{both("one")}
		return s.converge("two+")
	}, 0, true, false},
	{"detach with an optional file, begin again", func(s *session) { s.bring("one+", "two+") }, detachAndBegin, 0, false, true},
	{"detach with a link that leads nowhere, begin again", func(s *session) { s.bring("one+", "two") }, detachAndBegin, 0, false, false},
}

// included reports whether a search includes the scenario: the short form leaves out similar ones.
func (ta scenario) included() bool { return !ta.alike || labtest.Soak(false, true) }

// numberOf returns the index of a scenario.
func numberOf(name string) int {
	return slices.IndexFunc(scenarios, func(ta scenario) bool { return ta.name == name })
}

// detachAndBegin ends the tree and begins another.
func detachAndBegin(s *session) error {
	if err := s.recover(); err != nil {
		return err
	}
	s.accepted = 0
	if err := s.tree.Detach(); err != nil {
		return err
	}
	return s.converge("three")
}

// backAndForth flips to a generation, back to the good one, and then applies.
func (s *session) backAndForth(bad, good, then string) error {
	if err := s.recover(); err != nil {
		return err
	}
	n, err := s.stage(bad)
	if err != nil {
		return err
	}
	if err := s.flip(n, bad); err != nil {
		return err
	}
	if err := s.tree.Doubt(n - 1); err != nil {
		return err
	}
	s.doubted = n - 1
	if err := s.flip(n-1, good); err != nil {
		return err
	}
	return s.converge(then)
}

// search counts what it has seen.
type search struct {
	t      testing.TB
	random *rand.Rand
	broad  int                    // how many ways of a power cut it tries at one point of a session
	narrow int                    // and at one point of a recovery
	every  int                    // of the power cuts in a session, one in every is followed by power cuts during recovery; 0: none
	kills  int                    // the same for the kills
	brief  bool                   // stop at the first violation
	mutant func(o operation) bool // an operation that is left out

	points, states, nested, distinct int
	judged                           map[string]bool // disks after a power cut, with what was allowed: each is examined once
	violations                       []string
}

func (s *search) fault(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// hook has everything that changes the disk preceded by look.
func (s *search) hook(d *disk, look func(at string)) filetx.FS {
	return hooked{d, func(o operation, do func() error) error {
		if o.changes() {
			look(o.name + " " + o.path)
		}
		if s.mutant != nil && s.mutant(o) {
			return nil
		}
		return do()
	}}
}

// run runs the scenario and searches around each of its operations.
func (s *search) run(t scenario) {
	s.t.Helper()
	d, p := t.prepare(s.t), placeIn("/etc")
	s.judged = map[string]bool{}
	var st *session
	look := func(at string) {
		s.points++
		i := 0
		d.powerCuts(s.broad, s.random, func(image *disk) {
			i++
			s.check(image, st, t.name+": power cut before "+at, s.every > 0 && i%s.every == 0)
		})
		s.check(d.clone(), st, t.name+": killed before "+at, s.kills > 0 && s.points%s.kills == 0)
	}
	st = newSession(s.t, p, d, s.hook(d, look))
	st.drift, st.rotten = t.drift, t.rotten
	if err := t.script(st); err != nil {
		s.fault("%s: %v", t.name, err)
		return
	}
	look("the end")
}

// check judges a state after a crash of a session, lets the program recover from it, and judges again.
func (s *search) check(image *disk, before *session, at string, deeper bool) {
	s.states++
	if s.brief && len(s.violations) > 0 {
		return
	}
	allowed := before.allowed
	if len(image.log) == 0 {
		key := fmt.Sprint(deeper, before.accepted, before.doubted, allowed, image.fingerprint())
		if s.judged[key] {
			return
		}
		s.judged[key] = true
	}
	s.distinct++
	var st *session
	look := func(string) {}
	if deeper {
		look = func(then string) {
			image.powerCuts(s.narrow, s.random, func(again *disk) {
				s.nested++
				s.check(again, st, at+", then before "+then, false)
			})
			s.nested++
			s.check(image.clone(), st, at+", then killed before "+then, false)
		}
	}
	st = newSession(s.t, before.place, image, s.hook(image, look))
	st.allowed, st.accepted, st.doubted, st.drift, st.rotten = allowed, before.accepted, before.doubted, before.drift, before.rotten
	seen := st.look(image)
	if !slices.Contains(allowed, seen) {
		s.fault("%s: %q is read; allowed is %q", at, seen, allowed)
		return
	}
	if err := st.recover(); err != nil {
		s.fault("%s: %v", at, err)
		return
	}
	if after := st.look(image); !slices.Contains(allowed, after) {
		s.fault("%s: after recovery %q is read; allowed is %q", at, after, allowed)
		return
	}
	if state, err := st.tree.State(); err != nil || before.accepted > 0 && state.Good != before.accepted ||
		before.doubted > 0 && state.Doubted != before.doubted {
		s.fault("%s: generation %d was accepted and %d doubted, but %d is good and %d doubted, error %v", at, before.accepted, before.doubted, state.Good, state.Doubted, err)
		return
	}
	if left := leftovers(st.place, image, st.rotten); left != "" {
		s.fault("%s: recovery leaves %s", at, left)
		return
	}
	if err := st.rest(); err != nil {
		s.fault("%s: then: %v", at, err)
		return
	}
	if got := st.look(image.powerCut(remains{make([]bool, len(image.log)), map[int]int{}})); got != both("next") {
		s.fault("%s: the next apply was acknowledged, and after another power cut %q is read", at, got)
	}
}

// rest is the next apply, after external changes of the session that block it were removed.
func (s *session) rest() error {
	state, err := s.tree.State()
	if err != nil {
		return err
	}
	if s.drift && drifted(state) {
		s.allowed = append(s.allowed, both("one"))
		if _, err := s.tree.Overwrite(func(string, []byte) error { return nil }); err != nil {
			return err
		}
	}
	return s.converge("next")
}

var orderly = regexp.MustCompile(`^(lock|current|good|doubted|gen|failed)$`)

// leftovers returns files in the tree or beside the fixed paths that should not be there; evidence can be, once. An old generation that is damaged from
// the beginning of the scenario is ignored: it is never read.
func leftovers(p place, d filetx.FS, rotten int) string {
	for _, l := range p.links {
		names, _ := d.ReadDir(filepath.Dir(l.Path))
		for _, n := range names {
			ours := func(l filetx.Link) bool { return n == filepath.Base(l.Path) }
			if !slices.ContainsFunc(p.links, ours) && n != filepath.Base(p.dir) {
				return n
			}
		}
	}
	names, _ := d.ReadDir(p.dir)
	for _, n := range names {
		if !orderly.MatchString(n) {
			return n
		}
	}
	if evidence, _ := d.ReadDir(p.dir + "/failed"); len(evidence) > len(p.links)+1 {
		return fmt.Sprintf("as evidence %v", evidence)
	}
	tree, err := filetx.Open(p.dir, p.links, d)
	if err != nil {
		return err.Error()
	}
	state, err := tree.State()
	if err != nil {
		return err.Error()
	}
	if names, _ := d.ReadDir(p.dir + "/gen"); len(names) != len(state.Generations) {
		return fmt.Sprintf("in gen/ %v", names)
	}
	for _, n := range state.Generations {
		if _, err := tree.Read(n); err != nil && n != rotten || n > state.Current && n != state.Good {
			return fmt.Sprintf("generation %d, error %v", n, err)
		}
	}
	return ""
}

func TestRow08NoPowerCutAndNoKillShowsAMixedSetOrLosesAGenerationAtLength(t *testing.T) {
	t.Parallel()
	broad, narrow, every, kills, floor := labtest.Soak(16, 64), labtest.Soak(2, 4), labtest.Soak(160, 8), labtest.Soak(6, 1), labtest.Soak(20_000, 300_000)
	if testing.Short() {
		broad, narrow, every, kills, floor = 16, 2, 0, 12, 5_000
	}
	states, distinct := 0, 0
	for i, scenario := range scenarios {
		if !scenario.included() {
			continue
		}
		s := &search{t: t, random: rand.New(rand.NewPCG(1, uint64(i))), broad: broad, narrow: narrow, every: every, kills: kills}
		s.run(scenario)
		t.Logf("%-35s %3d points, %5d states, %5d of them during recovery, %5d distinct, %d violations",
			scenario.name, s.points, s.states, s.nested, s.distinct, len(s.violations))
		for _, v := range s.violations[:min(5, len(s.violations))] {
			t.Error(v)
		}
		states += s.states
		distinct += s.distinct
	}
	t.Logf("%d crash states, %d of them distinct", states, distinct)
	if states < floor {
		t.Errorf("fewer than %d states: the search looks at less than it did", floor)
	}
}
