package live

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// testBoard is a board that is connected, with a clock that the test moves.
func testBoard() (b *board, now *time.Time) {
	at := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	b = newBoard(func() time.Time { return at }, Link{State: Connecting})
	b.connect(Link{State: Connected}, listing{whole: true, extensions: extensions{}})
	return b, &at
}

func phoneAt(number, port int) asterisk.Event {
	return asterisk.Event{
		Kind:    asterisk.EventContact,
		Contact: asterisk.Registered{AOR: fmt.Sprint(number), URI: fmt.Sprintf("sip:%d@192.0.2.7:%d", number, port)},
		State:   asterisk.ContactState{Status: "Reachable", RTT: time.Millisecond},
	}
}

func TestAListenerThatIsTooSlowGetsASnapshotAndCostsNothing(t *testing.T) {
	t.Parallel()
	b, _ := testBoard()
	first, err := b.next(t.Context(), 0)
	if err != nil || first.Snapshot == nil {
		t.Fatal(first, err)
	}
	for i := range mostEvents {
		e := phoneAt(1000+i%1000, 5060)
		e.State.RTT = time.Duration(i+1) * time.Microsecond
		b.take([]asterisk.Event{e})
	}
	u, err := b.next(t.Context(), first.ID)
	if err != nil || u.Snapshot != nil || len(u.Events) != mostAtOnce || u.Events[0].ID != first.ID+1 {
		t.Errorf("one who is just in time hears %d events, %v", len(u.Events), err)
	}
	b.take([]asterisk.Event{phoneAt(1000, 1)})
	u, err = b.next(t.Context(), first.ID)
	if err != nil || u.Snapshot == nil || len(u.Events) != 0 || len(u.Snapshot.Registrations) != len(b.model.registrations()) {
		t.Errorf("one who is too late hears %d events, %v", len(u.Events), err)
	}
	if len(b.events) > 2*mostEvents {
		t.Errorf("%d events are kept", len(b.events))
	}
	for _, id := range []uint64{1, u.ID + 1, ^uint64(0)} {
		if other, err := b.next(t.Context(), id); err != nil || other.Snapshot == nil {
			t.Errorf("the id %d of another process: %d events, %v", id, len(other.Events), err)
		}
	}
	b.close()
	if _, err := b.next(t.Context(), u.ID); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAChangeIsReportedOnceAndInOrder(t *testing.T) {
	t.Parallel()
	b, _ := testBoard()
	start, _ := b.next(t.Context(), 0)
	gone := phoneAt(1000, 5060)
	gone.Kind = asterisk.EventContactGone
	channel := func(kind asterisk.EventKind, id, name, state string) asterisk.Event {
		return asterisk.Event{Kind: kind, Channel: asterisk.Channel{ID: id, Linked: "9.1", Name: name, State: state, Exten: "1001"}}
	}
	b.take([]asterisk.Event{
		phoneAt(1000, 5060), phoneAt(1000, 5060), phoneAt(2000, 5060), phoneAt(10000, 5060),
		channel(asterisk.EventChannel, "8.1", "PJSIP/1000-00000000", "Up"), // the last word of one that is over
		channel(asterisk.EventChannelNew, "9.1", "PJSIP/1000-00000001", "Ring"),
		channel(asterisk.EventChannelNew, "9.2", "PJSIP/1001-00000002", "Down"),
		channel(asterisk.EventChannelNew, "9.3", "Local/1001@x-00000003;1", "Up"),
		channel(asterisk.EventChannel, "9.2", "PJSIP/1001-00000002", "Ringing"),
		channel(asterisk.EventChannel, "9.2", "PJSIP/1001-00000002", "Up"),
		channel(asterisk.EventChannel, "9.1", "PJSIP/1000-00000001", "Up"),
		channel(asterisk.EventChannelGone, "9.3", "Local/1001@x-00000003;1", "Up"),
		channel(asterisk.EventChannelGone, "9.1", "PJSIP/1000-00000001", "Up"),
		channel(asterisk.EventChannelGone, "9.2", "PJSIP/1001-00000002", "Up"),
		gone, gone,
	})
	u, err := b.next(t.Context(), start.ID)
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	for _, e := range u.Events {
		switch {
		case e.Registration != nil:
			heard = append(heard, fmt.Sprint(e.Registration.Number, " ", e.Registration.State))
		case e.Call != nil:
			heard = append(heard, fmt.Sprint(e.Call.From.Number, "→", e.Call.To.Number, " ", e.Call.State))
		}
	}
	want := []string{"1000 reachable", "1000→1001 ringing", "1000→1001 up", "1000→1001 ended", "1000 gone"}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Error(diff)
	}
	if len(b.model.channels)+len(b.model.groups)+len(b.model.phones)+len(b.model.toldCalls)+len(b.model.toldPhones)+b.model.contacts != 0 {
		t.Errorf("something is left: %+v", b.model)
	}
}

