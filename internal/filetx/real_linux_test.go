package filetx_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/filetx"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
)

// This file tests the same scenarios on the file system of the machine.

// A child is this test program, started again to run a scenario and to be killed in it, or to reach a limit.
const (
	childScenario = "FILETX_SCENARIO" // the number of the scenario; set only in a child
	childRoot     = "FILETX_ROOT"     // the folder of the scenario
	childDies     = "FILETX_DIES"     // the number of the changing operation before which it kills itself; 0: never
	childLimit    = "FILETX_LIMIT"    // the maximum size of a file in bytes; 0: none
)

func TestMain(m *testing.M) {
	if os.Getenv(childScenario) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	debug.SetGCPercent(800) // little memory is live, and much is garbage
	os.Exit(m.Run())
}

func number(name string) int {
	n, _ := strconv.Atoi(os.Getenv(name))
	return n
}

func child() error {
	root, dies := os.Getenv(childRoot), number(childDies)
	if limit := number(childLimit); limit > 0 {
		l := syscall.Rlimit{Cur: uint64(limit), Max: uint64(limit)}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			return err
		}
	}
	var st *session
	done := 0
	p := placeIn(root)
	tree, err := filetx.Open(p.dir, p.links, hooked{filetx.OS(), func(o operation, do func() error) error {
		if o.changes() {
			if done++; done == dies {
				// The parent must know what may be read now.
				allowed, err := json.Marshal(st.allowed)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(root, "allowed"), allowed, 0o600); err != nil {
					return err
				}
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		return do()
	}})
	if err != nil {
		return err
	}
	st = &session{place: p, raw: filetx.OS(), tree: tree, allowed: []string{p.look(filetx.OS())}, rotten: scenarios[number(childScenario)].rotten}
	return scenarios[number(childScenario)].script(st)
}

func runChild(t *testing.T, root string, scenario, dies, limit int) proc.Result {
	t.Helper()
	r, err := proc.Run(t.Context(), proc.Command{Argv: []string{os.Args[0]}, Env: []string{
		childScenario + "=" + strconv.Itoa(scenario), childRoot + "=" + root,
		childDies + "=" + strconv.Itoa(dies), childLimit + "=" + strconv.Itoa(limit), "GORACE=" + os.Getenv("GORACE"),
	}})
	must(t, err)
	return r
}

func TestAProcessKilledAtAnyMomentLeavesACompleteSetAndTheNextApplySucceedsAtLength(t *testing.T) {
	t.Parallel()
	step, floor := labtest.Soak(26, 1), labtest.Soak(25, 450)
	if testing.Short() {
		step, floor = 10, 30
	}
	const killed = 128 + int(syscall.SIGKILL)
	points := 0
	for i, ta := range scenarios {
		if !ta.included() {
			continue
		}
		for dies := 1; ; dies += step {
			root := t.TempDir()
			p := placeIn(root)
			ta.before(newSession(t, p, filetx.OS(), filetx.OS()))
			r := runChild(t, root, i, dies, 0)
			if r.ExitCode == 0 {
				break
			}
			if r.ExitCode != killed {
				t.Fatalf("%s: the child ended with %d: %s", ta.name, r.ExitCode, r.Stderr)
			}
			points++
			var allowed []string
			content, err := os.ReadFile(filepath.Join(root, "allowed"))
			must(t, err)
			must(t, json.Unmarshal(content, &allowed))
			st := newSession(t, p, filetx.OS(), filetx.OS())
			st.drift, st.rotten = ta.drift, ta.rotten
			where := fmt.Sprintf("%s: killed before operation %d", ta.name, dies)
			if seen := p.look(filetx.OS()); !slices.Contains(allowed, seen) {
				t.Fatalf("%s: %q is read, allowed is %q", where, seen, allowed)
			}
			must(t, st.recover())
			if left := leftovers(p, filetx.OS(), ta.rotten); left != "" {
				t.Fatalf("%s: recovery leaves %s", where, left)
			}
			must(t, st.rest())
			if seen := p.look(filetx.OS()); seen != both("next") {
				t.Fatalf("%s: after the next apply %q is read", where, seen)
			}
		}
	}
	t.Logf("%d points", points)
	if points < floor {
		t.Errorf("fewer than %d points: the search looks at less than it did", floor)
	}
}

// large is a generation of about size bytes in each file.
func large(word string, size int) map[string][]byte {
	return pair(word+strings.Repeat("a", size), word+strings.Repeat("b", size))
}

