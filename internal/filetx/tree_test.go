package filetx_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/filetx"
)

// place is a configuration folder with a tree in one of its two generated folders.
type place struct {
	root  string
	dir   string
	links []filetx.Link
}

func placeIn(root string) place {
	one, two := filepath.Join(root, "one.d", "ours"), filepath.Join(root, "two.d", "ours")
	return place{root, filepath.Join(one, ".tree"), []filetx.Link{
		{Path: filepath.Join(one, "a.conf"), Name: "a.conf"},
		{Path: filepath.Join(two, "b.conf"), Name: "b.conf"},
		{Path: filepath.Join(two, "c.conf"), Name: "c.conf", Optional: true},
	}}
}

func (p place) open(t testing.TB, fsys filetx.FS) *filetx.Tree {
	t.Helper()
	tree, err := filetx.Open(p.dir, p.links, fsys)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// pathOf returns the fixed path at which the file of that name is read.
func (p place) pathOf(name string) string {
	return p.links[slices.IndexFunc(p.links, func(l filetx.Link) bool { return l.Name == name })].Path
}

func pair(a, b string) map[string][]byte {
	return map[string][]byte{"a.conf": []byte(a), "b.conf": []byte(b)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheFixedPathsReadTheActivatedGeneration(t *testing.T) {
	t.Parallel()
	s := newSession(t, placeIn(t.TempDir()), filetx.OS(), filetx.OS())
	for _, word := range []string{"first", "second", "third", "fourth"} {
		s.bring(word)
		if seen := s.look(s.raw); seen != both(word) {
			t.Fatalf("%q is read", seen)
		}
	}
	state, err := s.tree.State()
	must(t, err)
	content := contentOf("fourth")
	want := filetx.State{Current: 5, Good: 5, Generations: []int{4, 5}, RunID: "fourth", Paths: []filetx.PathState{
		{Link: s.links[0], Kind: filetx.Linked, Intact: true, Content: content[s.links[0].Name]},
		{Link: s.links[1], Kind: filetx.Linked, Intact: true, Content: content[s.links[1].Name]},
		{Link: s.links[2], Kind: filetx.Missing, Intact: true},
	}}
	if diff := cmp.Diff(want, state); diff != "" || drifted(state) {
		t.Error(diff)
	}
	g, err := s.tree.Read(4)
	must(t, err)
	if diff := cmp.Diff(filetx.Generation{Number: 4, RunID: "third", Parent: 3, Files: contentOf("third")}, g); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{".tree/current/a.conf", "../../one.d/ours/.tree/current/b.conf"} {
		if link, err := os.Readlink(s.links[i].Path); err != nil || link != want {
			t.Errorf("the link says %q, want %q, error %v", link, want, err)
		}
	}
}

func TestTheLockHasOneHolder(t *testing.T) {
	t.Parallel()
	p := placeIn(t.TempDir())
	for range 2 {
		unlock, busy, err := p.open(t, filetx.OS()).TryLock()
		if err != nil || busy {
			t.Fatal(busy, err)
		}
		if _, busy, err := p.open(t, filetx.OS()).TryLock(); err != nil || !busy {
			t.Error(busy, err)
		}
		unlock()
	}
}

func TestOpenRefusesInvalidPathsAndNames(t *testing.T) {
	t.Parallel()
	for name, links := range map[string][]filetx.Link{
		"no links":            nil,
		"a relative path":     {{Path: "a.conf", Name: "a"}},
		"a path with dots":    {{Path: "/x/../a.conf", Name: "a"}},
		"a name with a slash": {{Path: "/a.conf", Name: "x/a"}},
		"a hidden name":       {{Path: "/a.conf", Name: ".a"}},
		"the manifest":        {{Path: "/a.conf", Name: "manifest.json"}},
		"a path twice":        {{Path: "/a.conf", Name: "a"}, {Path: "/a.conf", Name: "b"}},
		"a name twice":        {{Path: "/a.conf", Name: "a"}, {Path: "/b.conf", Name: "a"}},
	} {
		if _, err := filetx.Open("/tree", links, filetx.OS()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := filetx.Open("tree", []filetx.Link{{Path: "/a.conf", Name: "a"}}, filetx.OS()); err == nil {
		t.Error("a relative tree: no error")
	}
}

// begun is a tree in a folder of its own, with one generation applied.
func begun(t *testing.T) *session {
	t.Helper()
	s := newSession(t, placeIn(t.TempDir()), filetx.OS(), filetx.OS())
	s.bring("one")
	return s
}

func TestStageRefusesAnIncompleteGenerationAndATakenNumber(t *testing.T) {
	t.Parallel()
	s := begun(t)
	before := everything(t, s.root)
	for name, g := range map[string]filetx.Generation{
		"a file too few":        {Number: 9, Files: map[string][]byte{"a.conf": nil}},
		"a file too many":       {Number: 9, Files: map[string][]byte{"a.conf": nil, "b.conf": nil, "d.conf": nil}},
		"the number of current": {Number: 2, Files: pair("x", "y")},
		"no number":             {Files: pair("x", "y")},
	} {
		if err := s.tree.Stage(g); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if diff := cmp.Diff(before, everything(t, s.root)); diff != "" {
		t.Error(diff)
	}
}

// everything lists all files below dir, with contents and link targets.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		name := strings.TrimPrefix(path, dir)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			found[name] = "folder"
		case d.Type() == os.ModeSymlink:
			found[name], err = os.Readlink(path)
		default:
			var content []byte
			content, err = os.ReadFile(path)
			found[name] = string(content)
		}
		return err
	}))
	return found
}

// drifted reports external content at a fixed path, or beside it, which a switch would hide. A missing file at a path is not
// drift, nor is an ordinary file with the right content; Adopt restores the links.
func drifted(s filetx.State) bool {
	return len(s.External) > 0 || s.Current > 0 && slices.ContainsFunc(s.Paths, func(p filetx.PathState) bool { return p.Kind != filetx.Missing && !p.Intact })
}

func TestExternalChangesAreDetectedAndRevertedOnlyAfterTheyWereSaved(t *testing.T) {
	t.Parallel()
	const elsewhere = "../../elsewhere"
	for name, c := range map[string]struct {
		do   func(s *session) error
		kind filetx.Kind
		kept map[string]string
	}{
		"edited through the link": {
			func(s *session) error { return os.WriteFile(s.links[0].Path, []byte("edited"), 0o600) },
			filetx.Linked,
			map[string]string{"a.conf": "edited"},
		},
		"replaced by a file": {
			func(s *session) error {
				return errors.Join(os.Remove(s.links[0].Path), os.WriteFile(s.links[0].Path, []byte("mine"), 0o600))
			},
			filetx.Plain,
			map[string]string{"a.conf": "mine"},
		},
		"replaced by a link": {
			func(s *session) error {
				other := filepath.Join(s.root, "elsewhere")
				return errors.Join(os.WriteFile(other, []byte("theirs"), 0o600), os.Remove(s.links[0].Path), os.Symlink(elsewhere, s.links[0].Path))
			},
			filetx.Strange,
			map[string]string{"a.conf": "this was a link to " + elsewhere + "\n"}, // its target is not changed
		},
		"replaced by a link to nothing": {
			func(s *session) error {
				return errors.Join(os.Remove(s.links[0].Path), os.Symlink("nowhere", s.links[0].Path))
			},
			filetx.Strange,
			map[string]string{"a.conf": "this was a link to nowhere\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begun(t)
			must(t, c.do(s))
			state, err := s.tree.State()
			must(t, err)
			if got := state.Paths[0]; got.Kind != c.kind || got.Intact || !drifted(state) || !state.Paths[1].Intact {
				t.Errorf("seen as %+v", state)
			}
			if got := state.Paths[0]; c.kind == filetx.Strange && got.Content != nil {
				t.Errorf("a link of another was followed: %q was read", got.Content)
			}
			if c.kind != filetx.Linked {
				if err := s.tree.Activate(state.Current-1, nil); !errors.Is(err, filetx.ErrDrift) {
					t.Errorf("Activate says %v", err)
				}
				if err := s.tree.Adopt(filetx.Generation{Number: 9, Files: pair("", "")}); !errors.Is(err, filetx.ErrDrift) {
					t.Errorf("Adopt says %v", err)
				}
			}
			before, kept := everything(t, s.root), map[string]string{}
			if len(c.kept) > 0 {
				if _, err := s.tree.Overwrite(func(string, []byte) error { return errors.New("no") }); err == nil {
					t.Error("what could not be kept was taken back")
				}
				if diff := cmp.Diff(before, everything(t, s.root)); diff != "" {
					t.Error(diff)
				}
			}
			_, err = s.tree.Overwrite(func(path string, content []byte) error {
				kept[filepath.Base(path)] = string(content)
				return nil
			})
			must(t, err)
			if diff := cmp.Diff(c.kept, kept); diff != "" {
				t.Error(diff)
			}
			must(t, s.converge("two"))
			if state, err := s.tree.State(); err != nil || drifted(state) || s.look(s.raw) != both("two") {
				t.Errorf("after the next apply %+v, %v", state, err)
			}
		})
	}
}

func TestFilesBesideTheFixedPathsWithTheSameSuffixAreForeign(t *testing.T) {
	t.Parallel()
	s := begun(t)
	dir := filepath.Dir(s.links[1].Path)
	for _, name := range []string{"backup.conf", ".hidden.conf", "notes.txt"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	state, err := s.tree.State()
	must(t, err)
	if diff := cmp.Diff([]string{filepath.Join(dir, "backup.conf")}, state.External); diff != "" || !drifted(state) {
		t.Error(diff)
	}
}

func TestARemovedLinkIsMissingAndAdoptRestoresIt(t *testing.T) {
	t.Parallel()
	s := begun(t)
	must(t, os.Remove(s.links[1].Path))
	if state, err := s.tree.State(); err != nil || drifted(state) || state.Paths[1].Kind != filetx.Missing {
		t.Errorf("seen as %+v, %v", state, err)
	}
	must(t, s.tree.Adopt(filetx.Generation{Number: 9, Files: pair("min", "min")}))
	if seen := s.look(s.raw); seen != both("one") {
		t.Errorf("%q is read", seen)
	}
}

func TestADamagedGenerationIsNeitherReadNorActivatedNorChangedByRecover(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(dir string) error{
		"a bit":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.conf"), []byte("bit"), 0o600) },
		"a file":       func(dir string) error { return os.Remove(filepath.Join(dir, "b.conf")) },
		"the manifest": func(dir string) error { return os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o600) },
		"no manifest":  func(dir string) error { return os.Remove(filepath.Join(dir, "manifest.json")) },
		"all":          os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begun(t)
			n, err := s.stage("two")
			must(t, err)
			must(t, s.flip(n, "two"))
			must(t, damage(filepath.Join(s.dir, "gen", "000003")))
			if _, err := s.tree.Read(n); err == nil {
				t.Error("a damaged generation was read")
			}
			if err := s.tree.Activate(n, nil); err == nil {
				t.Error("flipped to a damaged generation")
			}
			before := everything(t, s.root)
			for range 2 {
				r, err := s.tree.Recover()
				must(t, err)
				if diff := cmp.Diff(filetx.Recovered{Damaged: []int{n}}, r) + cmp.Diff(before, everything(t, s.root)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestANewGenerationRepairsATreeWhoseGenerationsAreAllDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(s *session) error{
		"the only generation": func(s *session) error { return os.WriteFile(s.links[0].Path, []byte("bit"), 0o600) },
		"both pointers": func(s *session) error {
			return errors.Join(os.Remove(filepath.Join(s.dir, "current")), os.Remove(filepath.Join(s.dir, "good")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begun(t)
			must(t, damage(s))
			r, err := s.tree.Recover()
			if err != nil || len(r.Abandoned) > 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			n, err := s.stage("two")
			must(t, err)
			must(t, s.flip(n, "two"))
			must(t, s.tree.MarkVerified(n))
			if r, err = s.tree.Recover(); err != nil || len(r.Damaged) > 0 || s.look(s.raw) != both("two") {
				t.Errorf("%+v, %v, %q is read", r, err, s.look(s.raw))
			}
		})
	}
}

func TestAnAbandonedGenerationThatWasEditedIsNotRemovedByRecover(t *testing.T) {
	t.Parallel()
	s := begun(t)
	n, err := s.stage("two")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(s.dir, "gen", fmt.Sprintf("%06d", n), "a.conf"), []byte("by hand"), 0o600))
	before := everything(t, s.root)
	r, err := s.tree.Recover()
	must(t, err)
	if diff := cmp.Diff(filetx.Recovered{Damaged: []int{n}}, r) + cmp.Diff(before, everything(t, s.root)); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyTheCurrentGenerationCanBeMarkedVerified(t *testing.T) {
	t.Parallel()
	s := begun(t)
	if err := s.tree.MarkVerified(1); err == nil {
		t.Error("no error")
	}
}

func TestTheNewestFailedGenerationIsKeptAsEvidence(t *testing.T) {
	t.Parallel()
	s := begun(t)
	for _, word := range []string{"bad", "worse"} {
		n, err := s.stage(word)
		must(t, err)
		must(t, s.flip(n, word))
		must(t, s.flip(n-1, "one"))
		r, err := s.tree.Recover()
		must(t, err)
		if diff := cmp.Diff(filetx.Recovered{Abandoned: []int{n}}, r); diff != "" {
			t.Error(diff)
		}
		evidence, err := os.ReadFile(filepath.Join(s.dir, "failed", "a.conf"))
		if err != nil || string(evidence) != string(contentOf(word)["a.conf"]) {
			t.Errorf("the evidence is %q, %v", evidence, err)
		}
	}
}

func TestDetachLeavesOrdinaryFilesWithTheSameContent(t *testing.T) {
	t.Parallel()
	s := begun(t)
	must(t, s.tree.Detach())
	must(t, os.RemoveAll(s.dir))
	if seen := s.look(s.raw); seen != both("one") {
		t.Errorf("%q is read", seen)
	}
	for name := range contentOf("one") {
		info, err := os.Lstat(s.pathOf(name))
		must(t, err)
		if info.Mode() != 0o640 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
}

func TestThePathOfAnOptionalFileIsInOrderIfTheGenerationLacksItAndNothingIsReadThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		words   []string
		change  func(path string) error
		inOrder bool
	}{
		"never had it":                     {[]string{"one"}, func(string) error { return nil }, true},
		"had it before":                    {[]string{"one+", "two"}, func(string) error { return nil }, true},
		"the link that leads nowhere gone": {[]string{"one+", "two"}, os.Remove, true},
		"written by hand":                  {[]string{"one"}, func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) }, false},
		"written through the link":         {[]string{"one+", "two"}, func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) }, false},
		"another link":                     {[]string{"one"}, func(path string) error { return os.Symlink("nowhere", path) }, false},
		"the file is there":                {[]string{"one+"}, func(string) error { return nil }, true},
		"the file's link is gone":          {[]string{"one+"}, os.Remove, false},
		"the file's link leads elsewhere":  {[]string{"one+"}, func(path string) error { return errors.Join(os.Remove(path), os.Symlink("nowhere", path)) }, false},
	} {
		s := newSession(t, placeIn(t.TempDir()), filetx.OS(), filetx.OS())
		s.bring(c.words...)
		must(t, c.change(s.pathOf("c.conf")))
		state, err := s.tree.State()
		must(t, err)
		if got := state.Paths[2].InOrder(); got != c.inOrder {
			t.Errorf("%s: in order is %v, want %v: %+v", name, got, c.inOrder, state.Paths[2])
		}
		n, err := s.stage("next+")
		must(t, err)
		seen := contentOf(c.words[len(c.words)-1])
		if err := s.tree.Activate(n, seen); (err == nil) != c.inOrder || err != nil && !errors.Is(err, filetx.ErrDrift) {
			t.Errorf("%s: a flip over it: %v", name, err)
		}
	}
}

