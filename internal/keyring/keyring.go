// Package keyring seals texts that must not lie open at rest, such as SIP secrets in a database, and opens them again. It knows where
// keys come from and how they are kept, and does not know what is sealed with them.
//
// A sealed text names its key and is bound to its purpose and its owner: copied into another row, it does not open. A key file may
// hold several keys. The first seals, all open; so a key is replaced without a moment in which anything cannot be read.
package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

// Mark begins everything that is sealed: what it is, and the version of its form. Behind it come the id of the key, a colon, and
// nonce and ciphertext, in a text as unpadded base64url.
const Mark = "sealed:1:"

// HeaderLength is how long the part before nonce and ciphertext is: the mark, the id of the key and a colon.
const HeaderLength = len(Mark) + idLength + 1

const (
	keyLength   = 32 // AES-256
	idLength    = 8  // hexadecimal digits
	overhead    = 12 + 16
	fingerprint = 8 // bytes of a fingerprint
)

// MaxText gives the length of the longest text that fits, sealed, into a column of this many characters.
func MaxText(column int) int { return (column-HeaderLength)*3/4 - overhead }

// KeyOf gives the id of the key that something was sealed with; ok is false when it is not sealed.
func KeyOf(sealed string) (id string, ok bool) {
	if len(sealed) < HeaderLength || sealed[:len(Mark)] != Mark || sealed[HeaderLength-1] != ':' {
		return "", false
	}
	return sealed[len(Mark) : HeaderLength-1], true
}

// FileError says that the key file, which was there, is gone or broken.
type FileError struct{ cause error }

// Error names the file and the cure.
func (e *FileError) Error() string { return e.cause.Error() }

// Unwrap gives the cause.
func (e *FileError) Unwrap() error { return e.cause }

// UnknownKeyError says that something was sealed with a key that is not at hand.
type UnknownKeyError struct {
	ID    string // of the key that is missing
	Where string // where it was looked for
}

// Error names the key and the cure.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("this was sealed with key %s, which is not there: looked in %s; put that key back there, as a further line behind the first",
		e.ID, e.Where)
}

// key is one key with what is derived from it. Nothing is ever sealed with the key itself: each purpose has one of its own.
type key struct {
	id     string
	master []byte
	boxes  sync.Map // purpose → cipher.AEAD
}

func newKey(master []byte) (*key, error) {
	k := &key{master: master}
	id, err := k.derive("id", idLength/2)
	k.id = hex.EncodeToString(id)
	return k, err
}

func (k *key) derive(label string, length int) ([]byte, error) {
	derived, err := hkdf.Key(sha256.New, k.master, nil, "pbxportal keyring 1 "+label, length)
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key: %w", err)
	}
	return derived, nil
}

// box gives the cipher of a purpose.
func (k *key) box(purpose string) (cipher.AEAD, error) {
	if box, ok := k.boxes.Load(purpose); ok {
		return box.(cipher.AEAD), nil //nolint:errcheck,forcetypeassert // nothing else is stored there
	}
	derived, err := k.derive("seal "+purpose, keyLength)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("cannot use a key: %w", err)
	}
	box, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("cannot use a key: %w", err)
	}
	k.boxes.Store(purpose, box)
	return box, nil
}

// held is a state of the key file.
type held struct {
	keys []*key      // the first seals
	info fs.FileInfo // of the file they were read from; nil without one
}

