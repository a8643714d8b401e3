// Package filetx replaces several files atomically: a reader finds all of them old or all of them new, whatever fails and whenever the power is cut or
// the program killed. It does not know what the files are for. It writes only its own tree, the links at the fixed paths that lead into it and, beside
// these and hidden by a leading dot, the link that is about to replace one.
package filetx

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/synergycall/pbxportal/internal/regular"
	"github.com/synergycall/pbxportal/internal/sums"
)

// Tree is a set of files in numbered generations below a folder of its own, of which exactly one is current. Each file is read at a fixed path, a link
// that leads through `current`, so that one rename of `current` replaces all files atomically.
//
//	gen/000042/NAME             the files of a generation
//	gen/000042/manifest.json    its number, run, parent and hashes
//	current -> gen/000042       what is read through the fixed paths
//	good -> gen/000042          the last generation that was accepted
//	doubted -> gen/000042       a generation of which it is no longer known whether it is good
//	failed/                     the newest failed generation, as evidence
//	lock                        its holder may change the tree
//
// A generation may lack the file of an optional link. The link is then missing or dangling: reading the path fails either way. It is created before the
// first generation with the file becomes current, so that all paths still change atomically.
//
// Everything that is ever renamed across folders is inside the tree, so the folders of the fixed paths may be mounts of their own. A Tree keeps no state
// in memory: it reads everything from the disk. Methods that change something must be called with the lock held, after a call of Recover.
type Tree struct {
	dir   string
	links []Link
	fs    FS
	sums  sums.Cache // of the files of generations, by their names
}

// Link is a fixed path and the name of the file, in each generation, that is read there.
type Link struct {
	Path, Name string
	Optional   bool // a generation may lack the file
}

// mayBe reports whether this kind of path is in order for a generation that has, or lacks, the file: our link, or nothing if the file is optional and the
// generation lacks it.
func (l Link) mayBe(kind Kind, has bool) bool {
	return kind == Linked || kind == Missing && l.Optional && !has
}

// Generation is one consistent set of files.
type Generation struct {
	Number int
	RunID  string // of the run that made it; the tree only stores it
	Parent int    // the generation before it, 0 for the first
	Files  map[string][]byte
}

// ErrDamaged means that a generation does not match its manifest.
var ErrDamaged = errors.New("does not match its manifest")

// ErrDrift means that something else was put at a fixed path.
var ErrDrift = errors.New("was changed externally")

// ErrInDoubt means that a flip may or may not survive a power cut. Readers see one complete generation, old or new; Recover settles which.
var ErrInDoubt = errors.New("may or may not have happened")

const (
	current  = "current"
	good     = "good"
	doubted  = "doubted"
	failed   = "failed"
	manifest = "manifest.json"
)

// Open returns a tree with these fixed paths, all absolute. It does not access the disk; a tree that does not exist yet begins with Adopt.
func Open(dir string, links []Link, fsys FS) (*Tree, error) {
	if !filepath.IsAbs(dir) || len(links) == 0 {
		return nil, fmt.Errorf("cannot keep files in %q: needs an absolute path and at least one link", dir)
	}
	paths, names := map[string]bool{}, map[string]bool{}
	for _, l := range links {
		plain := l.Name != "" && l.Name[0] != '.' && l.Name != manifest && filepath.Base(l.Name) == l.Name
		if !plain || !filepath.IsAbs(l.Path) || filepath.Clean(l.Path) != l.Path || paths[l.Path] || names[l.Name] {
			return nil, fmt.Errorf("cannot link %q to %q: needs a clean absolute path and a plain name, each used once", l.Path, l.Name)
		}
		paths[l.Path], names[l.Name] = true, true
	}
	return &Tree{dir: filepath.Clean(dir), links: slices.Clone(links), fs: fsys}, nil
}

// TryLock takes the lock of the tree for this caller, across all processes, or reports at once that it is held (busy). It creates the folder of the tree
// if that is missing.
func (t *Tree) TryLock() (unlock func(), busy bool, err error) {
	if err := t.makeDir(t.dir); err != nil {
		return nil, false, fmt.Errorf("cannot make %s: %w", t.dir, err)
	}
	unlock, busy, err = t.fs.Lock(t.path("lock"))
	if err != nil {
		return nil, false, fmt.Errorf("cannot lock %s: %w", t.dir, err)
	}
	return unlock, busy, nil
}

// Kind is the kind of what is at a fixed path.
type Kind int

// Kinds of fixed paths.
const (
	Missing Kind = iota // nothing
	Linked              // our link
	Plain               // an ordinary file
	Strange             // another link, a folder, …
)

// PathState is the state of a fixed path.
type PathState struct {
	Link
	Kind Kind
	// Intact reports whether the content of the path is that of the current generation: for an optional file that it lacks, nothing.
	Intact bool
	// Content is the content read at the path, nil when there is none.
	Content []byte
	// Err is the reason why nothing is read, nil if something is, or if the path does not exist. For what must not be read, such as a link that is not
	// ours, it is a *regular.Error.
	Err error
}

