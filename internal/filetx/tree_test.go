package filetx_test

import (
	"os"
	"path/filepath"
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

func pair(a, b string) map[string][]byte {
	return map[string][]byte{"a.conf": []byte(a), "b.conf": []byte(b)}
}

// read is what somebody sees who reads both fixed paths.
func (p place) read(t testing.TB) map[string][]byte {
	t.Helper()
	seen := map[string][]byte{}
	for _, l := range p.links {
		content, err := os.ReadFile(l.Path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err == nil {
			seen[l.Name] = content
		}
	}
	return seen
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bring does what an apply does, up to the moment when the new generation is accepted.
func bring(tree *filetx.Tree, files map[string][]byte) error {
	if _, err := tree.Recover(); err != nil {
		return err
	}
	s, err := tree.State()
	if err != nil {
		return err
	}
	n := s.Next()
	if err := tree.Stage(filetx.Generation{Number: n, RunID: "run", Parent: s.Current, Files: files}); err != nil {
		return err
	}
	if err := tree.Flip(n); err != nil {
		return err
	}
	if err := tree.Accept(n); err != nil {
		return err
	}
	return tree.Prune(2)
}

func TestGenerationsFollowEachOtherThroughTheFixedPaths(t *testing.T) {
	t.Parallel()
	p := placeIn(t.TempDir())
	tree := p.open(t, filetx.OS())
	unlock, held, err := tree.TryLock()
	if err != nil || held {
		t.Fatal(held, err)
	}
	defer unlock()
	if _, held, err := tree.TryLock(); err != nil || !held {
		t.Error("a second holder got the lock", err)
	}
	must(t, tree.Adopt(filetx.Generation{Number: 1, Files: pair("empty", "empty")}))
	if diff := cmp.Diff(pair("empty", "empty"), p.read(t)); diff != "" {
		t.Fatal(diff)
	}
	for _, c := range []string{"first", "second", "third", "fourth"} {
		must(t, bring(tree, pair(c, c+"!")))
		if diff := cmp.Diff(pair(c, c+"!"), p.read(t)); diff != "" {
			t.Fatal(diff)
		}
	}
	s, err := tree.State()
	must(t, err)
	want := filetx.State{Current: 5, Good: 5, Generations: []int{4, 5}, Paths: []filetx.PathState{
		{Link: p.links[0], Kind: filetx.Linked, Intact: true},
		{Link: p.links[1], Kind: filetx.Linked, Intact: true},
	}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	link, err := os.Readlink(p.links[1].Path)
	if want := "../../one.d/ours/.tree/current/b.conf"; err != nil || link != want {
		t.Errorf("the link says %q, want %q, error %v", link, want, err)
	}
}
