package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// guess fails to sign in until it must wait, and returns the number of failures and the waiting time.
func (d *door) guess(t *testing.T, address, email string) (failed int, wait time.Duration) {
	t.Helper()
	for ; failed < 100; failed++ {
		_, err := d.SignIn(from(t, address), auth.SignIn{Email: email, Password: pbx.SecretFrom(other)})
		if e, ok := errors.AsType[*pbx.Error](err); ok && e.Kind == pbx.KindTooMany {
			return failed, e.RetryAfter
		}
	}
	t.Fatalf("%s may guess at %s without end", address, email)
	return failed, wait
}

func TestEachFailureDoublesTheWaitForTheNext(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	if failed, wait := d.guess(t, home, anna.Email); failed != 5 || wait != time.Second {
		t.Errorf("%d free failures, then a wait of %s", failed, wait)
	}
	if got := d.try(t, home, anna.Email, password, ""); got != pbx.CodeTooMany {
		t.Errorf("the right password within the wait: %q; it must not tell a guesser that he has found it", got)
	}
	for want := 2 * time.Second; want <= 20*time.Minute; want *= 2 {
		d.move(min(want/2, 15*time.Minute))
		if failed, wait := d.guess(t, home, anna.Email); failed != 1 || wait != min(want, 15*time.Minute) {
			t.Errorf("%d failures, then a wait of %s, want 1 and %s", failed, wait, want)
		}
	}
	d.move(15 * time.Minute)
	if got := d.try(t, home, anna.Email, password, ""); got != "" {
		t.Errorf("after the wait the right password gives %q", got)
	}
	if failed, _ := d.guess(t, home, anna.Email); failed != 5 {
		t.Errorf("after a success there are %d free failures", failed)
	}
	d.move(time.Hour)
	if failed, _ := d.guess(t, home, anna.Email); failed != 5 {
		t.Errorf("after an hour of rest there are %d free failures", failed)
	}
}

func TestPasswordGuessingDoesNotLockOtherUsersOut(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	for i := range 10 {
		d.guess(t, fmt.Sprintf("198.51.100.%d", i), anna.Email)
	}
	for _, address := range []string{home, loopback, "::1", "2001:db8::1"} {
		if got := d.try(t, address, anna.Email, password, ""); got != "" {
			t.Errorf("the right password from %s gives %q", address, got)
		}
	}
	// But now every user has only one free guess.
	if failed, _ := d.guess(t, "203.0.113.1", anna.Email); failed != 1 {
		t.Errorf("one more address has %d free failures", failed)
	}
	if failed, wait := d.guess(t, loopback, anna.Email); failed != 5 || wait != time.Second {
		t.Errorf("the machine itself has %d free failures, then a wait of %s", failed, wait)
	}
}

func TestTheMachineItselfNeverWaitsLong(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	for range 12 {
		if _, wait := d.guess(t, loopback, anna.Email); wait > 10*time.Second {
			t.Fatalf("it waits %s", wait)
		}
		d.move(10 * time.Second)
	}
	if got := d.try(t, loopback, anna.Email, password, ""); got != "" {
		t.Errorf("then the right password gives %q", got)
	}
}

func TestOneAddressDoesNotTryManyAccounts(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	failed := 0
	for ; failed < 100; failed++ {
		if d.try(t, home, fmt.Sprintf("nobody%d@example.com", failed), other, "") == pbx.CodeTooMany {
			break
		}
	}
	if failed != 20 {
		t.Errorf("an address failed at %d accounts before it had to wait", failed)
	}
	anna := d.account(t, "Anna", pbx.Owner)
	if got := d.try(t, "192.0.2.2", anna.Email, password, ""); got != "" {
		t.Errorf("another address of the same network: %q", got)
	}
}

func TestAnotherSpellingOfAnAddressIsTheSameAccount(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna := d.account(t, "Anna", pbx.Owner)
	failed := 0
	for ; failed < 100; failed++ {
		if d.try(t, home, strings.Repeat(" ", failed)+strings.ToUpper(anna.Email)+"\t", other, "") == pbx.CodeTooMany {
			break
		}
	}
	if failed != 5 {
		t.Errorf("%d free failures", failed)
	}
}

func TestANetworkOfIPv6CountsAsOneAddress(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	failed := 0
	for ; failed < 100; failed++ {
		if d.try(t, fmt.Sprintf("2001:db8::%x", failed), "anna@example.com", other, "") == pbx.CodeTooMany {
			break
		}
	}
	if failed != 5 {
		t.Errorf("a network has %d free failures", failed)
	}
	if got := d.try(t, "2001:db8:0:1::1", "anna@example.com", other, ""); got != pbx.CodeSignInFailed {
		t.Errorf("another network: %q", got)
	}
}

func TestThePresentPasswordIsNotGuessedWithAStolenSession(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	session := d.signIn(t, d.account(t, "Anna", pbx.Owner))
	ctx, failed := as(t, session.Principal), 0
	for ; failed < 100; failed++ {
		err := d.StopTOTP(ctx, pbx.SecretFrom(other))
		if pbx.KindOf(err) == pbx.KindTooMany {
			break
		}
		if pbx.KindOf(err) != pbx.KindInvalid {
			t.Fatal(err)
		}
	}
	if failed != 5 {
		t.Errorf("a session has %d guesses", failed)
	}
}