// InOrder reports whether a reader of the path gets the content of the current generation, through our link where it has any.
func (p PathState) InOrder() bool {
	return p.Intact && p.mayBe(p.Kind, false) // what is missing and intact is a file that the generation lacks
}

// State is the state of the tree and its fixed paths, read from the disk.
type State struct {
	Current, Good int // 0: none
	Doubted       int // the generation that was doubted and not accepted since; 0: none
	Generations   []int
	RunID         string // of the current generation, "" when its manifest is damaged
	Paths         []PathState
	// External lists files beside the fixed paths that are not hidden and have the same extension: a program that reads the folder by a pattern reads
	// them, too.
	External []string
}

// Next returns the lowest number for a new generation.
func (s State) Next() int { return max(s.Current, s.Good, slices.Max(append(s.Generations, 0))) + 1 }

// Begun reports whether the tree was adopted, also if parts of it were removed since.
func (s State) Begun() bool { return s.Current > 0 || s.Good > 0 || s.linked() }

// whole reports whether the current generation was read through the fixed paths and matches its manifest.
func (s State) whole() bool {
	return s.Current > 0 && !slices.ContainsFunc(s.Paths, func(p PathState) bool { return !p.InOrder() })
}

// State reads the whole state. It needs no lock: it reads again if a flip happened meanwhile.
func (t *Tree) State() (s State, err error) {
	const patience = 5
	for range patience {
		if s, err = t.look(); err != nil {
			return State{}, err
		}
		if now, err := t.pointer(current); err != nil || now == s.Current {
			return s, err
		}
	}
	return s, nil
}

// count lists the generations without reading them.
func (t *Tree) count() (s State, err error) {
	if s.Current, err = t.pointer(current); err != nil {
		return State{}, err
	}
	if s.Good, err = t.pointer(good); err != nil {
		return State{}, err
	}
	if s.Doubted, err = t.pointer(doubted); err != nil {
		return State{}, err
	}
	if s.Generations, err = t.generations(); err != nil {
		return State{}, err
	}
	return s, nil
}

func (t *Tree) look() (State, error) {
	s, err := t.count()
	if err != nil {
		return State{}, err
	}
	m, err := t.manifest(s.Current)
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
		return State{}, err
	}
	s.RunID = m.RunID
	for _, l := range t.links {
		kind, err := t.kind(l)
		if err != nil {
			return State{}, err
		}
		p := PathState{Link: l, Kind: kind}
		p.Content, p.Err = t.content(s.Current, p)
		p.Intact = t.has(m, l, p.Content, p.Err)
		s.Paths = append(s.Paths, p)
	}
	if s.External, err = t.external(); err != nil {
		return State{}, err
	}
	return s, nil
}

