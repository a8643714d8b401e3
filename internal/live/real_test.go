package live_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
)

func TestAPhoneThatRegistersIsSeenWithinASecondAndOneThatUnregistersIsNotSeenAnyMore(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 2, "")
	w := connected(t, o.pbx.AMI)
	p := o.phone(1000, "Desk phone 1.2")
	began := time.Now()
	o.register(p, 2*time.Minute)
	first := registration(w.until("it registers", func(s live.Snapshot) bool { return registration(s, 1000) != live.Registration{} }), 1000)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it was seen after %v", took)
	}
	r := registration(w.until("all of it is known", func(s live.Snapshot) bool {
		r := registration(s, 1000)
		return r.State == live.Reachable && r.UserAgent != "" && !r.Expires.IsZero() && r.RTT > 0
	}), 1000)
	if r.Address != p.Addr().String() || r.UserAgent != "Desk phone 1.2" || !r.Since.Equal(first.Since) {
		t.Errorf("%+v, first %+v", r, first)
	}
	if left := time.Until(r.Expires); left < 110*time.Second || left > 121*time.Second {
		t.Errorf("it expires in %v", left)
	}
	if err := p.Unregister(within(t)); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	w.until("it unregisters", func(s live.Snapshot) bool { return len(s.Registrations) == 0 })
	if took := time.Since(began); took > time.Second {
		t.Errorf("that was seen after %v", took)
	}
}

func TestARegistrationThatExpiresIsGone(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, "minimum_expiration=1")
	w := connected(t, o.pbx.AMI)
	o.register(o.phone(1000, ""), 2*time.Second)
	w.until("it registers", func(s live.Snapshot) bool { return len(s.Registrations) == 1 })
	w.until("it expires", func(s live.Snapshot) bool { return len(s.Registrations) == 0 })
}

func TestAPhoneThatComesBackOnAnotherPortIsOneRegistration(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, "")
	w := connected(t, o.pbx.AMI)
	o.registered(1000)
	again := o.registered(1000)
	w.until("only the new one is there", func(s live.Snapshot) bool {
		return registration(s, 1000).Address == again.Addr().String()
	})
}

func TestACallIsSeenRingingUpAndGone(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 3, "")
	w := connected(t, o.pbx.AMI)
	m := &mirror{}
	anna, ben := o.registered(1000), o.registered(1001)
	out, err := anna.Dial(within(t), "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := ben.Incoming(within(t))
	if err != nil {
		t.Fatal(err)
	}
	want := live.Call{State: live.Ringing, From: live.Party{Number: "1000", Name: "User 0"}, To: live.Party{Number: "1001", Name: "User 1"}}
	same := func(s live.Snapshot) bool {
		if len(s.Calls) != 1 {
			return false
		}
		got := s.Calls[0]
		got.ID, got.Since = "", time.Time{}
		return got == want
	}
	ringing := w.until("it rings", same).Calls[0]
	if err := in.Accept(within(t)); err != nil {
		t.Fatal(err)
	}
	want.State = live.Up
	up := w.until("they talk", same).Calls[0]
	if up.ID != ringing.ID || !up.Since.Equal(ringing.Since) || time.Since(up.Since) > patience {
		t.Errorf("ringing %+v, up %+v", ringing, up)
	}
	m.same(t, w.Watcher)
	late := connected(t, o.pbx.AMI)
	if s := late.Snapshot(); !same(s) {
		t.Errorf("who comes later sees %+v", s.Calls)
	}
	if err := out.Hangup(within(t)); err != nil {
		t.Fatal(err)
	}
	w.until("it is over", func(s live.Snapshot) bool { return len(s.Calls) == 0 })
	m.same(t, w.Watcher)
	if last := m.events[len(m.events)-1]; last != "1000→1001 ended" {
		t.Errorf("heard %q", m.events)
	}
	if h := w.Snapshot().History; len(h) == 0 || h[len(h)-1].Registrations != 2 || h[0].Calls+h[len(h)-1].Calls < 1 {
		t.Errorf("history %+v", h)
	}

	// Unanswered calls, and calls to unknown extensions.
	out, err = anna.Dial(within(t), "1001")
	if err != nil {
		t.Fatal(err)
	}
	if in, err = ben.Incoming(within(t)); err != nil {
		t.Fatal(err)
	}
	w.until("it rings", func(s live.Snapshot) bool { return len(s.Calls) == 1 && s.Calls[0].State == live.Ringing })
	if err := in.Reject(486); err != nil {
		t.Fatal(err)
	}
	<-out.Done()
	w.until("it was refused", func(s live.Snapshot) bool { return len(s.Calls) == 0 })
	m.same(t, w.Watcher)
}

