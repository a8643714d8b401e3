package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/regular"
)

// Head is the newest link of the chain at some time, signed. An attacker with write access to the database can rewrite the whole chain; a head that
// was stored elsewhere before reveals that.
type Head struct {
	chain.Head
	At        time.Time
	Key       ed25519.PublicKey
	Signature []byte
}

// headJSON is a head as a line of JSON.
type headJSON struct {
	Seq       int64  `json:"seq"`
	Hash      string `json:"hash"`
	At        string `json:"at"`
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// signed returns the signed text.
func (h Head) signed() []byte {
	return fmt.Appendf(nil, "pbxportal audit head\n%d\n%s\n%s\n", h.Seq, h.Hash, h.At.UTC().Format(time.RFC3339))
}

// Valid reports whether the signature is that of the key the head names.
func (h Head) Valid() bool {
	return len(h.Key) == ed25519.PublicKeySize && ed25519.Verify(h.Key, h.signed(), h.Signature)
}

// MarshalJSON returns the head as one line.
func (h Head) MarshalJSON() ([]byte, error) {
	text := base64.StdEncoding.EncodeToString
	return json.Marshal(headJSON{h.Seq, h.Hash.String(), h.At.UTC().Format(time.RFC3339), text(h.Key), text(h.Signature)})
}

// UnmarshalJSON parses the result of MarshalJSON. It does not check the signature.
func (h *Head) UnmarshalJSON(b []byte) error {
	var j headJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	hash, hashErr := chain.ParseHash(j.Hash)
	at, atErr := time.Parse(time.RFC3339, j.At)
	key, keyErr := base64.StdEncoding.DecodeString(j.Key)
	signature, signatureErr := base64.StdEncoding.DecodeString(j.Signature)
	*h = Head{chain.Head{Seq: j.Seq, Hash: hash}, at.UTC(), key, signature}
	return errors.Join(hashErr, atErr, keyErr, signatureErr)
}

// ReadHeads reads heads, one a line, and checks their signatures: all by key, or, if it is nil, each by the key it names.
func ReadHeads(from io.Reader, key ed25519.PublicKey) (heads []Head, err error) {
	lines := bufio.NewScanner(io.LimitReader(from, LargestHeads))
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var h Head
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			return nil, fmt.Errorf("line %d is no head: %w", n, err)
		}
		if key != nil && !key.Equal(h.Key) {
			return nil, fmt.Errorf("the head of line %d, event %d, is not signed with this portal's key", n, h.Seq)
		}
		if !h.Valid() {
			return nil, fmt.Errorf("the head of line %d, event %d, was changed: its signature does not match", n, h.Seq)
		}
		heads = append(heads, h)
	}
	return heads, lines.Err()
}

// Head signs the newest link of the chain, after comparing the trail with all that is known of it; an *AlarmError describes a contradiction. The
// signing key is created if there are no signatures yet.
func (t *Trail) Head(ctx context.Context) (Head, error) {
	newest, _, err := t.Compare(ctx)
	if err != nil {
		return Head{}, err
	}
	return t.sign(newest)
}

// sign signs a link. The caller has compared the trail.
func (t *Trail) sign(link chain.Head) (Head, error) {
	key, err := t.key()
	if err != nil {
		return Head{}, err
	}
	h := Head{Head: link, At: t.now().UTC().Truncate(time.Second), Key: key.Public().(ed25519.PublicKey)} //nolint:errcheck // as documented
	h.Signature = ed25519.Sign(key, h.signed())
	return h, nil
}

// The files in the state folder.
const (
	keyFile   = "audit.key"
	headsFile = "audit-heads.jsonl"
	notedFile = "audit-newest.json" // one head, replaced every minute
)

// largestKey is larger than the key file, and LargestHeads larger than a file with all heads of a portal's life.
const (
	largestKey   = 4096
	LargestHeads = 64 << 20
)

// OwnHeads returns the heads that this portal has stored: those of its list in order, and last the one it replaces every minute.
func (t *Trail) OwnHeads() ([]Head, error) {
	list, listErr := t.readKept(headsFile)
	noted, notedErr := t.readKept(notedFile)
	for _, h := range noted {
		if !slices.ContainsFunc(list, func(one Head) bool { return one.Head == h.Head }) {
			list = append(list, h)
		}
	}
	return list, errors.Join(listErr, notedErr)
}

