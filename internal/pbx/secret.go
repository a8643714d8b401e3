package pbx

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// Secret is a secret text, such as a SIP password. It cannot be printed, logged or marshalled by accident: everything except Reveal shows
// "[hidden]".
type Secret struct{ text string }

const hidden = "[hidden]"

// NewSecret returns a secret of 16 random bytes in unpadded base64url: 22 characters.
func NewSecret() Secret {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program if the system has no randomness
	return Secret{base64.RawURLEncoding.EncodeToString(b[:])}
}

// SecretFrom wraps a secret that came from the database.
func SecretFrom(text string) Secret { return Secret{text} }

// Reveal returns the secret itself. Each call is a place where it can leave the program: grep for it.
func (s Secret) Reveal() string { return s.text }

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return hidden }

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the secret from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
