package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/regular"
)

// FileName is the name of the key file that the portal creates in its state folder.
const FileName = "secret.key"

// CredentialName is the name of the systemd credential (LoadCredential=).
const CredentialName = "secret-key"

// Source lists where keys may come from, in order of precedence: Value, File, the credential, the state folder.
type Source struct {
	Value       string // the keys themselves; the setting SECRET_KEY
	File        string // a provided file; the setting SECRET_KEY_FILE
	Credentials string // systemd's credentials folder; CREDENTIALS_DIRECTORY
	StateDir    string // the folder of the portal's own key file
}

// ErrNoKey means that there is no key yet. It is wrapped with the places that were searched.
var ErrNoKey = errors.New("there is no key")

// Load reads the keys. The error is ErrNoKey if no key was ever provided or created; a named file that is missing, or accessible to other users, is
// another error.
func (s Source) Load() (*Ring, error) {
	if strings.TrimSpace(s.Value) != "" {
		keys, err := parseKeys(strings.FieldsFunc(s.Value, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' }))
		if err != nil {
			return nil, fmt.Errorf("SECRET_KEY: %w", err)
		}
		r := &Ring{where: "the setting SECRET_KEY"}
		r.now.Store(&held{keys: keys})
		return r, nil
	}
	if s.File != "" {
		return s.load("the file "+s.File+" (SECRET_KEY_FILE)", s.File, false)
	}
	if s.Credentials != "" {
		path := filepath.Join(s.Credentials, CredentialName)
		if _, err := os.Stat(path); err == nil {
			return s.load("the credential "+CredentialName+" of the service", path, true)
		}
	}
	path := s.own()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: looked for SECRET_KEY, SECRET_KEY_FILE, the credential %s and the file %s", ErrNoKey, CredentialName, path)
	}
	return s.load("the file "+path, path, false)
}

func (s Source) own() string { return filepath.Join(s.StateDir, FileName) }

func (s Source) load(where, path string, loose bool) (*Ring, error) {
	h, err := readKeys(path, loose)
	if err != nil {
		return nil, err
	}
	r := &Ring{where: where, path: path, loose: loose}
	r.now.Store(h)
	return r, nil
}

// LoadOrMake reads the keys, and creates the key file in the state folder if there is no key. Concurrent processes get the same key. The caller
// must know that nothing is sealed yet: a new key cannot open what an earlier one sealed.
func (s Source) LoadOrMake() (*Ring, error) {
	r, err := s.Load()
	if !errors.Is(err, ErrNoKey) {
		return r, err
	}
	if err := os.MkdirAll(s.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the folder of the key file: %w", err)
	}
	// The file gets its name when it is complete and on disk, and only if no other process was first.
	path := s.own()
	dir, err := lockDir(s.StateDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // releases the lock
	if err = removeUnfinished(path); err != nil {
		return nil, fmt.Errorf("cannot create the key file: %w", err)
	}
	draft, err := writeDraft(path, NewKey()+"\n", nil)
	if err != nil {
		return nil, err
	}
	err = os.Link(draft, path)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	err = errors.Join(err, os.Remove(draft))
	if err == nil {
		err = syncDir(s.StateDir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot create the key file: %w", err)
	}
	return s.Load()
}

// NewKey returns a new key, in the form of the key file.
func NewKey() string {
	var b [keyLength]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program if the system has no randomness
	return base64.StdEncoding.EncodeToString(b[:])
}

// readKeys parses a key file: one key a line, with blank lines and comments ("#").
func readKeys(path string, loose bool) (*held, error) {
	text, info, err := regular.Read(path, maxFile)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the keys: %w", err)
	case !loose && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("the key file %s is accessible to others than its owner (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	keys, err := parseKeys(strings.Split(string(text), "\n"))
	if err != nil {
		return nil, fmt.Errorf("the key file %s: %w", path, err)
	}
	return &held{keys, info}, nil
}

// maxFile is far larger than a key file.
const maxFile = 64 << 10

// parseKeys parses keys, one an item. The text of a key must not appear in an error.
func parseKeys(lines []string) ([]*key, error) {
	var keys []*key
	for i, line := range lines {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		master, ok := decodeKey(line)
		if !ok {
			return nil, fmt.Errorf("key %d is not %d bytes in base64: create one with openssl rand -base64 %d", i+1, keyLength, keyLength)
		}
		k, err := newKey(master)
		if err != nil {
			return nil, err
		}
		for _, other := range keys {
			if other.id == k.id && !bytes.Equal(other.master, k.master) {
				return nil, fmt.Errorf("two keys have the id %s: replace one of them", k.id)
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it contains no key: add one of %d bytes in base64, such as from openssl rand -base64 %d", keyLength, keyLength)
	}
	return keys, nil
}

// decodeKey decodes a key in base64, either alphabet, or in hexadecimal digits.
func decodeKey(text string) ([]byte, bool) {
	if master, err := hex.DecodeString(text); err == nil && len(master) == keyLength {
		return master, true
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	master, err := base64.RawStdEncoding.DecodeString(text)
	return master, err == nil && len(master) == keyLength
}

// draftMark is in the name of a key file that is being written, after that of the key file.
const draftMark = ".new-"

// removeUnfinished removes unfinished key files of killed processes: they contain keys. The folder is locked.
func removeUnfinished(path string) error {
	names, err := regular.Names(filepath.Dir(path), regular.MaxNames)
	for _, name := range names {
		if strings.HasPrefix(name, filepath.Base(path)+draftMark) {
			err = errors.Join(err, os.Remove(filepath.Join(filepath.Dir(path), name)))
		}
	}
	return err
}

// lockDir locks the folder of a key file for writing. Closing the returned file releases the lock.
func lockDir(path string) (*os.File, error) {
	dir, err := regular.Folder(path)
	if err == nil {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
			err = errors.Join(err, dir.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the folder of the key file: %w", err)
	}
	return dir, nil
}

// writeDraft writes a file beside path, for its owner only, and returns its name when it is on disk. Its owner is that of like, or of the folder:
// an administrator's command must not lock out the service.
func writeDraft(path, text string, like fs.FileInfo) (draft string, err error) {
	dir := filepath.Dir(path)
	if like == nil {
		if like, err = os.Stat(dir); err != nil {
			return "", fmt.Errorf("cannot write the key file: %w", err)
		}
	}
	draft = path + draftMark + hex.EncodeToString(random(8))
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // beside the key file
	if err != nil {
		return "", fmt.Errorf("cannot write the key file: %w", err)
	}
	if owner, ok := like.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("cannot write the key file: %w", err), os.Remove(draft))
	}
	return draft, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, as above
	return b
}

func syncDir(dir string) error {
	d, err := regular.Folder(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ErrExternal means that the portal does not manage the key file.
var ErrExternal = errors.New("the keys are not managed by the portal")

// External reports whether the keys are not in a file that the portal manages.
func (r *Ring) External() bool { return r.path == "" || r.loose }

// Rotate adds a new key at the beginning of the key file, and returns its id. From then on it seals, in every process that uses the file; the
// others still open.
func (r *Ring) Rotate() (id string, err error) {
	fresh := NewKey()
	err = r.rewrite(func(keys []*key) (string, error) {
		master, _ := decodeKey(fresh)
		k, err := newKey(master)
		if err != nil {
			return "", err
		}
		id = k.id
		return keyLines(append([]*key{k}, keys...)), nil
	})
	return id, err
}

// Forget removes all keys but the first from the key file. What they sealed can never be opened again.
func (r *Ring) Forget() error {
	return r.rewrite(func(keys []*key) (string, error) { return keyLines(keys[:1]), nil })
}

func keyLines(keys []*key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k.master))
		b.WriteByte('\n')
	}
	return b.String()
}

// rewrite replaces the key file atomically, under a lock.
func (r *Ring) rewrite(change func([]*key) (string, error)) error {
	if r.External() {
		return fmt.Errorf("%w: they come from %s", ErrExternal, r.where)
	}
	path, err := filepath.EvalSymlinks(r.path)
	if err != nil {
		return fmt.Errorf("cannot find the key file: %w", err)
	}
	dir, err := lockDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // releases the lock
	if err = errors.Join(removeUnfinished(path), r.Refresh()); err != nil {
		return err
	}
	h := r.now.Load()
	text, err := change(h.keys)
	if err != nil {
		return err
	}
	draft, err := writeDraft(path, text, h.info)
	if err != nil {
		return err
	}
	if err = os.Rename(draft, path); err != nil {
		return errors.Join(fmt.Errorf("cannot replace the key file: %w", err), os.Remove(draft))
	}
	if err = syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("cannot sync the key file: %w", err)
	}
	return r.Refresh()
}
