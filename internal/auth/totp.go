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

// issuer is what an authenticator shows above the code.
const issuer = "PBX Control Portal"

// A second factor is a code of six digits that changes every 30 seconds (RFC 6238), and holds from one step before to one after: clocks
// differ, and people take a moment to type.
const (
	totpPeriod = 30 // seconds
	totpSkew   = 1  // steps
)

// Recovery codes stand in for a lost second factor, once each. They hold 120 random bits, enough for a fast hash.
const (
	recoveryCodes  = 10
	recoveryLength = 24
	recoveryGroup  = 6
)

// newTOTP makes the secret of a second factor, and the address that an authenticator reads it from.
func newTOTP(email string) (secret pbx.Secret, uri pbx.Secret, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: email, SecretSize: 20, Rand: rand.Reader})
	if err != nil {
		return secret, uri, fmt.Errorf("cannot make a second factor: %w", err)
	}
	return pbx.SecretFrom(key.Secret()), pbx.SecretFrom(key.URL()), nil
}

// totpNow gives the step of a time.
func totpNow(now time.Time) int64 { return now.Unix() / totpPeriod }

// totpStep gives the step whose code this is, if it is one that holds now and comes after the last that was used: nobody who sees a
// code typed can use it again.
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

// cleanOTP returns a code as it is compared, and whether it is a recovery code.
func cleanOTP(text string) (code string, recovery bool) {
	code = pbx.Code(text)
	return code, len(code) == recoveryLength
}

// newRecoveryCodes makes a set of codes, as people read them and as they are kept.
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