func TestOnAFullDiskTheOldFilesStayAndNothingOfTheNewOnesIsKept(t *testing.T) {
	t.Parallel()
	t.Run("a limit on the size of files", func(t *testing.T) {
		t.Parallel()
		runs := 0
		for limit := 1; limit < 360; limit += 7 { // the largest file is the manifest, with some 300 bytes
			p := placeIn(t.TempDir())
			st := newSession(t, p, filetx.OS(), filetx.OS())
			st.bring("old")
			r := runChild(t, p.root, numberOf("apply"), 0, limit)
			want := both("four")
			if r.ExitCode != 0 {
				want = both("old")
				if !strings.Contains(r.Stderr, syscall.EFBIG.Error()) {
					t.Fatalf("limit %d: the child ended with %d: %s", limit, r.ExitCode, r.Stderr)
				}
				runs++
			}
			if seen := p.look(filetx.OS()); seen != want {
				t.Fatalf("limit %d: %q is read, want %q", limit, seen, want)
			}
			must(t, st.recover())
			if left := leftovers(p, filetx.OS(), 0); left != "" {
				t.Fatalf("limit %d: recovery leaves %s", limit, left)
			}
			must(t, st.rest())
		}
		if t.Logf("%d applies hit the limit", runs); runs < 20 {
			t.Error("too few")
		}
	})
	t.Run("a small disk", func(t *testing.T) {
		t.Parallel()
		const size = 1 << 20
		dir := t.TempDir()
		if !mount(t, "tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)) {
			return
		}
		p := placeIn(dir)
		st := newSession(t, p, filetx.OS(), filetx.OS())
		st.bring("old")
		filler := filepath.Join(dir, "filler")
		runs := 0
		for leave := 0; leave < 160<<10; leave += 4 << 10 {
			var now syscall.Statfs_t
			must(t, syscall.Statfs(dir, &now))
			must(t, os.WriteFile(filler, make([]byte, max(0, int(now.Bavail)*int(now.Bsize)-leave)), 0o600))
			before := p.look(filetx.OS())
			s, err := st.tree.State()
			must(t, err)
			err = st.tree.Stage(filetx.Generation{Number: s.Next(), Files: large("big", 60<<10)})
			if err == nil {
				seen, lookErr := inPlace(st.tree)
				must(t, lookErr)
				err = st.tree.Activate(s.Next(), seen)
			}
			seen := p.look(filetx.OS())
			switch {
			case err == nil && seen == before, err != nil && seen != before:
				t.Fatalf("%d bytes left: the error is %v, but what is read says otherwise", leave, err)
			case err != nil && !errors.Is(err, syscall.ENOSPC):
				t.Fatal(err)
			case err != nil:
				runs++
				if _, err := os.Stat(filepath.Join(p.dir, "failed")); !errors.Is(err, fs.ErrNotExist) {
					t.Error("what did not fit still takes space")
				}
			}
			must(t, os.Remove(filler))
			must(t, st.converge("old"))
		}
		if t.Logf("%d applies did not fit", runs); runs < 20 {
			t.Error("too few")
		}
	})
}

// mount mounts for the duration of a test, and reports false without permission: in a restricted container, or as a plain user.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) bool {
	t.Helper()
	err := syscall.Mount(source, target, kind, flags, data)
	if errors.Is(err, syscall.EPERM) {
		t.Log("not allowed to mount here; the other forms of this test ran")
		return false
	}
	must(t, err)
	t.Cleanup(func() {
		if err := syscall.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
	return true
}

func TestOnAReadOnlyDiskTheOldFilesStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := placeIn(dir)
	newSession(t, p, filetx.OS(), filetx.OS()).bring("old")
	refuse := func(t *testing.T, p place, want syscall.Errno) {
		t.Helper()
		tree, err := filetx.Open(p.dir, p.links, filetx.OS())
		must(t, err)
		s, err := tree.State()
		must(t, err)
		if err := tree.Stage(filetx.Generation{Number: s.Next(), Files: contentOf("new")}); !errors.Is(err, want) {
			t.Errorf("Stage says %v, want %v", err, want)
		}
		if err := tree.Activate(s.Current-1, nil); !errors.Is(err, want) {
			t.Errorf("Activate says %v, want %v", err, want)
		}
		if seen := p.look(filetx.OS()); seen != both("old") {
			t.Errorf("%q is read", seen)
		}
	}
	t.Run("read-only", func(t *testing.T) {
		again := t.TempDir()
		if mount(t, dir, again, "", syscall.MS_BIND, "") {
			must(t, syscall.Mount("", again, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
			refuse(t, placeIn(again), syscall.EROFS)
		}
	})
	t.Run("no right to write", func(t *testing.T) {
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type() == fs.ModeSymlink {
				return err
			}
			t.Cleanup(func() { _ = os.Chmod(path, 0o700) })
			return os.Chmod(path, 0o555)
		}))
		must(t, os.Chmod(filepath.Dir(dir), 0o755))
		done := make(chan struct{})
		go func() {
			defer close(done)
			// Root writes everywhere. The thread that stops being root for the file system ends with this goroutine.
			runtime.LockOSThread()
			if os.Geteuid() == 0 {
				const nobody = 65534
				if err := syscall.Setfsuid(nobody); err != nil {
					t.Error(err)
					return
				}
			}
			refuse(t, p, syscall.EACCES)
		}()
		<-done
	})
}

