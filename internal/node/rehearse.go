package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// configModule lets Asterisk report what it finds in a configuration file.
const configModule = "func_config.so"

// RehearsalError says why an apply would fail on this host, and what to do about it.
type RehearsalError struct {
	Detail, Fix string
}

func (e *RehearsalError) Error() string { return e.Detail + ": " + e.Fix }

// rehearsalError returns that error for what an apply would have returned.
func rehearsalError(err error, fix string) error {
	return &RehearsalError{strings.TrimSuffix(err.Error(), ": "+writeFix), fix}
}

// Rehearse does on this host what an apply of the files does, through the same code, except for what Asterisk would notice: it takes the lock (which
// must then exclude a second caller), recovers, stages the files, replaces the pointers to the revision in place by the same, has Asterisk read a file
// that was created like the staged ones, and asks whether a reload would be carried out. It leaves no new file or folder behind. Its error is a
// *RehearsalError.
func (l *Local) Rehearse(ctx context.Context, number, parent int, files []pbx.File) error {
	if err := l.there(); err != nil {
		return rehearsalError(err, "set ASTERISK_CONFIG_DIR")
	}
	made := l.missingFolders()
	unlock, held, err := l.Lock()
	switch {
	case err != nil:
		return rehearsalError(err, l.rightsFix(ctx))
	case !held:
		return &RehearsalError{"another process holds the lock of the files: an apply is running on this host", "wait for it to end, and run doctor again"}
	}
	defer unlock()
	defer l.removeFolders(made) // first, so that a process which takes the lock next creates its own
	if again, held, _ := l.Lock(); held {
		again()
		return &RehearsalError{
			"the lock " + filepath.Join(l.dir, treeDir, "lock") + " was taken twice: the file system of this folder does not support locks",
			"mount it with locks (NFS without nolock), or put the configuration folder on a disk of this host",
		}
	}
	if _, err := l.Recover(); err != nil {
		return rehearsalError(err, l.rightsFix(ctx))
	}
	nonce := rand.Text()
	looked := error(nil)
	err = l.tree.Rehearse(generation(number, parent, "", files), []byte("[rehearsal]\nportal = "+nonce+"\n"), func(path string) error {
		looked = l.readBack(ctx, path, nonce, files)
		return looked
	})
	switch {
	case looked != nil:
		return looked
	case err != nil:
		return rehearsalError(fmt.Errorf("an apply could not write the files: %w", err), l.rightsFix(ctx)+"; check also that the disk is neither full nor read-only")
	}
	return nil
}

// missingFolders returns the missing folders that Lock and an apply create, the innermost first.
func (l *Local) missingFolders() (missing []string) {
	names := []string{treeDir + "/gen", treeDir + "/lock", treeDir}
	for _, dir := range folders() {
		names = append(names, dir, filepath.Dir(dir))
	}
	for _, name := range names {
		if path := filepath.Join(l.dir, name); !exists(path) {
			missing = append(missing, path)
		}
	}
	return missing
}

