package filetx_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/filetx"
)

// This file searches: it cuts the power, and kills the program, at every operation of every story below, in every way the disk
// allows, and again while the program recovers from that. In each state, before and after recovery, both fixed paths must show one
// generation, old or new.

// story is a program at work on a disk.
type story struct {
	place
	disk    *disk
	tree    *filetx.Tree
	allowed []string // what may be read at the fixed paths from now on, whatever happens
	min     []string // what a path that has never held anything gets; also says that one may appear before the other
}

const missing = "-"

// look is what somebody reads at both fixed paths.
func (p place) look(d *disk) string {
	var seen []string
	for _, l := range p.links {
		content, err := d.ReadFile(l.Path)
		if err != nil {
			content = []byte(err.Error())
			if _, linkErr := d.Lstat(l.Path); errors.Is(linkErr, fs.ErrNotExist) {
				content = []byte(missing)
			}
		}
		seen = append(seen, string(content))
	}
	return strings.Join(seen, "|")
}

// contentOf makes a generation's content out of a word; both looks like it.
func contentOf(word string) map[string][]byte {
	return pair(word+":first:"+strings.Repeat("x", 20), word+":second:"+strings.Repeat("y", 20))
}

func both(word string) string {
	return string(contentOf(word)["a.conf"]) + "|" + string(contentOf(word)["b.conf"])
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
	if _, _, err := s.tree.TryLock(); err != nil {
		return err
	}
	if _, err := s.tree.Recover(); err != nil {
		return err
	}
	// From now on the program tells others what is there: it must not change any more by itself.
	s.allowed = []string{s.look(s.disk)}
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
	s.allowed = mayAppear(s.look(s.disk))
	if err := s.tree.Adopt(filetx.Generation{Number: state.Next(), RunID: "adopt", Files: contentOf("min")}); err != nil {
		return err
	}
	s.allowed = []string{s.look(s.disk)}
	n, err := s.stage(word)
	if err != nil {
		return err
	}
	if err := s.flip(n, word); err != nil {
		return err
	}
	if err := s.tree.Accept(n); err != nil {
		return err
	}
	return s.tree.Prune(2)
}

func (s *story) stage(word string) (int, error) {
	state, err := s.tree.State()
	if err != nil {
		return 0, err
	}
	return state.Next(), s.tree.Stage(filetx.Generation{Number: state.Next(), RunID: word, Parent: state.Current, Files: contentOf(word)})
}

func (s *story) flip(n int, word string) error {
	s.allowed = append(slices.Clone(s.allowed), both(word))
	if err := s.tree.Flip(n); err != nil {
		return err
	}
	s.allowed = []string{both(word)}
	return nil
}

// begin prepares a disk: words are generations, one after the other.
func begin(t testing.TB, words ...string) *disk {
	t.Helper()
	d := newDisk()
	for _, dir := range []string{"/etc"} {
		must(t, d.Mkdir(dir))
	}
	s := tell(t, d, d)
	for _, w := range words {
		must(t, s.converge(w))
	}
	return settled(d)
}

// settled is the disk after a long calm.
func settled(d *disk) *disk {
	all := remains{make([]bool, len(d.log)), map[int]int{}}
	for i := range all.changes {
		all.changes[i] = true
	}
	return d.powerCut(all)
}

// tell begins a story on a disk, seen through fsys.
func tell(t testing.TB, d *disk, fsys filetx.FS) *story {
	t.Helper()
	p := placeIn("/etc")
	return &story{place: p, disk: d, tree: p.open(t, fsys), allowed: []string{p.look(d)}}
}

// put writes a file as somebody else would.
func put(t testing.TB, d *disk, name, content string) {
	t.Helper()
	var missing []string
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if _, err := d.Lstat(dir); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		must(t, d.Mkdir(dir))
	}
	if _, err := d.Lstat(name); err == nil {
		must(t, d.Remove(name))
	}
	f, err := d.Create(name)
	must(t, err)
	_, err = f.Write([]byte(content))
	must(t, err)
	must(t, f.Sync())
}

// tale is a story to search: how the disk is before, and what the program does.
type tale struct {
	name   string
	before func(t testing.TB) *disk
	script func(s *story) error
}