// readKept reads the heads of one of the files. An incomplete last line is ignored.
func (t *Trail) readKept(name string) ([]Head, error) {
	path := filepath.Join(t.stateDir, name)
	text, _, err := regular.Read(path, LargestHeads)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the heads of the audit trail: %w", err)
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	if len(text) == 0 {
		return nil, nil
	}
	key, err := t.readKey()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds signed heads, and the key that signed them, %s, is missing: restore it from its copy", path, keyFile)
	}
	if err != nil {
		return nil, err
	}
	heads, err := ReadHeads(bytes.NewReader(text), key.Public().(ed25519.PublicKey)) //nolint:errcheck // as documented
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return heads, nil
}

// WriteHead compares the trail with what is known of it and signs its newest link: it replaces the newest stored head, and, if list is set, extends
// the list in the state folder. written reports whether the list has grown.
func (t *Trail) WriteHead(ctx context.Context, list bool) (h Head, written bool, err error) {
	newest, own, err := t.Compare(ctx)
	if err != nil {
		return h, false, err
	}
	if h, err = t.sign(newest); err != nil {
		return h, false, err
	}
	line, err := json.Marshal(h)
	if err != nil {
		return h, false, fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	line = append(line, '\n')
	signed := func(one Head) bool { return one.Head == newest }
	if list && !slices.ContainsFunc(own.list, signed) {
		if err := t.appendHead(line); err != nil {
			return h, false, err
		}
		if written = true; len(own.list) == 0 {
			series := string(h.Signature) // begun by this process, whose knowledge is still valid
			t.series.Store(&series)
		}
	}
	if !slices.ContainsFunc(own.noted, signed) {
		if err := t.replace(notedFile, line); err != nil {
			return h, written, err
		}
	}
	if list {
		err = t.begun(ctx)
	}
	return h, written, err
}

// appendHead appends a line to the list, after the last complete one.
func (t *Trail) appendHead(line []byte) error {
	f, _, err := regular.Open(filepath.Join(t.stateDir, headsFile), os.O_RDWR|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	err = func() error {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil { // another process of the portal may be writing
			return err
		}
		text, err := io.ReadAll(io.LimitReader(f, LargestHeads))
		if err != nil {
			return err
		}
		if whole := bytes.LastIndexByte(text, '\n') + 1; whole < len(text) {
			if err := f.Truncate(int64(whole)); err != nil {
				return err
			}
		}
		_, err = f.Write(line)
		return errors.Join(err, f.Sync())
	}()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	return nil
}

// replace atomically replaces a file in the state folder.
func (t *Trail) replace(name string, content []byte) error {
	f, err := os.CreateTemp(t.stateDir, "."+name+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("cannot store the newest head of the audit trail: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(t.stateDir, name))
	}
	if err != nil {
		return fmt.Errorf("cannot store the newest head of the audit trail: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// readKey reads the signing key.
func (t *Trail) readKey() (ed25519.PrivateKey, error) {
	path := filepath.Join(t.stateDir, keyFile)
	text, _, err := regular.Read(path, largestKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key that signs heads of the audit trail: %w", err)
	}
	seed, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s is not a key: restore the right file, or move this one away: the portal then creates a new key, which does not match earlier heads", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// key returns the signing key, and creates it if it does not exist. Concurrent processes get the same one.
func (t *Trail) key() (ed25519.PrivateKey, error) {
	key, err := t.readKey()
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.makeKey(filepath.Join(t.stateDir, keyFile)); err != nil {
			return nil, fmt.Errorf("cannot create the key that signs heads of the audit trail: %w", err)
		}
		return t.readKey()
	}
	return key, err
}

// makeKey creates the key file atomically, unless it exists.
func (t *Trail) makeKey(path string) error {
	if err := os.MkdirAll(t.stateDir, 0o700); err != nil {
		return err
	}
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed)                              // never fails (crypto/rand)
	f, err := os.CreateTemp(t.stateDir, ".audit-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the result has its own name by then
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(seed))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) { // another process was first
		return nil
	}
	return err
}