// content reads what a reader of a fixed path finds there. It follows no link but ours, which leads to a file of the current generation: the target of
// another link may not be meant for every user who can see a plan.
func (t *Tree) content(n int, p PathState) (content []byte, err error) {
	switch {
	case p.Kind == Missing, p.Kind == Linked && n == 0:
		return nil, nil
	case p.Kind == Linked:
		content, err = t.fs.ReadFile(t.dir, filepath.Join(generation(n), p.Name))
	default:
		content, err = t.fs.ReadFile(filepath.Split(p.Path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", p.Path, err)
	}
	return content, nil
}

// Read returns a generation, or ErrDamaged if a single bit of its files has changed.
func (t *Tree) Read(n int) (Generation, error) {
	m, err := t.manifest(n)
	if err != nil {
		return Generation{}, err
	}
	g := Generation{m.Number, m.RunID, m.Parent, map[string][]byte{}}
	for _, l := range t.links {
		content, err := t.fs.ReadFile(t.dir, filepath.Join(generation(n), l.Name))
		if err != nil && !noFile(err) {
			return Generation{}, fmt.Errorf("cannot read generation %d: %w", n, err)
		}
		if !t.has(m, l, content, err) {
			return Generation{}, errors.Join(fmt.Errorf("generation %d: %s %w", n, l.Name, ErrDamaged), err)
		}
		if err == nil {
			g.Files[l.Name] = content
		}
	}
	return g, nil
}

// PathsOf returns the fixed paths at which the files of a generation are read while it is current.
func (t *Tree) PathsOf(n int) (paths []string, err error) {
	m, err := t.manifest(n)
	for _, l := range t.links {
		if _, has := m.Files[l.Name]; has {
			paths = append(paths, l.Path)
		}
	}
	return paths, err
}

// noFile reports whether err says that a file is missing, or is not a file.
func noFile(err error) bool {
	_, other := errors.AsType[*regular.Error](err)
	return other || errors.Is(err, fs.ErrNotExist)
}

// record is a manifest.
type record struct {
	Number int                    `json:"number"`
	RunID  string                 `json:"run_id"`
	Parent int                    `json:"parent"`
	Files  map[string]fingerprint `json:"files"`
}

// has reports whether the content read of a link's file, or its absence, matches a manifest. err is the error of reading; not existing matches a file
// that the generation lacks.
func (t *Tree) has(m record, l Link, content []byte, err error) bool {
	want, named := m.Files[l.Name]
	if !named {
		return l.Optional && m.Number > 0 && (errors.Is(err, fs.ErrNotExist) || err == nil && content == nil)
	}
	return err == nil && content != nil && want == t.fingerprintOf(l.Name, content)
}

type fingerprint struct {
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
}

func (t *Tree) fingerprintOf(name string, content []byte) fingerprint {
	sum := t.sums.Of(name, content)
	return fingerprint{hex.EncodeToString(sum[:]), len(content)}
}

func (t *Tree) manifest(n int) (record, error) {
	if n == 0 {
		return record{}, fmt.Errorf("cannot read generation 0: %w", fs.ErrNotExist)
	}
	content, err := t.fs.ReadFile(t.dir, filepath.Join(generation(n), manifest))
	if _, other := errors.AsType[*regular.Error](err); other {
		return record{}, fmt.Errorf("generation %d: %s %w: %w", n, manifest, ErrDamaged, err)
	}
	if err != nil {
		return record{}, fmt.Errorf("cannot read generation %d: %w", n, err)
	}
	var m record
	if err := json.Unmarshal(content, &m); err != nil || m.Number != n || !serves(t, m.Files) {
		return record{}, fmt.Errorf("generation %d: %s %w", n, manifest, ErrDamaged)
	}
	return m, nil
}

// serves reports whether these file names are those of a generation: every required one, and none that no link leads to.
func serves[T any](t *Tree, files map[string]T) bool {
	known := 0
	for _, l := range t.links {
		_, there := files[l.Name]
		if there {
			known++
		} else if !l.Optional {
			return false
		}
	}
	return known == len(files)
}

func (t *Tree) names() map[string]string {
	names := map[string]string{}
	for _, l := range t.links {
		names[l.Path] = l.Name
	}
	return names
}

// path returns a path in the tree.
func (t *Tree) path(elem ...string) string { return filepath.Join(t.dir, filepath.Join(elem...)) }

// generation returns the path of generation n, relative to the tree.
func generation(n int) string { return fmt.Sprintf("gen/%06d", n) }

// number is the inverse of generation; 0 for anything else.
func number(place string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(place, "gen/"))
	if err != nil || n < 1 || generation(n) != place {
		return 0
	}
	return n
}

// pointer reads current, good or doubted; anything that cannot be one of ours counts as none.
func (t *Tree) pointer(name string) (int, error) {
	target, err := t.fs.Readlink(t.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EINVAL) {
		return 0, fmt.Errorf("cannot read the link %s: %w", name, err)
	}
	return number(target), nil
}

// generations lists the complete generations, oldest first.
func (t *Tree) generations() ([]int, error) {
	names, err := t.list(t.path("gen"))
	var all []int
	for _, name := range names {
		if n := number("gen/" + name); n > 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, err
}

// list is ReadDir that ignores a missing folder.
func (t *Tree) list(dir string) ([]string, error) {
	names, err := t.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list %s: %w", dir, err)
	}
	return names, nil
}

// exists reports whether anything exists at path.
func (t *Tree) exists(path string) (bool, error) {
	_, err := t.fs.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (t *Tree) kind(l Link) (Kind, error) {
	mode, err := t.fs.Lstat(l.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing, nil
	case err != nil:
		return Strange, fmt.Errorf("cannot look at %s: %w", l.Path, err)
	case mode.IsRegular():
		return Plain, nil
	case mode.Type() != fs.ModeSymlink:
		return Strange, nil
	}
	is, err := t.fs.Readlink(l.Path)
	if err != nil {
		return Strange, fmt.Errorf("cannot look at %s: %w", l.Path, err)
	}
	want, err := t.target(l)
	if err == nil && is == want {
		return Linked, nil
	}
	return Strange, err
}

// target returns the target of the link at a fixed path. It is relative, so that it holds wherever the folders are mounted, and is computed from the
// resolved folder, since `..` in a link is.
func (t *Tree) target(l Link) (string, error) {
	from, err := t.fs.Resolve(filepath.Dir(l.Path))
	if err != nil {
		return "", fmt.Errorf("cannot find the folder of %s: %w", l.Path, err)
	}
	to, err := t.fs.Resolve(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		to, err = t.dir, nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w", t.dir, err)
	}
	rel, err := filepath.Rel(from, to)
	return filepath.Join(rel, current, l.Name), err
}

// external finds the files beside the fixed paths with the same extension.
func (t *Tree) external() ([]string, error) {
	ours, found := t.names(), map[string]bool{}
	for _, l := range t.links {
		names, err := t.list(filepath.Dir(l.Path))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			path := filepath.Join(filepath.Dir(l.Path), name)
			if ours[path] == "" && name[0] != '.' && filepath.Ext(name) == filepath.Ext(l.Path) {
				found[path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
