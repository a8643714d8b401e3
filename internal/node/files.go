package node

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/synergycall/pbxportal/internal/filetx"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// treeDir is the folder of the revisions: inside one of our two folders, hidden from Asterisk's pattern *.conf by the dot.
const treeDir = "pjsip.d/synergycall/.portal"

// writeFix ends every error of a write.
const writeFix = "give the portal's user write permission in the folders of the generated files, and check that the disk is neither full nor read-only"

// openTree returns the tree of revisions. It does not access the disk.
func openTree(dir string) (*filetx.Tree, error) {
	var links []filetx.Link
	for _, f := range pbx.GeneratedFiles() {
		links = append(links, filetx.Link{Path: filepath.Join(dir, f.Path), Name: path.Base(f.Path), Optional: f.Optional})
	}
	return filetx.Open(filepath.Join(dir, treeDir), links, filetx.OS())
}

// folders returns the folders of the generated files, below the configuration folder.
func folders() (all []string) {
	for _, f := range pbx.GeneratedFiles() {
		if dir := path.Dir(f.Path); !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	return all
}

// there returns an error if the configuration folder is missing: files written there would never be read.
func (l *Local) there() error {
	if info, err := os.Stat(l.dir); err != nil || !info.IsDir() {
		return fmt.Errorf("the configuration folder %s does not exist, or is not readable: set ASTERISK_CONFIG_DIR to the folder with Asterisk's pjsip.conf, or install Asterisk", l.dir)
	}
	return nil
}

// Lock takes the host's files for this caller, across all processes, or reports at once that they are locked.
func (l *Local) Lock() (unlock func(), held bool, err error) {
	if err := l.there(); err != nil {
		return nil, false, err
	}
	unlock, busy, err := l.tree.TryLock()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, writeFix)
	}
	return unlock, err == nil && !busy, err
}

// Recover recovers the files from an interrupted apply, and returns what it did.
func (l *Local) Recover() (did []string, err error) {
	r, err := l.tree.Recover()
	if err != nil {
		return nil, fmt.Errorf("cannot recover the files: %w: %s", err, writeFix)
	}
	for _, n := range r.Abandoned {
		did = append(did, fmt.Sprintf("revision %d, which was never completed, was set aside", n))
	}
	for _, n := range r.Damaged {
		did = append(did, fmt.Sprintf("revision %d is damaged on disk, or was edited by hand, and is kept: review the plan", n))
	}
	return did, nil
}

// Inspect reads the state of the files.
func (l *Local) Inspect() (site pbx.HostState, err error) {
	if err := l.there(); err != nil {
		return site, err
	}
	state, err := l.tree.State()
	if err != nil {
		return site, fmt.Errorf("cannot read the state of the files: %w", err)
	}
	site.Current, site.LastVerified, site.Next = state.Current, state.Good, state.Next()
	site.Doubted = state.Doubted != 0 && state.Doubted == state.Current
	if state.Begun() {
		for _, p := range state.Paths {
			if kind, drifted := drift(p); drifted {
				site.Drift = append(site.Drift, pbx.Drift{Kind: kind, Path: p.Path, Is: instead(p)})
			}
		}
	}
	if state.Current != 0 && state.Current < state.Good { // the portal only goes forwards, or back to the good one
		site.Drift = append(site.Drift, pbx.Drift{Kind: pbx.Replaced, Path: filepath.Join(l.dir, treeDir, "current")})
	}
	for _, p := range state.External {
		site.Drift = append(site.Drift, pbx.Drift{Kind: pbx.External, Path: p})
	}
	intact := state.Current != 0
	for i, f := range pbx.GeneratedFiles() {
		found := state.Paths[i]
		if found.Err != nil && (!state.Begun() || instead(found) == "") { // something that is not a file is drift, once there is something to compare with
			return site, fmt.Errorf("cannot read the state of the files: %w", found.Err)
		}
		intact = intact && found.Intact
		if found.Content != nil || !f.Optional {
			site.Files = append(site.Files, pbx.File{Path: f.Path, Content: found.Content})
		}
	}
	site.RunID = pbx.RunID(state.RunID)
	if intact && state.Good == state.Current {
		site.Seen = site.Files
	} else if g, err := l.tree.Read(state.Good); err == nil { // a damaged one shows as drift
		site.Seen = filesOf(g)
	}
	return site, nil
}

