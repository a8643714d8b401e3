// Package keyring encrypts ("seals") texts at rest, such as SIP secrets in a database, and decrypts ("opens") them. It loads and stores the keys,
// and knows nothing of what is sealed with them.
//
// A sealed text names its key and is bound to its purpose and its owner: copied into another row, it cannot be opened. A key file may contain
// several keys. The first one seals, all of them open; so a key is replaced without interruption.
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

// Mark begins all sealed content: its type, and the version of its form. It is followed by the id of the key, a colon, and nonce and ciphertext, in
// a text as unpadded base64url.
const Mark = "sealed:1:"

// HeaderLength is the length of the part before nonce and ciphertext: the mark, the id of the key and a colon.
const HeaderLength = len(Mark) + idLength + 1

const (
	keyLength   = 32 // AES-256
	idLength    = 8  // hexadecimal digits
	overhead    = 12 + 16
	fingerprint = 8 // bytes of a fingerprint
)

// MaxText returns the maximum length of a text that fits, sealed, into a column of this many characters.
func MaxText(column int) int { return (column-HeaderLength)*3/4 - overhead }

// KeyOf returns the id of the key that sealed content; ok is false if it is not sealed.
func KeyOf(sealed string) (id string, ok bool) {
	if len(sealed) < HeaderLength || sealed[:len(Mark)] != Mark || sealed[HeaderLength-1] != ':' {
		return "", false
	}
	return sealed[len(Mark) : HeaderLength-1], true
}

// FileError means that the key file is missing or broken.
type FileError struct{ cause error }

// Error names the file and the remedy.
func (e *FileError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.cause }

// UnknownKeyError means that content was sealed with a key that is not available.
type UnknownKeyError struct {
	ID    string // of the missing key
	Where string // where it was looked for
}

// Error names the key and the remedy.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("encrypted with key %s, which is not in %s: add that key there, as a further line after the first",
		e.ID, e.Where)
}

// key is a key with the keys derived from it. The key itself never seals: each purpose has a derived key.
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

// box returns the cipher of a purpose.
func (k *key) box(purpose string) (cipher.AEAD, error) {
	if box, ok := k.boxes.Load(purpose); ok {
		return box.(cipher.AEAD), nil //nolint:errcheck,forcetypeassert // no other type is stored
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

// held is the content of the key file.
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

// Ring holds the keys. It is safe for concurrent use, and reloads the key file when another process has changed it.
type Ring struct {
	where string // for display
	path  string // of the key file; "" if the keys are in no file
	loose bool   // do not check the permissions of the file
	now   atomic.Pointer[held]
	turn  sync.Mutex // one reload at a time
}

// Where returns where the keys come from.
func (r *Ring) Where() string { return r.where }

// Current returns the id of the key that seals.
func (r *Ring) Current() string { return r.now.Load().keys[0].id }

// IDs returns the ids of all keys, that of the sealing key first.
func (r *Ring) IDs() []string {
	var ids []string
	for _, k := range r.now.Load().keys {
		ids = append(ids, k.id)
	}
	return ids
}

// Has reports whether the key is available, reloading the key file if necessary.
func (r *Ring) Has(id string) bool {
	k, err := r.key(id)
	return k != nil && err == nil
}

// Refresh reloads the key file if it has changed. Sealing does so itself. An error means that the file is missing or broken, and is a FileError:
// the loaded keys still open, but sealing would risk content that cannot be opened later.
func (r *Ring) Refresh() error {
	if r.path == "" {
		return nil
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	info, err := os.Stat(r.path)
	if err != nil {
		return &FileError{fmt.Errorf("cannot read the keys: %w: restore the file from its copy", err)}
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

// key returns the key of this id, reloading the file if it is not known.
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

// Seal seals a text for a purpose, bound to its owner. The purpose is a constant of the caller, the owner identifies the row.
func (r *Ring) Seal(purpose, owner, text string) (string, error) {
	sealed, err := r.SealBytes(purpose, owner, []byte(text))
	if err != nil {
		return "", err
	}
	return string(sealed[:HeaderLength]) + base64.RawURLEncoding.EncodeToString(sealed[HeaderLength:]), nil
}

// SealBytes is Seal for bytes.
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
	return box.Seal(sealed, nil, content, []byte(owner)), nil //nolint:gosec // the cipher generates a random nonce
}

// Open opens a text that was sealed for this purpose and owner.
func (r *Ring) Open(purpose, owner, sealed string) (string, error) {
	return r.Opener(purpose).Open(owner, []byte(sealed))
}

// OpenBytes opens the result of SealBytes.
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

// Opener opens many texts of one purpose at minimal cost. It is for one goroutine.
type Opener struct {
	ring    *Ring
	purpose string
	id      string // of the key in use
	box     cipher.AEAD
	raw     []byte
	owner   []byte
	texts   strings.Builder // opened texts, concatenated: one block of memory for many
	opened  int
}

// Opener returns an Opener for a purpose.
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

// keep copies bytes that will be overwritten into a text.
func (o *Opener) keep(plain []byte) string {
	o.opened++
	if o.texts.Cap()-o.texts.Len() < len(plain) {
		o.texts.Reset() // texts in the old block keep it alive
		o.texts.Grow(max(len(plain), min(block, 2*o.opened*len(plain))))
	}
	from := o.texts.Len()
	_, _ = o.texts.Write(plain) // within capacity; never fails
	return o.texts.String()[from:]
}

// use selects the key that sealed the content.
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

// broken returns the error of content that cannot be opened although its key is available.
func (o *Opener) broken() error {
	return fmt.Errorf("cannot open this with key %s: it was changed, or belongs to another owner", o.id)
}

// Fingerprint identifies a text without revealing it: equal texts have equal fingerprints as long as the key, whose id precedes the colon, is the
// same. Fingerprints of different purposes are unrelated.
func (r *Ring) Fingerprint(purpose, text string) (string, error) {
	k := r.now.Load().keys[0]
	derived, err := k.derive("fingerprint "+purpose, keyLength)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, derived)
	_, _ = mac.Write([]byte(text)) // a hash never fails
	return k.id + ":" + hex.EncodeToString(mac.Sum(nil)[:fingerprint]), nil
}
