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

// This file searches: it cuts the power, and kills the program, at every operation of every story below, in every way the disk
// allows, and again while the program recovers from that. In each state, before and after recovery, both fixed paths must show one
// generation, old or new.

// story is a program at work.
type story struct {
	place
	t        testing.TB // of what comes before the story; nil in a child
	raw      filetx.FS  // the disk as everybody else sees it
	tree     *filetx.Tree
	allowed  []string // what may be read at the fixed paths from now on, whatever happens
	accepted int      // the generation that has to be good from now on; 0: any
	doubted  int      // the generation that has to be doubted from now on; 0: any
	drift    bool     // a path may have to be taken back from somebody else
	rotten   int      // the generation that was damaged before the story, and stays so; 0: none
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

// contentOf makes a generation's content out of a word; one that ends in + has the optional file. both is what a reader finds then.
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

func (s *story) recover() error {
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
	// From now on the program tells others what is there: it must not change any more by itself.
	s.allowed = []string{s.look(s.raw)}
	return nil
}

// converge is what each apply does: it comes from wherever it is to a new generation.
func (s *story) converge(word string) error {
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
		return nobody(path, content)
	})
}

func (s *story) stage(word string) (int, error) {
	state, err := s.tree.State()
	if err != nil {
		return 0, err
	}
	return state.Next(), s.tree.Stage(filetx.Generation{Number: state.Next(), RunID: word, Parent: state.Current, Files: contentOf(word)})
}