// removeFolders removes those that are empty.
func (l *Local) removeFolders(names []string) {
	for _, name := range names {
		_ = os.Remove(name) // a folder that something else was put into stays
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// readBack finds out whether Asterisk reads the file at path, which holds nonce and was created like the files of an apply, whether it can load the
// administrator's files as they are, supports the options that are written, and would carry out a reload.
func (l *Local) readBack(ctx context.Context, path, nonce string, files []pbx.File) error {
	version, err := l.looks.Version(ctx)
	if err != nil {
		return &RehearsalError{err.Error(), "start Asterisk, or correct ASTERISK_CONTROL"}
	}
	if option, since := tooNew(files, version); option != "" {
		return &RehearsalError{
			"the portal writes the option " + option + ", which Asterisk " + version + " does not know: it came with " + since,
			"install Asterisk 22.2 or newer; without SECRET_MODE=digest the option is not written",
		}
	}
	if owner, ok := l.looks.Owner(ctx); ok {
		names := []string{path}
		for _, dir := range folders() {
			names = append(names, filepath.Join(l.dir, dir))
		}
		for _, name := range names {
			if why := unreadable(owner, name); why != "" {
				return &RehearsalError{"after an apply " + why, l.rightsFix(ctx) + "; the folders above these must be accessible to all users (chmod o+x)"}
			}
		}
	}
	loaded, err := l.looks.Modules(ctx)
	if err != nil {
		return &RehearsalError{err.Error(), "run in Asterisk's console: module show"}
	}
	if slices.Contains(loaded, configModule) {
		if err := l.readByAsterisk(ctx, path, nonce); err != nil {
			return err
		}
	}
	if _, state := patiently(ctx, l.control.Ready); state != asterisk.Reloaded {
		return &RehearsalError{"a reload would not be carried out: " + state.Sentence(), "check Asterisk, and run doctor again"}
	}
	return nil
}

// readByAsterisk has Asterisk itself read files.
func (l *Local) readByAsterisk(ctx context.Context, path, nonce string) error {
	name, err := filepath.Rel(l.dir, path)
	if err != nil {
		return &RehearsalError{err.Error(), "set ASTERISK_CONFIG_DIR"}
	}
	value, _, err := l.looks.Setting(ctx, name, "rehearsal", "portal")
	switch {
	case err != nil:
		return &RehearsalError{err.Error(), "check Asterisk, and run doctor again"}
	case value != nonce:
		dir, err := l.looks.ConfigDir(ctx)
		if there, linkErr := filepath.EvalSymlinks(dir); err == nil && linkErr == nil && there != l.real() {
			f := l.otherFolder(dir)
			return &RehearsalError{f.Detail, f.Fix}
		}
		return &RehearsalError{
			"Asterisk was asked to read a file that was created like the files of an apply, " + path + ", and could not",
			l.rightsFix(ctx) + "; if that changes nothing, check whether Asterisk runs in a container, or under a profile (AppArmor, SELinux), that hides the folder",
		}
	}
	owner, known := l.looks.Owner(ctx)
	for _, f := range pbx.GeneratedFiles() {
		parent := f.Parent
		there, err := filepath.EvalSymlinks(filepath.Join(l.dir, f.Path))
		if err != nil || known && unreadable(owner, there) != "" {
			continue // a file that an apply replaces prevents Asterisk from loading the one that includes it
		}
		text, _, err := regular.Read(filepath.Join(l.dir, parent), largestConfig)
		if err != nil {
			continue
		}
		category, key := landmark(string(text))
		if category == "" {
			continue
		}
		switch _, ok, err := l.looks.Setting(ctx, parent, category, key); {
		case err != nil:
			return &RehearsalError{err.Error(), "check Asterisk, and run doctor again"}
		case !ok:
			return &RehearsalError{
				"Asterisk cannot load " + filepath.Join(l.dir, parent) + " as it is: a line of it, or of a file it includes, is not understood, or an included file does not exist",
				"Asterisk's log names the file and the line; correct it, and run doctor again",
			}
		}
	}
	return nil
}

// landmark returns a setting in the text that is not a secret, to ask Asterisk for.
func landmark(text string) (category, key string) {
	for _, line := range plainLines(text) {
		if strings.HasPrefix(line, "[") {
			name, rest, _ := strings.Cut(line[1:], "]")
			if category = name; rest != "" { // a template, or an addition
				category = ""
			}
			continue
		}
		key, _, found := strings.Cut(line, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if found && category != "" && slices.Contains([]string{"type", "static", "writeprotect", "autofallthrough", "clearglobalvars", "exten"}, key) {
			return category, key
		}
	}
	return "", ""
}

// option is an option written by the portal that not all versions of every supported branch of Asterisk have.
type option struct {
	name  string
	since map[int]int // the first minor version with it, by branch
}

func newerOptions() []option {
	digests := map[int]int{20: 12, 21: 7, 22: 2}
	return []option{{"password_digest", digests}, {"supported_algorithms_uas", digests}, {"supported_algorithms_uac", digests}}
}

// tooNew returns the first option in the files that an Asterisk of this version does not support, and since when there is one.
func tooNew(files []pbx.File, version string) (name, since string) {
	parts := strings.SplitN(version, ".", 3)
	major, err := strconv.Atoi(parts[0])
	minor := 0
	if err == nil && len(parts) > 1 {
		minor, err = strconv.Atoi(strings.TrimRightFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' }))
	}
	if err != nil { // a custom build, which may support all
		return "", ""
	}
	for _, o := range newerOptions() {
		newest, first := 0, ""
		for branch, at := range o.since {
			if branch > newest {
				newest, first = branch, fmt.Sprintf("Asterisk %d.%d", branch, at)
			}
		}
		at, known := o.since[major]
		if major > newest || known && minor >= at {
			continue
		}
		for _, f := range files {
			if bytes.Contains(f.Content, []byte("\n"+o.name+"=")) {
				return o.name, first
			}
		}
	}
	return "", ""
}