func TestAnAsteriskThatIsKilledAndStartedAgainIsFollowedAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 2, "")
	w := connected(t, o.pbx.AMI)
	anna := o.registered(1000)
	w.until("she is registered", func(s live.Snapshot) bool { return len(s.Registrations) == 1 })
	if err := o.pbx.Kill(); err != nil {
		t.Fatal(err)
	}
	away := w.until("it is away", func(s live.Snapshot) bool { return s.Link.State == live.Connecting })
	if len(away.Registrations)+len(away.Calls) != 0 || away.Link.Version != "" || away.Link.Message == "" {
		t.Errorf("away: %+v", away)
	}
	if err := o.pbx.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := w.until("it is back", func(s live.Snapshot) bool { return s.Link.State == live.Connected })
	if !strings.HasPrefix(back.Link.Version, "22.") || !back.Link.Since.After(away.Link.Since) {
		t.Errorf("back: %+v, away: %+v", back.Link, away.Link)
	}
	o.register(anna, time.Minute)
	w.until("she has registered again", func(s live.Snapshot) bool { return registration(s, 1000).State == live.Reachable })
}

func TestAPortalRejectedByAsteriskReportsItWithTheFix(t *testing.T) {
	t.Parallel()
	target := newOffice(t, 1, "").pbx.AMI
	target.Secret = "canary"
	w := watch(t, target)
	s := w.until("it is refused", func(s live.Snapshot) bool { return s.Link.State == live.Refused })
	if !strings.Contains(s.Link.Message, "manager.conf") || strings.Contains(s.Link.Message+w.log.String(), "canary") || len(s.Registrations) != 0 {
		t.Errorf("%+v\n%s", s, w.log)
	}
	m := &mirror{}
	m.same(t, w.Watcher)
	w.stop()
	if err := m.hear(t, w.Watcher); !errors.Is(err, live.ErrClosed) {
		t.Errorf("a portal that has stopped tells %v", err)
	}
}

func TestALinkThatIsCutLosesNothing(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 4, "")
	wire := newCable(t, o.pbx.AMI.Addr)
	target := o.pbx.AMI
	target.Addr = wire.addr
	w := connected(t, target)
	m := &mirror{}
	anna, ben := o.registered(1000), o.registered(1001)
	out, err := anna.Dial(within(t), "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := ben.Incoming(within(t))
	if err != nil {
		t.Fatal(err)
	}
	before := w.until("it rings", func(s live.Snapshot) bool {
		return len(s.Calls) == 1 && registration(s, 1000).UserAgent != "" && registration(s, 1001).UserAgent != ""
	})
	if err := m.hear(t, w.Watcher); err != nil {
		t.Fatal(err)
	}
	wire.pull()
	w.until("it is cut", func(s live.Snapshot) bool { return s.Link.State != live.Connected })

	// Changes while no watcher runs: one answers, one leaves, one arrives.
	if err := in.Accept(within(t)); err != nil {
		t.Fatal(err)
	}
	o.registered(1002)
	o.register(ben, 3*time.Minute)
	wire.plug()
	after := w.until("it is back", func(s live.Snapshot) bool { return s.Link.State == live.Connected })
	if len(after.Calls) != 1 || after.Calls[0].State != live.Up || after.Calls[0].ID != before.Calls[0].ID || !after.Calls[0].Since.Equal(before.Calls[0].Since) {
		t.Errorf("the call: %+v, before %+v", after.Calls, before.Calls)
	}
	if got, want := registration(after, 1000), registration(before, 1000); !got.Since.Equal(want.Since) || got.Address != want.Address {
		t.Errorf("who stayed: %+v, before %+v", got, want)
	}
	if len(after.Registrations) != 3 || time.Until(registration(after, 1001).Expires) < 2*time.Minute {
		t.Errorf("registrations %+v", after.Registrations)
	}
	wire.pull()
	w.until("it is cut again", func(s live.Snapshot) bool { return s.Link.State != live.Connected })
	if err := out.Hangup(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := anna.Unregister(within(t)); err != nil {
		t.Fatal(err)
	}
	wire.plug()
	w.until("it is back again", func(s live.Snapshot) bool {
		return s.Link.State == live.Connected && len(s.Calls) == 0 && len(s.Registrations) == 2
	})
	m.same(t, w.Watcher)
	if m.snapshots < 2 {
		t.Errorf("the listener got %d snapshots", m.snapshots)
	}
}

func TestWhatIsReloadedAndForgottenMeanwhileIsSeen(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 3, "")
	w := connected(t, o.pbx.AMI)
	m := &mirror{}
	anna, ben := o.registered(1000), o.registered(1001)
	o.registered(1002)
	out, err := anna.Dial(within(t), "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := ben.Incoming(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(within(t)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		o.load(o.users, "")
	}
	// As an apply does: its user is deleted, and Asterisk is made to forget the phone, of which it says nothing.
	o.load(o.users[:2], "")
	if gone, err := o.pbx.Control().ForgetRegistrations(t.Context(), []string{"1002"}); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	s := w.until("the deleted one is gone", func(s live.Snapshot) bool { return len(s.Registrations) == 2 })
	if len(s.Calls) != 1 || s.Calls[0].State != live.Up {
		t.Errorf("calls %+v", s.Calls)
	}
	if err := out.Hangup(within(t)); err != nil {
		t.Fatal(err)
	}
	w.until("it is over", func(s live.Snapshot) bool { return len(s.Calls) == 0 })
	m.same(t, w.Watcher)
}

