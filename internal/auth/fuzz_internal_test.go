package auth

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

type standingClock struct {
	mu  sync.Mutex
	now time.Time
}

func fixedClock() *standingClock {
	return &standingClock{now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
}

func (c *standingClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func FuzzAnAPITokenIsReadAsItIsWrittenOrNotAtAll(f *testing.F) {
	good := "pbx_" + strings.Repeat("a", tokenID) + "_" + strings.Repeat("A", tokenSecret)
	for _, seed := range []string{"", "pbx", "pbx__", "pbx_a_A", good, good + "_", "pbx_" + good, strings.ToUpper(good), strings.ReplaceAll(good, "a", "é")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, ok := parseToken(text)
		if !ok {
			if id != "" || secret != "" {
				t.Errorf("%q is none, and gave %q and %q", text, id, secret)
			}
			return
		}
		if tokenMark+"_"+string(id)+"_"+secret != text || len(id) != tokenID || len(secret) != tokenSecret {
			t.Errorf("%q was read as %q and %q", text, id, secret)
		}
		if strings.Trim(string(id), "abcdefghijklmnopqrstuvwxyz234567") != "" || strings.Trim(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			t.Errorf("%q has characters that no token has", text)
		}
	})
}

func FuzzATokenOfASessionHasOneForm(f *testing.F) {
	for _, seed := range []string{"", newSessionToken().Reveal(), strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", strings.Repeat("_", 43), strings.Repeat("=", 43)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if isSessionToken(text) && (len(text) != 43 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "") {
			t.Errorf("%q is taken for a token", text)
		}
	})
}

func FuzzACodeOfASecondFactorIsTheOneOfItsTimeOrNone(f *testing.F) {
	for _, seed := range []string{"", "000000", "755224", "287082", "12 34 56", "-1", "１２３４５６", "0000000", "ABCDEF-GHIJKL-MNOPQR-STUVWX"} {
		f.Add(seed, int64(1796299200), int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, unix, last int64) {
		if unix < 0 || unix > 1<<40 {
			return
		}
		secret := pbx.SecretFrom("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
		code, recovery := cleanOTP(text)
		if recovery != (len(code) == recoveryLength) || strings.ContainsAny(code, " -") {
			t.Errorf("%q became %q", text, code)
		}
		step, ok := totpStep(secret, code, time.Unix(unix, 0), last)
		if !ok {
			return
		}
		want, err := hotp.GenerateCodeCustom(secret.Reveal(), uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil || want != code || step <= last || step < unix/totpPeriod-totpSkew || step > unix/totpPeriod+totpSkew {
			t.Errorf("%q was taken for step %d at %d after %d", text, step, unix, last)
		}
	})
}

// The test vectors of RFC 6238, appendix B, for SHA-1, cut to six digits.
func TestTheSecondFactorIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	secret := pbx.SecretFrom("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ") // "12345678901234567890"
	for at, code := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if step, ok := totpStep(secret, code, time.Unix(at, 0), 0); !ok || step != at/30 {
			t.Errorf("at %d: step %d, %v", at, step, ok)
		}
	}
	if _, ok := totpStep(pbx.SecretFrom("not base 32!"), "000000", time.Unix(59, 0), 0); ok {
		t.Error("a secret that is none has a code")
	}
}