func (h *held) find(id string) *key {
	for _, k := range h.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// Ring holds the keys. It is safe for concurrent use, and notices by itself when another process has changed the file they come from.
type Ring struct {
	where string // for people
	path  string // of the key file; "" when the keys are in no file
	loose bool   // the permissions of the file are somebody else's business
	now   atomic.Pointer[held]
	turn  sync.Mutex // one reading at a time
}

// Where says where the keys come from.
func (r *Ring) Where() string { return r.where }

// Current gives the id of the key that seals.
func (r *Ring) Current() string { return r.now.Load().keys[0].id }

// IDs gives the ids of all keys, that of the sealing one first.
func (r *Ring) IDs() []string {
	var ids []string
	for _, k := range r.now.Load().keys {
		ids = append(ids, k.id)
	}
	return ids
}

// Has reports whether the key of this id is at hand, perhaps since a moment ago.
func (r *Ring) Has(id string) bool {
	k, err := r.key(id)
	return k != nil && err == nil
}

// Refresh looks whether the key file was changed, and reads it again if so. Sealing does so by itself. An error means that the file is
// gone or broken, and is a FileError: what is at hand still opens, but nothing must be sealed that perhaps nobody could open later.
func (r *Ring) Refresh() error {
	if r.path == "" {
		return nil
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	info, err := os.Stat(r.path)
	if err != nil {
		return &FileError{fmt.Errorf("cannot read the keys: %w: put the file back from its copy", err)}
	}
	if old := r.now.Load().info; old != nil && os.SameFile(old, info) && old.ModTime().Equal(info.ModTime()) && old.Size() == info.Size() {
		return nil
	}
	h, err := readKeys(r.path, r.loose)
	if err != nil {
		return &FileError{err}
	}
	r.now.Store(h)
	return nil
}

// key gives the key of this id, looking once more into the file when it is not at hand.
func (r *Ring) key(id string) (*key, error) {
	if k := r.now.Load().find(id); k != nil {
		return k, nil
	}
	err := r.Refresh()
	if k := r.now.Load().find(id); k != nil {
		return k, nil
	}
	return nil, errors.Join(&UnknownKeyError{id, r.where}, err)
}

// Seal seals a text for a purpose, bound to its owner. The purpose is a word of the caller's, the owner what names the row.
func (r *Ring) Seal(purpose, owner, text string) (string, error) {
	sealed, err := r.SealBytes(purpose, owner, []byte(text))
	if err != nil {
		return "", err
	}
	return string(sealed[:HeaderLength]) + base64.RawURLEncoding.EncodeToString(sealed[HeaderLength:]), nil
}

// SealBytes does as Seal, for bytes.
func (r *Ring) SealBytes(purpose, owner string, content []byte) ([]byte, error) {
	if err := r.Refresh(); err != nil {
		return nil, err
	}
	k := r.now.Load().keys[0]
	box, err := k.box(purpose)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 0, HeaderLength+overhead+len(content))
	sealed = append(append(append(sealed, Mark...), k.id...), ':')
	return box.Seal(sealed, nil, content, []byte(owner)), nil //nolint:gosec // the cipher makes a random nonce for each
}

// Open opens a text that was sealed for this purpose and owner.
func (r *Ring) Open(purpose, owner, sealed string) (string, error) {
	return r.Opener(purpose).Open(owner, []byte(sealed))
}

// OpenBytes opens what SealBytes gave.
func (r *Ring) OpenBytes(purpose, owner string, sealed []byte) ([]byte, error) {
	o := r.Opener(purpose)
	if err := o.use(sealed); err != nil {
		return nil, err
	}
	content, err := o.box.Open(nil, nil, sealed[HeaderLength:], []byte(owner))
	if err != nil {
		return nil, o.broken()
	}
	return content, nil
}

// Opener opens many texts of one purpose, one after the other, with as little effort as can be. It is for one goroutine.
type Opener struct {
	ring    *Ring
	purpose string
	id      string // of the key in use
	box     cipher.AEAD
	raw     []byte
	owner   []byte
	texts   strings.Builder // opened texts, one behind the other: a block of memory for many
	opened  int
}

// Opener gives one for a purpose.
func (r *Ring) Opener(purpose string) *Opener { return &Opener{ring: r, purpose: purpose} }

// Open opens a text that was sealed for the opener's purpose and this owner.
func (o *Opener) Open(owner string, sealed []byte) (string, error) {
	if err := o.use(sealed); err != nil {
		return "", err
	}
	var err error
	if o.raw, err = base64.RawURLEncoding.AppendDecode(o.raw[:0], sealed[HeaderLength:]); err != nil {
		return "", o.broken()
	}
	o.owner = append(o.owner[:0], owner...)
	plain, err := o.box.Open(o.raw[:0], nil, o.raw, o.owner)
	if err != nil {
		return "", o.broken()
	}
	return o.keep(plain), nil
}

// block is the size of a block of opened texts; the first ones are smaller.
const block = 4096

// keep makes a text of bytes that will be overwritten.
func (o *Opener) keep(plain []byte) string {
	o.opened++
	if o.texts.Cap()-o.texts.Len() < len(plain) {
		o.texts.Reset() // the texts in the old block keep that alive
		o.texts.Grow(max(len(plain), min(block, 2*o.opened*len(plain))))
	}
	from := o.texts.Len()
	_, _ = o.texts.Write(plain) // it fits, and never fails
	return o.texts.String()[from:]
}

// use takes the key that something was sealed with.
func (o *Opener) use(sealed []byte) error {
	if len(sealed) >= HeaderLength && o.box != nil && string(sealed[len(Mark):HeaderLength-1]) == o.id && string(sealed[:len(Mark)]) == Mark {
		return nil
	}
	id, ok := KeyOf(string(sealed[:min(len(sealed), HeaderLength)]))
	if !ok {
		return errors.New("this is not sealed")
	}
	k, err := o.ring.key(id)
	if err != nil {
		return err
	}
	if o.box, err = k.box(o.purpose); err != nil {
		return err
	}
	o.id = id
	return nil
}

// broken is why something does not open although its key is there.
func (o *Opener) broken() error {
	return fmt.Errorf("this does not open with key %s: it was changed, or belongs to somebody else", o.id)
}

// Fingerprint names a text without telling it: the same text has the same fingerprint as long as the key is the same, whose id stands
// before the colon. Fingerprints of two purposes have nothing to do with each other.
func (r *Ring) Fingerprint(purpose, text string) (string, error) {
	k := r.now.Load().keys[0]
	derived, err := k.derive("fingerprint "+purpose, keyLength)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, derived)
	_, _ = mac.Write([]byte(text)) // a hash takes everything
	return k.id + ":" + hex.EncodeToString(mac.Sum(nil)[:fingerprint]), nil
}
