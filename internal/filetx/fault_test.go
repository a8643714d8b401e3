package filetx_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/synergycall/pbxportal/internal/filetx"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

var errnos = []syscall.Errno{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EACCES, syscall.EPERM, syscall.EROFS,
	syscall.EMFILE, syscall.ENOMEM, syscall.ENOENT, syscall.EXDEV, syscall.EINTR,
}

// failure is how an operation fails.
type failure string

const (
	before     failure = "before it did anything"
	after      failure = "after it did everything"
	persistent failure = "and so do all after it"
)

// fault is one failing operation of a scenario.
type fault struct {
	at    int
	how   failure
	errno syscall.Errno
}

// failing returns a file system with a fault; seen counts the operations, and hit is set to the failed one.
func failing(d filetx.FS, f fault, seen *int, hit *operation) filetx.FS {
	return hooked{d, func(o operation, do func() error) error {
		*seen++
		switch {
		case *seen == f.at && f.how == after:
			*hit = o
			if err := do(); err != nil {
				return err
			}
		case *seen == f.at, f.at > 0 && *seen > f.at && f.how == persistent:
			if *seen == f.at {
				*hit = o
			}
		default:
			return do()
		}
		return &fs.PathError{Op: o.name, Path: o.path, Err: f.errno}
	}}
}

// runWithFault runs a scenario in which one operation fails, and returns what is wrong with the result.
func runWithFault(t testing.TB, ta scenario, d *disk, f fault) string {
	t.Helper()
	var seen int
	var hit operation
	p := placeIn("/etc")
	st := newSession(t, p, d, failing(d, f, &seen, &hit))
	st.rotten = ta.rotten
	err := ta.script(st)
	session := fmt.Sprintf("%s: %s %s fails with %v (%v) %s; the program says %v", ta.name, hit.name, hit.path, error(f.errno), seen, f.how, err)
	random := rand.New(rand.NewPCG(4, uint64(f.at)))
	wrong := ""
	judge := func(when string, seen string) {
		if wrong == "" && !slices.Contains(st.allowed, seen) {
			wrong = fmt.Sprintf("%s; %s %q is read, allowed is %q", session, when, seen, st.allowed)
		}
	}
	judge("then", p.look(d))
	d.powerCuts(4, random, func(image *disk) { judge("after a power cut", p.look(image)) })
	if wrong != "" {
		return wrong
	}
	st = newSession(t, p, d, d)
	st.drift, st.rotten = ta.drift, ta.rotten
	if err := st.recover(); err != nil {
		return fmt.Sprintf("%s; recovery says %v", session, err)
	}
	if left := leftovers(p, d, ta.rotten); left != "" {
		return fmt.Sprintf("%s; recovery leaves %s", session, left)
	}
	if err := st.rest(); err != nil {
		return fmt.Sprintf("%s; the next apply says %v", session, err)
	}
	if got := p.look(d); got != both("next") {
		return fmt.Sprintf("%s; after the next apply %q is read", session, got)
	}
	return ""
}

func TestRow15AFailedOperationLeavesTheOldFilesOrReportsOtherwiseAtLength(t *testing.T) {
	t.Parallel()
	total, floor := 0, labtest.Soak(2_500, 45_000)
	every := labtest.Soak(37, 1)
	if testing.Short() {
		every, floor = 20, 1_500
	}
	for _, ta := range scenarios {
		if !ta.included() {
			continue
		}
		start := ta.prepare(t)
		var operations, injections, violations int
		var none operation
		d := start.clone()
		st := newSession(t, placeIn("/etc"), d, failing(d, fault{}, &operations, &none))
		st.rotten = ta.rotten
		must(t, ta.script(st))
		for i := range operations * len(errnos) * 3 {
			if (i+i/operations)%every != 0 { // another remainder each round: every operation has its turn
				continue
			}
			f := fault{i%operations + 1, []failure{before, after, persistent}[i/operations%3], errnos[i/operations/3]}
			injections++
			if wrong := runWithFault(t, ta, start.clone(), f); wrong != "" {
				if violations++; violations <= 5 {
					t.Error(wrong)
				}
			}
		}
		t.Logf("%-35s %3d operations, %5d faults, %d violations", ta.name, operations, injections, violations)
		total += injections
	}
	t.Logf("%d faults", total)
	if total < floor {
		t.Errorf("fewer than %d faults: the search looks at less than it did", floor)
	}
}

func TestRow16ASwitchThatCannotBeSyncedIsReverted(t *testing.T) {
	t.Parallel()
	d := scenarios[numberOf("apply")].prepare(t)
	faults := 0
	tree := placeIn("/etc").open(t, hooked{d, func(o operation, do func() error) error {
		if faults > 0 && o.name == "SyncDir" {
			faults--
			return syscall.EIO
		}
		return do()
	}})
	before, err := tree.State()
	must(t, err)
	must(t, tree.Stage(filetx.Generation{Number: before.Next(), Files: contentOf("new")}))
	faults = 1
	seen, err := inPlace(tree)
	must(t, err)
	if err := tree.Activate(before.Next(), seen); errors.Is(err, filetx.ErrInDoubt) || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want the cause, and no doubt", err)
	}
	if after, err := tree.State(); err != nil || after.Current != before.Current || drifted(after) {
		t.Errorf("generation %d is current, %v; want the old one, %d", after.Current, err, before.Current)
	}
}

func TestRow17ASwitchThatCanNeitherBeSyncedNorRevertedIsReported(t *testing.T) {
	t.Parallel()
	d := scenarios[numberOf("apply")].prepare(t)
	broken := false
	tree := placeIn("/etc").open(t, hooked{d, func(o operation, do func() error) error {
		if broken && o.name == "SyncDir" {
			return syscall.EIO
		}
		return do()
	}})
	s, err := tree.State()
	must(t, err)
	must(t, tree.Stage(filetx.Generation{Number: s.Next(), Files: contentOf("new")}))
	broken = true
	seen, err := inPlace(tree)
	must(t, err)
	if err := tree.Activate(s.Next(), seen); !errors.Is(err, filetx.ErrInDoubt) || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want ErrInDoubt and the cause", err)
	}
}
