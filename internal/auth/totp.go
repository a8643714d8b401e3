package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// issuer is the name that authenticators display above the code.
const issuer = "PBX Control Portal"

// A second factor is a six-digit code that changes every 30 seconds (RFC 6238) and is accepted from one step before to one after, for clock
// differences and typing time.
const (
	totpPeriod = 30 // seconds
	totpSkew   = 1  // steps
)

// Recovery codes replace a lost second factor, once each. They hold 120 random bits, enough for a fast hash.
const (
	recoveryCodes  = 10
	recoveryLength = 24
	recoveryGroup  = 6
)

// newTOTP returns a new TOTP secret and its URI for authenticators.
func newTOTP(email string) (secret pbx.Secret, uri pbx.Secret, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: email, SecretSize: 20, Rand: rand.Reader})
	if err != nil {
		return secret, uri, fmt.Errorf("cannot make a second factor: %w", err)
	}
	return pbx.SecretFrom(key.Secret()), pbx.SecretFrom(key.URL()), nil
}

// totpNow returns the step of a time.
func totpNow(now time.Time) int64 { return now.Unix() / totpPeriod }

// totpStep returns the step of a code if it is valid now and later than the last used one: an observed code cannot be replayed.
func totpStep(secret pbx.Secret, code string, now time.Time, last int64) (step int64, ok bool) {
	current := totpNow(now)
	for s := current - totpSkew; s <= current+totpSkew; s++ {
		want, err := hotp.GenerateCodeCustom(secret.Reveal(), uint64(max(s, 0)), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && s > last && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// cleanOTP returns the normalised code, and whether it is a recovery code.
func cleanOTP(text string) (code string, recovery bool) {
	code = pbx.Code(text)
	return code, len(code) == recoveryLength
}

// newRecoveryCodes returns a set of codes in readable form, and their stored hashes.
func newRecoveryCodes() (shown []pbx.Secret, kept [][]byte) {
	for range recoveryCodes {
		code := rand.Text()[:recoveryLength]
		groups := make([]string, 0, recoveryLength/recoveryGroup)
		for i := 0; i < recoveryLength; i += recoveryGroup {
			groups = append(groups, code[i:i+recoveryGroup])
		}
		shown = append(shown, pbx.SecretFrom(strings.Join(groups, "-")))
		kept = append(kept, digest(code))
	}
	return shown, kept
}