func drift(p filetx.PathState) (kind pbx.DriftKind, drifted bool) {
	switch {
	case p.InOrder():
		return "", false
	case p.Kind == filetx.Missing, p.Kind == filetx.Linked && p.Content == nil && p.Err == nil:
		return pbx.Missing, true
	case p.Kind != filetx.Linked:
		return pbx.Replaced, true
	}
	return pbx.Edited, true
}

// instead returns a description of what a fixed path, or the target of our link, holds instead of a readable file; "" if it holds one or does not exist.
func instead(p filetx.PathState) string {
	if other, ok := errors.AsType[*regular.Error](p.Err); ok {
		return other.What()
	}
	return ""
}

func filesOf(g filetx.Generation) []pbx.File {
	var files []pbx.File
	for _, f := range pbx.GeneratedFiles() {
		if content, there := g.Files[path.Base(f.Path)]; there || !f.Optional {
			files = append(files, pbx.File{Path: f.Path, Content: content})
		}
	}
	return files
}

func generation(number, parent int, id pbx.RunID, files []pbx.File) filetx.Generation {
	g := filetx.Generation{Number: number, Parent: parent, RunID: string(id), Files: map[string][]byte{}}
	for _, f := range files {
		g.Files[path.Base(f.Path)] = f.Content
	}
	return g
}

// Adopt takes over a host on which the portal was never used.
func (l *Local) Adopt(number int, id pbx.RunID, missing []pbx.File) ([]pbx.File, error) {
	if err := l.tree.Adopt(generation(number, 0, id, missing)); err != nil {
		return nil, fmt.Errorf("cannot adopt the existing files: %w: %s", err, writeFix)
	}
	g, err := l.tree.Read(number)
	if err != nil {
		return nil, fmt.Errorf("cannot read the adopted files: %w", err)
	}
	return filesOf(g), nil
}

// Overwrite takes over paths that were changed externally, once save has stored their content, and returns what is there then.
func (l *Local) Overwrite(save func(pbx.File) error) ([]pbx.File, error) {
	seen, err := l.tree.Overwrite(saver(save))
	if err != nil {
		return nil, fmt.Errorf("cannot overwrite the changed files: %w: %s", err, writeFix)
	}
	return filesOf(filetx.Generation{Files: seen}), nil
}

func saver(save func(pbx.File) error) func(string, []byte) error {
	return func(path string, content []byte) error { return save(pbx.File{Path: path, Content: content}) }
}

// Stage writes a revision, safely on disk, where it is not read yet.
func (l *Local) Stage(number, parent int, id pbx.RunID, files []pbx.File) error {
	if err := l.tree.Stage(generation(number, parent, id, files)); err != nil {
		return fmt.Errorf("%w: %s", err, writeFix)
	}
	return nil
}

// Activate activates a revision, all files atomically, and returns their paths, unless the files in place differ from over by now.
func (l *Local) Activate(number int, over []pbx.File) (paths []string, err error) {
	seen := map[string][]byte{}
	for _, f := range over {
		if f.Content != nil {
			seen[path.Base(f.Path)] = f.Content
		}
	}
	err = l.tree.Activate(number, seen)
	switch {
	case errors.Is(err, filetx.ErrDrift) && !errors.Is(err, filetx.ErrInDoubt):
		return nil, fmt.Errorf("%w: %w", pbx.ErrEdited, err)
	case errors.Is(err, filetx.ErrInDoubt):
		return nil, fmt.Errorf("%w: %w", pbx.ErrInDoubt, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, writeFix)
	}
	return l.tree.PathsOf(number)
}

// MarkVerified records that Asterisk was seen to run the current revision.
func (l *Local) MarkVerified(number int) error { return l.tree.MarkVerified(number) }

// Doubt records that it is no longer known whether Asterisk runs a revision.
func (l *Local) Doubt(number int) error { return l.tree.Doubt(number) }

// Prune drops old revisions from the disk, once save has stored the external changes in them.
func (l *Local) Prune(keep int, save func(pbx.File) error) error {
	return l.tree.Prune(keep, saver(save))
}
