package filetx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestUndoPutsBackWhatWasThereBeforeCommit(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"", "old"} {
		path := filepath.Join(t.TempDir(), "a.conf")
		if before != "" {
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := newReplacement(path)
		if err := errors.Join(r.stage([]byte("new")), r.commit()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
			t.Fatalf("after commit %q, %v", got, err)
		}
		if err := r.undo(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if before == "" && !errors.Is(err, fs.ErrNotExist) || before != "" && (err != nil || string(got) != before) {
			t.Errorf("before %q: after undo %q, %v", before, got, err)
		}
	}
}
