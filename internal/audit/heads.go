package audit

import (
	"bufio"
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
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/regular"
)

// Head is the newest link of the chain at some time, signed. Whoever can write to the database can write the whole chain anew; a head
// that was brought elsewhere before gives that away.
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

// signed is the text a signature is for.
func (h Head) signed() []byte {
	return fmt.Appendf(nil, "pbxportal audit head\n%d\n%s\n%s\n", h.Seq, h.Hash, h.At.UTC().Format(time.RFC3339))
}

// Valid reports whether the signature is that of the key the head names.
func (h Head) Valid() bool {
	return len(h.Key) == ed25519.PublicKeySize && ed25519.Verify(h.Key, h.signed(), h.Signature)
}

// MarshalJSON gives the head as one line.
func (h Head) MarshalJSON() ([]byte, error) {
	text := base64.StdEncoding.EncodeToString
	return json.Marshal(headJSON{h.Seq, h.Hash.String(), h.At.UTC().Format(time.RFC3339), text(h.Key), text(h.Signature)})
}

// UnmarshalJSON reads what MarshalJSON gives. It does not check the signature.
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

// ReadHeads reads heads, one on a line, and checks their signatures: all must be of this key, or, where it is nil, of the key each
// names.
func ReadHeads(from io.Reader, key ed25519.PublicKey) (heads []Head, err error) {
	lines := bufio.NewScanner(io.LimitReader(from, largestHeads))
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var h Head
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			return nil, fmt.Errorf("line %d is no head: %w", n, err)
		}
		if key != nil && !key.Equal(h.Key) {
			return nil, fmt.Errorf("the head of line %d, event %d, is signed with a key that is not this portal's", n, h.Seq)
		}
		if !h.Valid() {
			return nil, fmt.Errorf("the head of line %d, event %d, was changed: its signature does not fit", n, h.Seq)
		}
		heads = append(heads, h)
	}
	return heads, lines.Err()
}

// Head signs the newest link of the chain as it is now. The signing key is made when it is not there yet.
func (t *Trail) Head(ctx context.Context) (Head, error) {
	newest, err := t.store.EventHead(ctx)
	if err != nil {
		return Head{}, err
	}
	key, err := t.key()
	if err != nil {
		return Head{}, err
	}
	h := Head{Head: newest, At: t.now().UTC().Truncate(time.Second), Key: key.Public().(ed25519.PublicKey)} //nolint:errcheck // its documentation says so
	h.Signature = ed25519.Sign(key, h.signed())
	return h, nil
}

// The files in the state folder.
const (
	keyFile   = "audit.key"
	headsFile = "audit-heads.jsonl"
)

// largestKey is more than the file of the key has, and largestHeads more than all heads of a portal's life.
const (
	largestKey   = 4096
	largestHeads = 1 << 30
)

// OwnHeads reads the heads that this portal has written down, none where it has not yet.
func (t *Trail) OwnHeads() ([]Head, error) {
	f, _, err := regular.Open(filepath.Join(t.stateDir, headsFile), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the heads of the audit trail: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	key, err := t.key()
	if err != nil {
		return nil, err
	}
	heads, err := ReadHeads(f, key.Public().(ed25519.PublicKey)) //nolint:errcheck // its documentation says so
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return heads, nil
}

// WriteHead signs the newest link and adds it to the list in the state folder, if the chain has grown since the last one there.
func (t *Trail) WriteHead(ctx context.Context) (h Head, written bool, err error) {
	if h, err = t.Head(ctx); err != nil {
		return h, false, err
	}
	if earlier, err := t.OwnHeads(); err == nil && len(earlier) > 0 && earlier[len(earlier)-1].Head == h.Head {
		return h, false, nil
	}
	line, err := json.Marshal(h)
	if err != nil {
		return h, false, fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	f, _, err := regular.Open(filepath.Join(t.stateDir, headsFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return h, false, fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return h, false, fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	return h, true, nil
}

// key gives the signing key, and makes it when it is not there yet. Two processes that do so at once get the same one.
func (t *Trail) key() (ed25519.PrivateKey, error) {
	path := filepath.Join(t.stateDir, keyFile)
	text, _, err := regular.Read(path, largestKey)
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.makeKey(path); err == nil {
			text, _, err = regular.Read(path, largestKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the key that signs heads of the audit trail: %w", err)
	}
	seed, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s is not a key: put the right file back, or move this one away and a new key is made, which does not fit earlier heads", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// makeKey makes the key file, whole or not at all, and leaves one that is there.
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
	defer os.Remove(f.Name()) //nolint:errcheck // what matters has a name of its own by then
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(seed))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) { // another process was first
		return nil
	}
	return err
}
