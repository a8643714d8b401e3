package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Parameters of a password hash, unless Config overrides them: OWASP's first choice for argon2id, 19 MiB, two passes, one lane.
const (
	argonMemory = 19 * 1024 // KiB
	argonPasses = 2
	argonLanes  = 1
	saltLength  = 16
	keyLength   = 32
)

// hashers is the number of concurrent hashes, which bounds memory; maxWaiting is how many more may wait.
const (
	hashers    = 2
	maxWaiting = 32
)

// freeAfter is the number of hashes after which their memory is freed for the next ones. The garbage collector alone would wait until garbage has
// grown to a multiple of the live heap, which is large and variable at 19 MiB a hash.
const freeAfter = 2

// hasher hashes passwords, with bounded concurrency.
type hasher struct {
	memory  uint32 // of each hash, in KiB
	slots   chan struct{}
	waiting atomic.Int32
	made    atomic.Int64
}

// newHasher returns a hasher that uses this much memory (KiB) for each hash; 0 means argonMemory.
func newHasher(memory uint32) *hasher {
	return &hasher{memory: cmp.Or(memory, argonMemory), slots: make(chan struct{}, hashers)}
}

// hash returns the hash of a password, with a new salt, in the format of the argon2 tools.
func (h *hasher) hash(ctx context.Context, password pbx.Secret) (string, error) {
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program if the system has no randomness
	p := argonParams{h.memory, argonPasses, argonLanes, salt, make([]byte, keyLength)}
	key, err := h.derive(ctx, pbx.Password(password.Reveal()), p)
	if err != nil {
		return "", err
	}
	p.key = key
	return p.text(), nil
}

// decoy returns the hash of a random password. It is verified when there is no account, so that the response takes the same time.
func (h *hasher) decoy() string {
	return argonParams{h.memory, argonPasses, argonLanes, make([]byte, saltLength), make([]byte, keyLength)}.text()
}

// verify reports whether the password matches the hash. Passwords set by earlier versions were hashed as typed.
func (h *hasher) verify(ctx context.Context, password pbx.Secret, hash string) (bool, error) {
	p, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	typed := password.Reveal()
	for _, text := range slices.Compact([]string{pbx.Password(typed), typed}) {
		key, err := h.derive(ctx, text, p)
		if err != nil || subtle.ConstantTimeCompare(key, p.key) == 1 {
			return err == nil, err
		}
	}
	return false, nil
}

func (h *hasher) derive(ctx context.Context, password string, p argonParams) ([]byte, error) {
	if h.waiting.Add(1) > hashers+maxWaiting {
		h.waiting.Add(-1)
		return nil, tooMany(2*time.Second, "too many users are signing in")
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot hash a password: %w", ctx.Err())
	}
	key := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.key))) //nolint:gosec // parseHash bounds it
	if h.made.Add(1)%freeAfter == 0 {
		runtime.GC()
	}
	return key, nil
}

type argonParams struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

// text returns the stored form of a hash.
func (p argonParams) text() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes, b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

var errHash = errors.New("cannot parse a password hash: it is not argon2id in the format of this program")

// parseHash parses a stored hash. The database may have been tampered with, so a hash cannot demand more memory or time than the program's own.
func parseHash(text string) (p argonParams, err error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, errHash
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes); err != nil || n != 3 ||
		parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.passes, p.lanes) {
		return p, errHash
	}
	if p.memory < 8 || p.memory > 256*1024 || p.passes < 1 || p.passes > 16 || p.lanes < 1 || p.lanes > 16 {
		return p, errHash
	}
	var saltErr, keyErr error
	p.salt, saltErr = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	p.key, keyErr = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || len(p.salt) < 8 || len(p.salt) > 64 || len(p.key) < 16 || len(p.key) > 64 {
		return p, errHash
	}
	return p, nil
}