// hostile returns malicious texts that imitate other input. The test phone refuses to send control characters.
func hostile(i int) string {
	parts := []string{
		"<script>alert(1)</script>", "\u202egnp.exe", "Anna\u2028Ben", "\ufeff\u200b", "\u0301\u0302\u0303\u0304\u0305x", "'; DROP TABLE users; --",
		"{{7*7}}", "${jndi:ldap://x}", "\x1b[2J"[1:], "%0d%0aEvent: Hangup", "\U000e0041\U000e0042", "é\xff\xfe", "a\u0323\u0323\u0323\u0323\u0323\u0323",
		"Uniqueid: 1.1", "\\\"", "=cmd|' /C calc'!A0", "👩‍💻", "\u00a0\u3000", strings.Repeat("W", 250), "(comment)",
	}
	return parts[i%len(parts)] + " " + parts[(i/len(parts))%len(parts)]
}

// shown reports what is wrong with a text that is to be shown; "" is for nothing.
func shown(text string, most int) string {
	switch {
	case !utf8.ValidString(text):
		return "is not UTF-8"
	case utf8.RuneCountInString(text) > most+1:
		return "is too long"
	case text != strings.TrimSpace(text):
		return "has blanks around it"
	}
	for _, r := range text {
		if !unicode.IsPrint(r) && r != '\u200d' && r != '\u200c' {
			return fmt.Sprintf("has the character %U", r)
		}
	}
	return ""
}

func TestMaliciousInputOfAThousandPhonesIsShownAsCleanText(t *testing.T) {
	t.Parallel()
	o := newOffice(t, pbx.PoolSize, "")
	w := connected(t, o.pbx.AMI)
	for i := range pbx.PoolSize {
		p := o.phone(pbx.FirstNumber+pbx.Number(i), fmt.Sprint(i, " ", hostile(i)))
		o.register(p, 10*time.Minute)
		_ = p.Close() // it is the registration that counts
	}
	s := w.until("all are registered", func(s live.Snapshot) bool {
		if len(s.Registrations) != pbx.PoolSize {
			return false
		}
		for _, r := range s.Registrations {
			if r.Expires.IsZero() {
				return false
			}
		}
		return true
	})
	named := 0
	for i, r := range s.Registrations {
		if r.Number != pbx.FirstNumber+pbx.Number(i) {
			t.Fatalf("place %d has %+v", i, r)
		}
		if fault := shown(r.UserAgent, 120); fault != "" {
			t.Errorf("%d: the user agent %q %s", r.Number, r.UserAgent, fault)
		}
		if strings.HasPrefix(r.UserAgent, fmt.Sprint(i)) {
			named++
		}
	}
	if named < pbx.PoolSize*9/10 { // Asterisk keeps none that is not UTF-8
		t.Errorf("%d of %d user agents are there", named, pbx.PoolSize)
	}
}

func TestMaliciousCallerNamesAreShownAsCleanText(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 2, "")
	// An endpoint of a hand-written file lets the phone say who calls; ours do not.
	o.edit(func(text string) string { return regexp.MustCompile(`(?m)^callerid=.*\n`).ReplaceAllString(text, "") })
	w := connected(t, o.pbx.AMI)
	ben := o.registered(1001)
	named := 0
	for i := range 40 {
		p, err := phone.New(phone.Config{Server: o.pbx.SIPAddr, Number: "1000", Secret: o.users[0].Extension.Secret.Reveal(), Name: hostile(i)})
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Dial(within(t), "1001")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ben.Incoming(within(t)); err != nil {
			t.Fatal(err)
		}
		s := w.until("it rings", func(s live.Snapshot) bool { return len(s.Calls) == 1 && s.Calls[0].To.Number == "1001" })
		if s.Calls[0].From.Name != "" {
			named++
		}
		if c := s.Calls[0]; c.From.Number != "1000" || shown(c.From.Name, 80) != "" || shown(c.To.Name, 80) != "" {
			t.Errorf("%q is shown as %+v", hostile(i), c)
		}
		_ = out.Hangup(within(t))
		w.until("it is over", func(s live.Snapshot) bool { return len(s.Calls) == 0 })
		_ = p.Close()
	}
	if named < 30 {
		t.Errorf("%d of 40 calls have a name", named)
	}
}

func BenchmarkListOf1000Registrations(b *testing.B) {
	o := newOffice(b, pbx.PoolSize, "")
	for i := range pbx.PoolSize {
		p := o.phone(pbx.FirstNumber+pbx.Number(i), "")
		o.register(p, time.Hour)
		_ = p.Close()
	}
	b.Run("connect and list", func(b *testing.B) {
		for b.Loop() {
			w := watch(b, o.pbx.AMI)
			if s := w.until("all is listed", func(s live.Snapshot) bool { return s.Link.State == live.Connected }); len(s.Registrations) != pbx.PoolSize {
				b.Fatal(len(s.Registrations))
			}
			w.stop()
		}
	})
	w := connected(b, o.pbx.AMI)
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			if len(w.Snapshot().Registrations) != pbx.PoolSize {
				b.Fatal("incomplete")
			}
		}
	})
}
