package filetx_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/filetx"
)

func files(dir, a, b string) []filetx.File {
	return []filetx.File{
		{Path: filepath.Join(dir, "one", "a.conf"), Content: []byte(a)},
		{Path: filepath.Join(dir, "two", "b.conf"), Content: []byte(b)},
	}
}

// tree lists everything below dir with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, dir+"/")] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAllFilesAreReplacedAndNothingElseIsLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, content := range []string{"old", "new", "newer"} {
		if err := filetx.Replace(files(dir, content, content+"!")); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"one/a.conf": content, "two/b.conf": content + "!"}
		if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
			t.Fatal(diff)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "one", "a.conf"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, error %v; want 0640: the file holds secrets", info.Mode(), err)
	}
}

func TestWhenOneFileCannotBeReplacedAllStayAsTheyWere(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(dir string) error{
		"the second place is a folder": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "two", "b.conf", "x"), 0o700) },
		"the second folder is a file": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "two"), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, before := range []string{"", "old"} {
				dir := t.TempDir()
				if before != "" {
					if err := filetx.Replace(files(dir, before, before)[:1]); err != nil {
						t.Fatal(err)
					}
				}
				if err := breakIt(dir); err != nil {
					t.Fatal(err)
				}
				want := tree(t, dir)
				if err := filetx.Replace(files(dir, "new", "new")); err == nil {
					t.Fatal("no error")
				}
				if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
					t.Errorf("before=%q: (-want +got):\n%s", before, diff)
				}
			}
		})
	}
}

func TestALinkInThePlaceIsReplacedAndWhatItPointsAtIsNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "one"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.conf", ".a.conf.next", ".a.conf.prev"} {
		if err := os.Symlink(outside, filepath.Join(dir, "one", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := filetx.Replace(files(dir, "new", "new")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"outside": "precious", "one/a.conf": "new", "two/b.conf": "new"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestAReaderNeverSeesAPartOfAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	contents := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)}
	if err := filetx.Replace(files(dir, contents[0], contents[0])); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			got, err := os.ReadFile(filepath.Join(dir, "one", "a.conf"))
			if err != nil || string(got) != contents[0] && string(got) != contents[1] {
				t.Errorf("read %d bytes that are neither the old nor the new file, error %v", len(got), err)
				return
			}
		}
	})
	for i := range 200 {
		if err := filetx.Replace(files(dir, contents[i%2], contents[i%2])); err != nil {
			t.Error(err)
		}
	}
	close(done)
	reader.Wait()
}