var tales = []tale{
	{"install on an empty host", func(t testing.TB) *disk { return begin(t) }, func(s *story) error { return s.converge("one") }},
	{"adoption of ordinary files", func(t testing.TB) *disk {
		d := begin(t)
		for _, l := range placeIn("/etc").links {
			put(t, d, l.Path, string(contentOf("hand")[l.Name]))
		}
		return settled(d)
	}, func(s *story) error { return s.converge("one") }},
	{"adoption where one file is missing", func(t testing.TB) *disk {
		d := begin(t)
		put(t, d, placeIn("/etc").links[1].Path, "half")
		return settled(d)
	}, func(s *story) error { return s.converge("one") }},
	{"apply", func(t testing.TB) *disk { return begin(t, "one", "two", "three") }, func(s *story) error { return s.converge("four") }},
	{"apply, flip back, recover, apply", func(t testing.TB) *disk { return begin(t, "one", "two") }, func(s *story) error {
		if err := s.recover(); err != nil {
			return err
		}
		n, err := s.stage("bad")
		if err != nil {
			return err
		}
		if err := s.flip(n, "bad"); err != nil {
			return err
		}
		if err := s.flip(n-1, "two"); err != nil {
			return err
		}
		return s.converge("three")
	}},
	{"recover from a damaged generation", func(t testing.TB) *disk {
		d := begin(t, "one")
		s := tell(t, d, d)
		n, err := s.stage("two")
		must(t, err)
		must(t, s.flip(n, "two"))
		put(t, d, s.dir+"/current/a.conf", "bits fell over")
		return settled(d)
	}, func(s *story) error {
		s.allowed = []string{s.look(s.disk), both("one")}
		return s.converge("three")
	}},
	{"take a path back", func(t testing.TB) *disk {
		d := begin(t, "one")
		put(t, d, placeIn("/etc").links[0].Path, "by hand")
		return settled(d)
	}, func(s *story) error {
		if err := s.recover(); err != nil {
			return err
		}
		s.allowed = append(s.allowed, both("one"))
		if err := s.tree.Reclaim(func(string, []byte) error { return nil }); err != nil {
			return err
		}
		return s.converge("two")
	}},
	{"detach, begin again", func(t testing.TB) *disk { return begin(t, "one", "two") }, func(s *story) error {
		if err := s.recover(); err != nil {
			return err
		}
		if err := s.tree.Detach(); err != nil {
			return err
		}
		return s.converge("three")
	}},
}

// search counts what it has seen.
type search struct {
	t      testing.TB
	random *rand.Rand
	broad  int                    // how many ways of a power cut it tries at one point of a story
	narrow int                    // and at one point of a recovery
	every  int                    // of the power cuts in a story, each how manieth is followed by power cuts during recovery
	mutant func(o operation) bool // an operation that is left out

	points, states, nested int
	violations             []string
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
	d := t.before(s.t)
	var st *story
	look := func(at string) {
		s.points++
		i := 0
		d.powerCuts(s.broad, s.random, func(image *disk) {
			s.check(image, st.allowed, t.name+": power cut before "+at, s.every > 0 && i%s.every == s.every-1)
			i++
		})
		s.check(d.clone(), st.allowed, t.name+": killed before "+at, s.every > 0)
	}
	st = tell(s.t, d, s.hook(d, look))
	if err := t.script(st); err != nil {
		s.fault("%s: %v", t.name, err)
		return
	}
	look("the end")
}

// check judges a state after a crash, lets the program recover from it, and judges again.
func (s *search) check(image *disk, allowed []string, at string, deeper bool) {
	s.states++
	if !deeper {
		s.nested++
	}
	var st *story
	look := func(string) {}
	if deeper {
		look = func(then string) {
			image.powerCuts(s.narrow, s.random, func(again *disk) {
				s.check(again, st.allowed, at+", then before "+then, false)
			})
			s.check(image.clone(), st.allowed, at+", then killed before "+then, false)
		}
	}
	st = tell(s.t, image, s.hook(image, look))
	st.allowed = allowed
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
	if left := leftovers(st.place, image); left != "" {
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
	if state.Current > 0 && state.Drifted() && !slices.ContainsFunc(state.Paths, func(p filetx.PathState) bool { return p.Kind == filetx.Missing }) {
		s.allowed = append(s.allowed, both("one"))
		if err := s.tree.Reclaim(func(string, []byte) error { return nil }); err != nil {
			return err
		}
	}
	return s.converge("next")
}

var orderly = regexp.MustCompile(`^(lock|current|good|gen|failed)$`)

// leftovers names what lies in the tree or beside the fixed paths and should not; evidence may, once.
func leftovers(p place, d *disk) string {
	for _, l := range p.links {
		names, _ := d.ReadDir(filepath.Dir(l.Path))
		for _, n := range names {
			if n != filepath.Base(l.Path) && n != filepath.Base(p.dir) {
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
	if failed, _ := d.ReadDir(p.dir + "/failed"); len(failed) > 1 {
		return fmt.Sprintf("evidence %v", failed)
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
		if _, err := tree.Read(n); err != nil || n > state.Current && n != state.Good {
			return fmt.Sprintf("generation %d, error %v", n, err)
		}
	}
	return ""
}

func TestNoPowerCutAndNoKillShowsAMixedPairOrLosesAGeneration(t *testing.T) {
	t.Parallel()
	states := 0
	for i, tale := range tales {
		s := &search{t: t, random: rand.New(rand.NewPCG(1, uint64(i))), broad: 24, narrow: 3, every: 16}
		s.run(tale)
		t.Logf("%-40s %4d points, %6d states, %6d of them during recovery, %d violations", tale.name, s.points, s.states, s.nested, len(s.violations))
		for _, v := range s.violations[:min(5, len(s.violations))] {
			t.Error(v)
		}
		states += s.states
	}
	t.Logf("%d crash states", states)
	if states < 50_000 {
		t.Error("too few")
	}
}