func TestTheLinksWorkInFoldersThatAreLinksThemselves(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "far", "away", "two.d"), 0o750))
	must(t, os.Symlink(filepath.Join("far", "away", "two.d"), filepath.Join(root, "two.d")))
	s := newSession(t, placeIn(root), filetx.OS(), filetx.OS())
	s.bring("one", "two")
	if seen := s.look(s.raw); seen != both("two") {
		t.Errorf("%q is read", seen)
	}
}

func TestAPipeInThePlaceOfAFileBlocksNothing(t *testing.T) {
	t.Parallel()
	s := begun(t)
	must(t, os.Remove(s.links[0].Path))
	must(t, syscall.Mkfifo(s.links[0].Path, 0o600))
	state, err := s.tree.State()
	if err != nil || state.Paths[0].Kind != filetx.Strange || !drifted(state) {
		t.Errorf("seen as %+v, %v", state, err)
	}
	kept := ""
	if _, err := s.tree.Overwrite(func(_ string, content []byte) error { kept += string(content); return nil }); err != nil || !strings.Contains(kept, "named pipe") {
		t.Errorf("kept is %q, error %v", kept, err)
	}
}

// A rehearsal, which may fail at each operation, changes neither what is read nor which generation is current, and the next one works.
func TestARehearsalThatFailsAnywhereChangesNothingThatIsRead(t *testing.T) {
	t.Parallel()
	for _, begun := range []bool{false, true} {
		for failing := 1; ; failing++ {
			p := placeIn(t.TempDir())
			for _, l := range p.links {
				must(t, os.MkdirAll(filepath.Dir(l.Path), 0o750))
				must(t, os.WriteFile(l.Path, []byte("as found"), 0o600))
			}
			whole := p.open(t, filetx.OS())
			number := 1
			if begun {
				must(t, whole.Adopt(filetx.Generation{Number: 1}))
				number = 2
			}
			before, err := whole.State()
			must(t, err)
			done := 0
			tree := p.open(t, hooked{filetx.OS(), func(o operation, do func() error) error {
				if o.changes() {
					done++
				}
				if done == failing && o.changes() {
					return errors.New("failed on purpose")
				}
				return do()
			}})
			looked := 0
			g := filetx.Generation{Number: number, Files: pair("new", "new")}
			look := func(path string) error {
				looked++
				if content, err := os.ReadFile(path); err != nil || string(content) != "probe" {
					t.Errorf("the probe: %q, %v", content, err)
				}
				return nil
			}
			failed := tree.Rehearse(g, []byte("probe"), look)
			if _, err := whole.Recover(); err != nil {
				t.Fatal(err)
			}
			after, err := whole.State()
			must(t, err)
			for i := range before.Paths {
				if got, want := after.Paths[i], before.Paths[i]; got.Kind != want.Kind || string(got.Content) != string(want.Content) {
					t.Errorf("operation %d: %s is %v %q, was %v %q", failing, got.Path, got.Kind, got.Content, want.Kind, want.Content)
				}
			}
			if after.Current != before.Current || after.Good != before.Good || len(after.Generations) != len(before.Generations) {
				t.Errorf("operation %d: %+v, was %+v", failing, after, before)
			}
			if err := whole.Rehearse(g, []byte("probe"), look); err != nil {
				t.Errorf("operation %d: the next rehearsal: %v", failing, err)
			}
			if done < failing {
				if failed != nil || looked != 2 || failing < 15 {
					t.Errorf("%d operations, looked %d times, %v", done, looked, failed)
				}
				break
			}
		}
	}
}

// syncs notes how many files each sync is given.
type syncs struct {
	filetx.FS
	counts *[]int
}

func (s syncs) Sync(files ...filetx.NewFile) error {
	*s.counts = append(*s.counts, len(files))
	return s.FS.Sync(files...)
}

func TestTheFilesOfAGenerationAreSyncedTogether(t *testing.T) {
	t.Parallel()
	var counts []int
	tree := placeIn(t.TempDir()).open(t, syncs{filetx.OS(), &counts})
	must(t, tree.Adopt(filetx.Generation{Number: 1, Files: contentOf("one+")}))
	if want := []int{4}; !slices.Equal(counts, want) { // three files and the manifest
		t.Errorf("the syncs are given %v files, want %v", counts, want)
	}
}