func (s *story) flip(n int, word string) error {
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

// inPlace is what somebody reads at the fixed paths, who then flips.
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

// nobody is who saves edits where there must be none.
func nobody(path string, _ []byte) error { return errors.New("nobody edited " + path) }

// settled is the disk after a long calm.
func settled(d *disk) *disk {
	all := remains{make([]bool, len(d.log)), map[int]int{}}
	for i := range all.changes {
		all.changes[i] = true
	}
	return d.powerCut(all)
}

// tell begins a story in a place whose disk the program sees through fsys.
func tell(t testing.TB, p place, raw, fsys filetx.FS) *story {
	t.Helper()
	return &story{place: p, t: t, raw: raw, tree: p.open(t, fsys), allowed: []string{p.look(raw)}}
}

// bring takes the tree through generations, one after the other.
func (s *story) bring(words ...string) {
	s.t.Helper()
	for _, w := range words {
		must(s.t, s.converge(w))
	}
}

// put writes a file as somebody else would.
func (s *story) put(name, content string) {
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
	must(s.t, f.Sync())
	must(s.t, f.Close())
}

// tale is a story to search: how the disk is before, and what the program does.
type tale struct {
	name   string
	before func(s *story)
	script func(s *story) error
	rotten int  // the generation that is damaged before the tale begins
	drift  bool // somebody else changed a path before the tale begins
	alike  bool // it takes the ways of another tale through the code: the long form of a search alone has it
}

// prepare returns the disk a tale begins with.
func (ta tale) prepare(t testing.TB) *disk {
	t.Helper()
	d := newDisk()
	must(t, d.Mkdir("/etc"))
	ta.before(tell(t, placeIn("/etc"), d, d))
	return settled(d)
}

func one(s *story) error { return s.converge("one") }

var tales = []tale{
	{"install on an empty host", func(*story) {}, one, 0, false, false},
	{"adoption of ordinary files", func(s *story) {
		for name, content := range contentOf("hand") {
			s.put(s.pathOf(name), string(content))
		}
	}, one, 0, false, false},
	{"adoption of ordinary files, the optional one among them", func(s *story) {
		for name, content := range contentOf("hand+") {
			s.put(s.pathOf(name), string(content))
		}
	}, one, 0, false, true},
	{"adoption where one file is missing", func(s *story) { s.put(s.links[1].Path, "half") }, one, 0, false, false},
	{"apply", func(s *story) { s.bring("one", "two", "three") }, func(s *story) error { return s.converge("four") }, 0, false, false},
	{"apply, flip back, recover, apply", func(s *story) { s.bring("one", "two") }, func(s *story) error {
		return s.backAndForth("bad", "two", "three")
	}, 0, false, false},
	{"apply over a damaged generation", func(s *story) {
		s.bring("one")
		n, err := s.stage("two")
		must(s.t, err)
		must(s.t, s.flip(n, "two"))
		s.put(s.dir+"/current/a.conf", "bits fell over")
	}, func(s *story) error {
		return s.converge("three")
	}, 3, false, false},
	{"apply over what an interrupted one left", func(s *story) {
		s.bring("one")
		for _, word := range []string{"bad", "worse"} { // the first is evidence by then
			must(s.t, s.recover())
			_, err := s.stage(word)
			must(s.t, err)
		}
	}, one, 0, false, false},
	{"take a path back", func(s *story) {
		s.bring("one")
		s.put(s.links[0].Path, "by hand")
	}, func(s *story) error {
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
	{"detach, begin again", func(s *story) { s.bring("one", "two") }, detachAndBegin, 0, false, false},
	{"an optional file appears", func(s *story) { s.bring("one", "two") }, func(s *story) error { return s.converge("three+") }, 0, false, false},
	{"an optional file changes", func(s *story) { s.bring("one+") }, func(s *story) error { return s.converge("two+") }, 0, false, true},
	{"an optional file disappears", func(s *story) { s.bring("one+") }, func(s *story) error { return s.converge("two") }, 0, false, true},
	{"an optional file comes back", func(s *story) { s.bring("one+", "two") }, func(s *story) error { return s.converge("three+") }, 0, false, true},
	{"an optional file appears, flip back, apply", func(s *story) { s.bring("one", "two") }, func(s *story) error {
		return s.backAndForth("bad+", "two", "three+")
	}, 0, false, false},
	{"an optional file disappears, flip back, apply", func(s *story) { s.bring("one+") }, func(s *story) error {
		return s.backAndForth("bad", "one+", "three")
	}, 0, false, false},
	{"take back the path of an optional file that the generation lacks", func(s *story) {
		s.bring("one")
		s.put(s.links[2].Path, "by hand")
	}, func(s *story) error {
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
	{"detach with an optional file, begin again", func(s *story) { s.bring("one+", "two+") }, detachAndBegin, 0, false, true},
	{"detach with a link that leads nowhere, begin again", func(s *story) { s.bring("one+", "two") }, detachAndBegin, 0, false, false},
}

// told reports whether a search tells the tale: its short form leaves out those that are alike.
func (ta tale) told() bool { return !ta.alike || labtest.Soak(false, true) }

// numberOf returns the place of a tale among all.
func numberOf(name string) int {
	return slices.IndexFunc(tales, func(ta tale) bool { return ta.name == name })
}

// detachAndBegin ends the tree and begins another.
func detachAndBegin(s *story) error {
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
func (s *story) backAndForth(bad, good, then string) error {
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
	broad  int                    // how many ways of a power cut it tries at one point of a story
	narrow int                    // and at one point of a recovery
	every  int                    // of the power cuts in a story, each how manieth is followed by power cuts during recovery; 0: none
	kills  int                    // the same for the kills
	brief  bool                   // stop at the first violation
	mutant func(o operation) bool // an operation that is left out

	points, states, nested, distinct int
	judged                           map[string]bool // disks after a power cut, with what was allowed; their stories end alike
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

// run tells the tale and searches around each of its operations.
func (s *search) run(t tale) {
	s.t.Helper()
	d, p := t.prepare(s.t), placeIn("/etc")
	s.judged = map[string]bool{}
	var st *story
	look := func(at string) {
		s.points++
		i := 0
		d.powerCuts(s.broad, s.random, func(image *disk) {
			i++
			s.check(image, st, t.name+": power cut before "+at, s.every > 0 && i%s.every == 0)
		})
		s.check(d.clone(), st, t.name+": killed before "+at, s.kills > 0 && s.points%s.kills == 0)
	}
	st = tell(s.t, p, d, s.hook(d, look))
	st.drift, st.rotten = t.drift, t.rotten
	if err := t.script(st); err != nil {
		s.fault("%s: %v", t.name, err)
		return
	}
	look("the end")
}

// check judges a state after a crash of a story, lets the program recover from it, and judges again.
func (s *search) check(image *disk, before *story, at string, deeper bool) {
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
	var st *story
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
	st = tell(s.t, before.place, image, s.hook(image, look))
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

// rest is the next apply; what is in the way because of the story comes away first.
func (s *story) rest() error {
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

// leftovers names what lies in the tree or beside the fixed paths and should not; evidence may, once. An old generation that is rotten from
// the beginning of the tale on is not looked at: nobody reads it.
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
	broad, narrow, every, kills, floor := labtest.Soak(24, 64), labtest.Soak(2, 4), labtest.Soak(80, 8), labtest.Soak(3, 1), labtest.Soak(25_000, 300_000)
	if testing.Short() {
		broad, narrow, every, kills, floor = 16, 2, 0, 12, 5_000
	}
	states, distinct := 0, 0
	for i, tale := range tales {
		if !tale.told() {
			continue
		}
		s := &search{t: t, random: rand.New(rand.NewPCG(1, uint64(i))), broad: broad, narrow: narrow, every: every, kills: kills}
		s.run(tale)
		t.Logf("%-35s %3d points, %5d states, %5d of them during recovery, %5d distinct, %d violations",
			tale.name, s.points, s.states, s.nested, s.distinct, len(s.violations))
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
