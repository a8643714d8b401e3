package auth_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// remember writes a step as the last one of an account's second factor, as a clock that was wrong would have.
func (d *door) remember(t *testing.T, id pbx.AccountID, step int64) {
	t.Helper()
	if err := d.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		c, _, err := tx.Account(ctx, id)
		if err != nil {
			return err
		}
		c.TOTPStep = step
		return tx.UpdateAccount(ctx, c)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestASecondFactorStepInTheFutureLocksNoUserOut(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]int64{"two steps": 2, "a day": 2880, "a century": 105_120_000, "the end of time": 1 << 62} {
		d := newDoor(t)
		anna := d.account(t, "Anna", pbx.Owner)
		secret, _ := d.switchTOTPOn(t, d.signIn(t, anna))
		d.move(time.Hour)
		now := d.read().Unix() / 30
		d.remember(t, anna.ID, now+ahead)
		if got := d.try(t, home, anna.Email, password, "000000"); got != pbx.CodeSignInFailed {
			t.Errorf("%s: a wrong code: %q", name, got)
		}
		otp := shown(t, secret, d.read())
		if got := d.try(t, home, anna.Email, password, otp); got != "" {
			t.Errorf("%s: the right code: %q", name, got)
		}
		if got := d.try(t, home, anna.Email, password, otp); got != pbx.CodeSignInFailed {
			t.Errorf("%s: the same code again: %q", name, got)
		}
		if told := d.told(t, auth.ActionTOTPClock); len(told) != 1 || told[0].Object.ID != string(anna.ID) || told[0].After["remembered_step"] == "" {
			t.Errorf("%s: the trail tells %v", name, told)
		}
	}
}

// Whatever the clock does, a code is taken once: an eye-witness gains nothing by a clock that is put back. And a code that was not taken yet is
// taken soon: the wait is as long as codes were used up in that time, and not until the clock comes by again.
func TestNoSecondFactorCodeIsAcceptedTwiceWhateverTheClockDoesAtLength(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	secret, _ := d.switchTOTPOn(t, d.signIn(t, anna))
	random := rand.New(rand.NewPCG(11, 10))
	taken, again, longest := map[int64]bool{noon.Unix() / 30: true}, 0, 0
	jumps := labtest.Soak(60, 10_000)
	for range jumps {
		jump := random.Int64N(9) - 4
		switch random.IntN(6) {
		case 0:
			jump = []int64{-2880, 2880, -105_120, 105_120}[random.IntN(4)]
		case 1:
			jump = random.Int64N(6001) - 3000
		}
		d.move(time.Duration(jump) * 30 * time.Second)
		step := d.read().Unix()/30 + random.Int64N(3) - 1
		if d.try(t, "", anna.Email, password, shown(t, secret, time.Unix(step*30, 0))) == "" {
			if taken[step] {
				t.Fatalf("the code of step %d was taken twice", step)
			}
			taken[step] = true
		} else if taken[step] {
			again++
		}
		for wait := 0; taken[d.read().Unix()/30] || d.try(t, fmt.Sprint("wait", wait, len(taken)), anna.Email, password, shown(t, secret, d.read())) != ""; wait++ {
			if longest = max(longest, wait); wait > len(taken)+3 {
				t.Fatalf("locked out for %d steps", wait)
			}
			d.move(30 * time.Second)
		}
		taken[d.read().Unix()/30] = true
	}
	t.Logf("%d jumps, %d codes taken, %d refused that were taken before, the longest wait %d steps", jumps, len(taken), again, longest)
}

// What holds until or from a time, when the clock is put a day ahead or back between and then right again.
func TestAClockJumpOfADayLocksNoUserOutAndRestoresNothingRevoked(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		d := doorOf(storetest.New(t))
		anna := d.account(t, "Anna", pbx.Owner)
		gone := d.signIn(t, anna)
		revoked, secret := d.token(t, pbx.NewToken{Name: "revoked", Role: pbx.Auditor})
		if _, err := d.RevokeToken(local(t), revoked.ID); err != nil {
			t.Fatal(err)
		}
		if err := d.SignOut(as(t, gone.Principal)); err != nil {
			t.Fatal(err)
		}
		link, err := d.Reset(local(t), d.account(t, "Ida", pbx.Auditor).ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(password), ""); err != nil {
			t.Fatal(err)
		}
		check := func(when string) {
			t.Helper()
			if d.holds(t, gone) || d.works(t, secret) {
				t.Errorf("%s, %s: what was ended holds again", jump, when)
			}
			if _, err := d.Redeem(from(t, home), link.Code.Reveal(), pbx.SecretFrom(other), ""); code(err) != pbx.CodeLinkInvalid {
				t.Errorf("%s, %s: a link that was used: %v", jump, when, err)
			}
			if s := d.signIn(t, anna); !d.holds(t, s) {
				t.Errorf("%s, %s: nobody can sign in", jump, when)
			}
		}
		check("before")
		d.move(jump)
		check("while it is wrong")
		for range 40 { // password guesses while the clock is wrong
			d.try(t, "192.0.2.66", anna.Email, other, "")
		}
		d.move(-jump)
		check("when it is right again")
		waited := time.Duration(0)
		for d.try(t, "192.0.2.66", anna.Email, password, "") == pbx.CodeTooMany {
			if waited += time.Minute; waited > 16*time.Minute {
				t.Errorf("%s: whoever guessed waits for longer than 15 minutes", jump)
				break
			}
			d.move(time.Minute)
		}
	}
}
