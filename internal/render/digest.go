package render

import (
	"bytes"
	"cmp"
	"crypto/md5" //nolint:gosec // many SIP phones support no other digest
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Options holds the options for writing the files. The zero value is the default.
type Options struct {
	// DigestRealm, if not "", is the realm of digests that are written in place of the secrets. A digest suffices to register with this realm, but does
	// not reveal the secret.
	DigestRealm string
	// DigestAlgorithms lists the algorithms of the digests in the order in which Asterisk offers them, separated by commas; "" is the default.
	DigestAlgorithms string
	// Seconds; 0 is the default. A negative value of the last two means "never".
	RingTimeout    int // how long a phone rings before the call counts as not answered
	RTPTimeout     int // how long a phone in a call may send no sound before the call is ended
	RTPTimeoutHold int // likewise while the call is on hold
	// FeatureCodes states that phones can dial feature codes, and follow the states of users with lamps.
	FeatureCodes bool

	phones pbx.PhoneNetwork // of the model: Codecs and SRTP
}

// seconds returns a timeout as Asterisk reads it.
func seconds(n, unset int) string { return strconv.Itoa(max(cmp.Or(n, unset), 0)) }

// ring returns how long a phone rings, in seconds.
func (o Options) ring() int { return cmp.Or(o.RingTimeout, pbx.DefaultRingTimeout) }

// algorithms returns DigestAlgorithms or its default.
func (o Options) algorithms() string { return cmp.Or(o.DigestAlgorithms, pbx.DefaultDigestAlgorithms) }

// auth returns the settings of a user's auth object, with the secret or its digests.
func (o Options) auth(p phone, id string) []setting {
	if o.DigestRealm == "" {
		return passwordAuth(p, id)
	}
	settings := []setting{{"type", "auth"}, {"auth_type", "digest"}, {"username", id}, {"realm", o.DigestRealm}}
	for _, d := range digests(id, o.DigestRealm, p.secret.Reveal()) {
		if algorithm, _, _ := strings.Cut(d, ":"); d == "" || slices.Contains(strings.Split(o.algorithms(), ","), algorithm) {
			settings = append(settings, setting{"password_digest", d})
		}
	}
	// Asterisk sends its challenges in this order, and a phone answers the first that it supports. When Asterisk itself is challenged it must use only
	// algorithms it has a digest for.
	return seal(append(settings, setting{"supported_algorithms_uas", o.algorithms()}, setting{"supported_algorithms_uac", o.algorithms()},
		setting{pbx.HashAttribute, ""}))
}

// AuthHash returns the hash that Asterisk has of the auth object of a user's first phone.
func (o Options) AuthHash(u pbx.User) string {
	id := strconv.Itoa(int(u.Extension.Number))
	return object{settings: o.auth(phone{secret: u.Extension.Secret}, id)}.hash()
}

// digests returns the digests of a secret, each with its algorithm. That of an empty secret is an empty text, which encode rejects.
func digests(user, realm, secret string) []string {
	if secret == "" {
		return []string{""}
	}
	text := []byte(user + ":" + realm + ":" + secret)
	weak, strong := md5.Sum(text), sha256.Sum256(text) //nolint:gosec // as above
	return []string{"MD5:" + hex.EncodeToString(weak[:]), "SHA-256:" + hex.EncodeToString(strong[:])}
}

// sameSecret reports whether two auth objects accept the same secret, as password or digest. If that cannot be determined, because the digests
// are of different realms or have no algorithm in common, they count as different.
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
	one, other := proof(a, b), proof(b, a)
	if value(a, "realm") == "" && value(b, "realm") == "" { // passwords
		return slices.Equal(one, other)
	}
	shared := false
	for _, d := range one {
		algorithm, _, _ := strings.Cut(d, ":")
		switch {
		case slices.Contains(other, d):
			shared = true
		case slices.ContainsFunc(other, func(o string) bool { return strings.HasPrefix(o, algorithm+":") }):
			return false
		}
	}
	return shared
}

// HoldsPasswords reports whether the files contain a plaintext password.
func HoldsPasswords(files []pbx.File) bool {
	for line := range bytes.Lines(pbx.ContentOf(files, pbx.PJSIPPath)) {
		key, value, _ := bytes.Cut(line, []byte("="))
		if string(bytes.TrimSpace(key)) == "password" && len(bytes.Trim(value, "> \t\r\n")) > 0 {
			return true
		}
	}
	return false
}