func TestTheHistoryHasTheMostOfEachMinuteOfTheLastHour(t *testing.T) {
	t.Parallel()
	b, now := testBoard()
	gone := phoneAt(1001, 5060)
	gone.Kind = asterisk.EventContactGone
	b.take([]asterisk.Event{phoneAt(1000, 5060), phoneAt(1001, 5060)})
	b.take([]asterisk.Event{gone})
	*now = now.Add(3 * time.Minute)
	var got []int
	for _, m := range b.snapshot().History {
		got = append(got, m.Registrations)
	}
	if diff := cmp.Diff([]int{2, 1, 1, 1}, got); diff != "" {
		t.Errorf("after three minutes: %s", diff)
	}
	b.disconnect(Link{State: Connecting})
	*now = now.Add(5 * time.Minute)
	if n := len(b.snapshot().History); n != 4 {
		t.Errorf("without a link there are %d minutes", n)
	}
	b.connect(Link{State: Connected}, listing{whole: true, extensions: extensions{}})
	if h := b.snapshot().History; len(h) != 5 || h[4].Registrations != 0 || h[4].At.Sub(h[3].At) != 5*time.Minute {
		t.Errorf("with one again: %+v", h)
	}
	*now = now.Add(30 * 24 * time.Hour)
	if h := b.snapshot().History; len(h) != minutes || h[minutes-1].At != now.Truncate(time.Minute) || h[0].At != now.Truncate(time.Minute).Add(-59*time.Minute) {
		t.Errorf("a month later: %d minutes", len(h))
	}
	*now = now.Add(-2 * time.Hour) // the clock was set back
	if h := b.snapshot().History; len(h) > minutes {
		t.Errorf("%d minutes", len(h))
	}
}

func TestWhereAPhoneIsReached(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"sip:1000@127.0.0.1:49904":                     "127.0.0.1:49904",
		"sip:1000@192.0.2.7:5061;transport=TLS;ob?x=y": "192.0.2.7:5061",
		"sips:1000@phone.example.com":                  "phone.example.com:5060",
		"sip:[2001:db8::7]:5062":                       "[2001:db8::7]:5062",
		"sip:1000@[2001:db8::7]":                       "[2001:db8::7]:5060",
		"sip:a@b@192.0.2.7:1;x=sip:z@y":                "192.0.2.7:1",
		"no address":                                   "no address",
		"sip:\u202e\n":                                 ":5060",
	} {
		if got := place(uri); got != want {
			t.Errorf("%q is at %q, not %q", uri, got, want)
		}
	}
}

func TestOnlyNumbersOfThePoolAndOfUsersAreExtensions(t *testing.T) {
	t.Parallel()
	users := extensions{20: true, 250_000: true}
	for name, want := range map[string]bool{
		"PJSIP/1000-00000001": true, "PJSIP/1999-0000abcd": true, "PJSIP/0999-00000001": false, "PJSIP/2000-00000001": false, "PJSIP/1000": false,
		"PJSIP/1000-": false, "PJSIP/trunk-00000001": false, "SIP/1000-00000001": false, "Local/1000@x-00000001;1": false, "PJSIP/+100-1": false,
		"PJSIP/10000-1": false, "PJSIP/1000x-1": false, "PJSIP/20-1": true, "PJSIP/21-1": false, "PJSIP/250000-1": true, "PJSIP/020-1": false,
	} {
		if _, got := users.ofChannel(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, want := range map[string]bool{"PJSIP/9-1": false, "PJSIP/10-1": true, "PJSIP/999999-1": true, "PJSIP/1000000-1": false} {
		if _, got := extensions(nil).ofChannel(name); got != want {
			t.Errorf("with no users known, %s: %v", name, got)
		}
	}
}

func TestThePhoneOfAUserOutsideThePoolIsShownAndAnAdministratorsPhoneIsNot(t *testing.T) {
	t.Parallel()
	b, _ := testBoard()
	contacts := func(numbers ...int) (all []asterisk.Registered) {
		for _, n := range numbers {
			all = append(all, phoneAt(n, 5060).Contact)
		}
		return all
	}
	shown := func(want ...pbx.Number) {
		t.Helper()
		var got []pbx.Number
		for _, r := range b.snapshot().Registrations {
			got = append(got, r.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("phones at %v, want %v", got, want)
		}
	}
	b.replace(listing{extensions: extensions{20: true}, contacts: contacts(20, 200, 1500)})
	shown(20, 1500)
	b.take([]asterisk.Event{phoneAt(201, 5060), phoneAt(250_000, 5060)})
	shown(20, 1500)
	b.replace(listing{extensions: extensions{20: true, 250_000: true}, contacts: contacts(20, 200, 1500, 250_000)})
	shown(20, 1500, 250_000)
	b.replace(listing{contacts: contacts(20, 200, 250_000)}) // the database did not answer
	shown(20, 250_000)
	b.replace(listing{extensions: extensions{}, contacts: contacts(20, 200, 250_000)})
	shown()
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"Anna Example", "\u202e\u2028\x00", "a\u0301\u0301\u0301\u0301\u0301", "👩‍💻", "\xff\xfe", strings.Repeat("W", 300), " \t x \u00a0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text, longestName)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > longestName+1 || strings.TrimSpace(got) != got || clean(got, 2*len(got)+1) != got {
			t.Fatalf("%q became %q", text, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) && r != '\u200c' && r != '\u200d' {
				t.Fatalf("%q became %q with %U", text, got, r)
			}
		}
	})
}