func TestRow18AReaderOfBothPathsNeverSeesTwoGenerations(t *testing.T) {
	t.Parallel()
	p := placeIn(t.TempDir())
	st := newSession(t, p, filetx.OS(), filetx.OS())
	const flips = 100
	generation := func(i int) map[string][]byte {
		word := strconv.Itoa(i) + "\n"
		return pair(word+strings.Repeat("a", 30_000), word+strings.Repeat("b", 20_000))
	}
	st.bring("begin")
	var stop atomic.Bool
	var reads, judged, changes atomic.Int64
	var readers sync.WaitGroup
	read := func(l filetx.Link) (mark string, length int) {
		content, err := os.ReadFile(l.Path)
		if err != nil {
			t.Error(err)
		}
		mark, _, _ = strings.Cut(string(content), "\n")
		return mark, len(content)
	}
	for range 2 {
		readers.Go(func() {
			last := ""
			for !stop.Load() {
				first, n := read(p.links[0])
				second, m := read(p.links[1])
				again, _ := read(p.links[0])
				reads.Add(1)
				if first != again || strings.Contains(first, "begin") {
					continue // a switch came between
				}
				judged.Add(1)
				if first != last {
					changes.Add(1)
				}
				last = first
				if first != second || n != len(first)+1+30_000 || m != len(second)+1+20_000 {
					t.Errorf("read %d bytes of %q and %d of %q", n, first, m, second)
					return
				}
			}
		})
	}
	for i := range flips {
		s, err := st.tree.State()
		must(t, err)
		must(t, st.tree.Stage(filetx.Generation{Number: s.Next(), Parent: s.Current, Files: generation(i)}))
		seen, err := inPlace(st.tree)
		must(t, err)
		must(t, st.tree.Activate(s.Next(), seen))
		must(t, st.tree.MarkVerified(s.Next()))
		if i%10 == 0 {
			must(t, st.tree.Prune(3, refuseEdits))
		}
	}
	stop.Store(true)
	readers.Wait()
	t.Logf("%d flips, %d reads of both paths, %d judged, %d different generations seen", flips, reads.Load(), judged.Load(), changes.Load())
	if judged.Load() < flips {
		t.Error("the readers saw too little")
	}
}

func TestNewFilesAndFoldersHaveTheirModesAndTheGroupOfTheParentFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	gid := os.Getgid()
	if os.Geteuid() == 0 {
		gid = 54321
		must(t, os.Chown(root, -1, gid))
	}
	p := placeIn(root)
	newSession(t, p, filetx.OS(), filetx.OS()).bring("one", "two")
	type made struct {
		Mode fs.FileMode
		GID  uint32
	}
	wrong := map[string]made{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root || d.Type() == fs.ModeSymlink {
			return err
		}
		info, err := d.Info()
		must(t, err)
		want := fs.FileMode(0o640)
		if d.IsDir() {
			want = 0o750 | fs.ModeSetgid | fs.ModeDir
		}
		is := made{info.Mode(), info.Sys().(*syscall.Stat_t).Gid}
		if is != (made{want, uint32(gid)}) {
			wrong[path] = is
		}
		return nil
	}))
	if diff := cmp.Diff(map[string]made{}, wrong); diff != "" {
		t.Error(diff)
	}
}
