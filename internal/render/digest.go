package render

import (
	"bytes"
	"crypto/md5" //nolint:gosec // SIP phones know no better digest, most of them
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Style says how the files are written where there is a choice.
type Style struct {
	// DigestRealm, when it is not "", has digests of the secrets for this realm written in place of the secrets. Whoever reads them can
	// register as the phone, for that realm, but does not learn the secret.
	DigestRealm string
}

// auth is what the phone proves itself with.
func (s Style) auth(u pbx.User) []setting {
	if s.DigestRealm == "" {
		return auth(u)
	}
	id := strconv.Itoa(int(u.Extension.Number))
	settings := []setting{{"type", "auth"}, {"auth_type", "digest"}, {"username", id}, {"realm", s.DigestRealm}}
	for _, d := range digests(id, s.DigestRealm, u.Extension.Secret.Reveal()) {
		settings = append(settings, setting{"password_digest", d})
	}
	// What Asterisk asks for, the better first: a phone takes the first it knows. As a caller it must offer no other than it has.
	return seal(append(settings, setting{"supported_algorithms_uas", "SHA-256,MD5"}, setting{"supported_algorithms_uac", "SHA-256,MD5"},
		setting{pbx.HashAttribute, ""}))
}

// digests gives what Asterisk needs of a secret to check a phone. An empty secret has none, so that it is refused as one is.
func digests(user, realm, secret string) []string {
	if secret == "" {
		return []string{""}
	}
	text := []byte(user + ":" + realm + ":" + secret)
	weak, strong := md5.Sum(text), sha256.Sum256(text) //nolint:gosec // as above
	return []string{"MD5:" + hex.EncodeToString(weak[:]), "SHA-256:" + hex.EncodeToString(strong[:])}
}

// sameSecret reports whether two auth objects take the same secret, in whatever form it stands there. Where that cannot be told, because
// the digests are of different realms, they count as different.
func sameSecret(a, b []setting) bool {
	proof := func(settings []setting, like []setting) []string {
		var all []string
		for _, s := range settings {
			switch s.key {
			case "password_digest":
				all = append(all, s.value)
			case "password":
				if realm := value(like, "realm"); realm != "" {
					return digests(value(settings, "username"), realm, s.value)
				}
				all = append(all, s.value)
			}
		}
		return all
	}
	if a, b := value(a, "realm"), value(b, "realm"); a != "" && b != "" && a != b {
		return false
	}
	return slices.Equal(proof(a, b), proof(b, a))
}

// HoldsPasswords reports whether a password stands in the files, readable as it is.
func HoldsPasswords(files []pbx.File) bool {
	for line := range bytes.Lines(pbx.ContentOf(files, pbx.PJSIPPath)) {
		key, value, _ := bytes.Cut(line, []byte("="))
		if string(bytes.TrimSpace(key)) == "password" && len(bytes.Trim(value, "> \t\r\n")) > 0 {
			return true
		}
	}
	return false
}
