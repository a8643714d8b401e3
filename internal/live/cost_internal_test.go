//go:build !race

// It measures time and memory, of which the race detector takes many times as much.

package live

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func leg(kind asterisk.EventKind, id, linked int, name, state string) asterisk.Event {
	return asterisk.Event{Kind: kind, Channel: asterisk.Channel{
		ID: fmt.Sprintf("1795663823.%d", id), Linked: fmt.Sprintf("1795663823.%d", linked), Name: name, State: state, Number: "1001", CallerName: "Anna", Exten: "1001",
	}}
}

// storms are sequences of events that a phone network can cause, each of about n events.
func storms() map[string]func(n int) []asterisk.Event {
	return map[string]func(n int) []asterisk.Event{
		"channels that join one call": func(n int) (all []asterisk.Event) {
			for i := range n / 3 {
				name := fmt.Sprintf("PJSIP/%d-%08x", 1000+i%1000, i)
				all = append(all, leg(asterisk.EventChannelNew, i, 0, name, "Ring"), leg(asterisk.EventChannel, i, 0, name, "Ringing"), leg(asterisk.EventChannel, i, 0, name, "Up"))
			}
			return all
		},
		"channels of one call that all end": func(n int) (all []asterisk.Event) {
			for i := range n / 2 {
				all = append(all, leg(asterisk.EventChannelNew, i, 0, fmt.Sprintf("PJSIP/1000-%08x", i), "Up"))
			}
			for i := range n / 2 {
				all = append(all, leg(asterisk.EventChannelGone, i, 0, fmt.Sprintf("PJSIP/1000-%08x", i), "Up"))
			}
			return all
		},
		"calls that are merged, and parted again": func(n int) (all []asterisk.Event) {
			for i := range n / 3 {
				name := fmt.Sprintf("PJSIP/1000-%08x", i)
				all = append(all, leg(asterisk.EventChannelNew, i, i, name, "Up"), leg(asterisk.EventChannel, i, 0, name, "Up"), leg(asterisk.EventChannel, i, i, name, "Up"))
			}
			return all
		},
		"Asterisk's own way round": func(n int) (all []asterisk.Event) {
			for i := range n {
				all = append(all, leg(asterisk.EventChannelNew, i, 0, fmt.Sprintf("Local/1000@x-%08x;1", i), "Up"))
			}
			return all
		},
		"calls": func(n int) (all []asterisk.Event) {
			for i := range n {
				all = append(all, leg(asterisk.EventChannelNew, i, i, fmt.Sprintf("PJSIP/1000-%08x", i), "Up"))
			}
			return all
		},
		"more channels than there is room for": func(n int) (all []asterisk.Event) {
			for i := range n {
				all = append(all, leg(asterisk.EventChannelNew, i*(mostChannels/n+2), i%2, fmt.Sprintf("PJSIP/1000-%08x", i), "Up"))
			}
			return all
		},
		"places of one extension": func(n int) (all []asterisk.Event) {
			for i := range n {
				all = append(all, phoneAt(1000, 1+i%60_000))
			}
			return all
		},
		"places of all extensions": func(n int) (all []asterisk.Event) {
			for i := range n {
				all = append(all, phoneAt(1000+i/4%1000, 1+i%4))
			}
			return all
		},
		"names as long as they are kept": func(n int) (all []asterisk.Event) {
			for i := range n {
				e := leg(asterisk.EventChannelNew, i%100, 0, fmt.Sprintf("PJSIP/1000-%08x", i%100), []string{"Ring", "Up"}[i/100%2])
				e.Channel.CallerName = strings.Repeat("\u200b", 512/3)
				all = append(all, e)
			}
			return all
		},
	}
}

// busy returns the processor time of this thread, without that of other processes. The goroutine must keep its thread.
func busy(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}

// feed passes the events to a new board with a listener, in chunks of the given size, and returns the time it took.
func feed(t *testing.T, events []asterisk.Event) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b, _ := testBoard()
	start := busy(t)
	heard := uint64(0)
	for piece := range slices.Chunk(events, 20) {
		b.take(piece)
		u, _, err := b.look(heard)
		if err != nil {
			t.Fatal(err)
		}
		heard = u.ID
	}
	return busy(t) - start
}

func TestTheTimeForEventsOfThePhoneNetworkIsInProportionToTheirNumberAtLength(t *testing.T) { //nolint:paralleltest // it measures time
	n := labtest.Soak(1_000, 15_000)
	const times, most = 8, 20 // 64 if the time were quadratic; what no longer fits into a cache, and garbage, cost some as well
	for name, storm := range storms() {
		t.Run(name, func(t *testing.T) {
			few, many := storm(n), storm(times*n)
			one, all := feed(t, few), feed(t, many)
			ratio, each := 0., time.Duration(0)
			for range 6 { // what else the machine does only adds to the times
				one, all = min(one, feed(t, few)), min(all, feed(t, many))
				if ratio, each = float64(all)/float64(one), all/time.Duration(times*n); ratio < most && each < 100*time.Microsecond {
					break
				}
			}
			t.Logf("%d events took %v, %d took %v: %.2f times as long, %v each", n, one, times*n, all, ratio, each)
			if ratio > most || each > 100*time.Microsecond {
				t.Errorf("%d events took %v, %d took %v: %.2f times as long", n, one, times*n, all, ratio)
			}
		})
	}
}

func TestASnapshotOf10000ChannelsOfOneCallAndOneOf10000CallsIsThereWithin100Milliseconds(t *testing.T) { //nolint:paralleltest // it measures time
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for name, linked := range map[string]func(i int) int{"channels of one call": func(int) int { return 0 }, "calls": func(i int) int { return i }} {
		b, _ := testBoard()
		for i := range 10_000 {
			b.take([]asterisk.Event{leg(asterisk.EventChannelNew, i, linked(i), fmt.Sprintf("PJSIP/1000-%08x", i), "Up")})
		}
		least := time.Hour
		var s Snapshot
		for i := range 5 {
			b.take([]asterisk.Event{leg(asterisk.EventChannelNew, 10_001+i, linked(10_001+i), fmt.Sprintf("PJSIP/1000-%08x", i), "Up")})
			b.lists = lists{} // as if it were the first to be made
			start := busy(t)
			s = b.snapshot()
			least = min(least, busy(t)-start)
		}
		t.Logf("10,000 %s: %d calls in %v", name, len(s.Calls), least)
		if least > 100*time.Millisecond {
			t.Errorf("10,000 %s: a snapshot took %v", name, least)
		}
	}
}

func TestTextsFromTheNetworkTakeBoundedMemoryAndOmissionsAreReported(t *testing.T) { //nolint:paralleltest // it measures memory
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b, _ := testBoard()
	for i := range 2 * mostChannels {
		e := leg(asterisk.EventChannelNew, i, i, fmt.Sprintf("PJSIP/1000-%08x", i), "Up")
		e.Channel.CallerName, e.Channel.Number, e.Channel.Exten = strings.Repeat("n", 512), strings.Repeat("1", 512), strings.Repeat("2", 512)
		p := phoneAt(1000+i%1000, 1+i/1000)
		p.Contact.URI += ";" + strings.Repeat("x", 900)
		b.take([]asterisk.Event{e, p})
	}
	b.replace(listing{contacts: registrations(2 * mostPhones), more: more{contacts: 7}})
	s := b.snapshot()
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d calls, %d registrations, %q: %d MiB", len(s.Calls), len(s.Registrations), s.LeftOut, grown>>20)
	if len(s.Calls) != mostChannels || len(s.Registrations) != mostPhones {
		t.Errorf("%d calls and %d registrations", len(s.Calls), len(s.Registrations))
	}
	if want := fmt.Sprintf("and %d more channels and %d more registrations", mostChannels, mostPhones+7); s.LeftOut != want {
		t.Errorf("left out: %q, want %q", s.LeftOut, want)
	}
	if grown > 64<<20 {
		t.Errorf("it takes %d MiB", grown>>20)
	}
	for i := range 2 * mostChannels {
		b.take([]asterisk.Event{leg(asterisk.EventChannelGone, i, i, "", "Up")})
	}
	b.replace(listing{})
	if s := b.snapshot(); s.LeftOut != "" || len(s.Calls)+len(s.Registrations) != 0 {
		t.Errorf("when all has ended: %d calls, %d registrations, %q", len(s.Calls), len(s.Registrations), s.LeftOut)
	}
	runtime.KeepAlive(b)
}

// registrations are n places at which phones registered, four at each extension and more where that does not suffice.
func registrations(n int) (all []asterisk.Registered) {
	for i := range n {
		number := 1000 + i%1000
		all = append(all, asterisk.Registered{ID: fmt.Sprint(number, ";@", i), AOR: fmt.Sprint(number), URI: fmt.Sprintf("sip:%d@192.0.2.9:%d", number, 1+i/1000)})
	}
	return all
}

func TestOneExtensionCannotTakeTheRoomOfTheOthers(t *testing.T) {
	t.Parallel()
	b, _ := testBoard()
	for i := range mostPhones {
		b.take([]asterisk.Event{phoneAt(1000, 1+i)})
	}
	b.take([]asterisk.Event{phoneAt(1001, 5060)})
	s := b.snapshot()
	if len(s.Registrations) != mostPlaces+1 || s.Registrations[mostPlaces].Number != 1001 {
		t.Errorf("%d registrations", len(s.Registrations))
	}
}

// naive is a board that knows its channels and nothing else, and finds out anew what a call is each time.
type naive map[string]naiveLeg

type naiveLeg struct {
	asterisk.Channel

	dialled string
	since   time.Time
}

func (n naive) take(e asterisk.Event, now time.Time) {
	old, known := n[e.Channel.ID]
	switch {
	case e.Kind == asterisk.EventChannelGone:
		delete(n, e.Channel.ID)
		return
	case !known && e.Kind != asterisk.EventChannelNew:
		return
	case !known:
		old.since = now
	}
	old.Channel = e.Channel
	if old.dialled == "" && e.Channel.Exten != "s" {
		old.dialled = e.Channel.Exten
	}
	n[e.Channel.ID] = old
}

// view is how a call was found out before there were indexes.
func (n naive) view(id string, told Call, was bool) (call Call, ok bool) {
	legs := slices.Collect(maps.Values(n))
	legs = slices.DeleteFunc(legs, func(l naiveLeg) bool { return l.Linked != id || strings.HasPrefix(l.Name, "Local/") })
	if len(legs) == 0 {
		return Call{}, false
	}
	slices.SortFunc(legs, func(a, b naiveLeg) int {
		return cmp.Or(cmp.Compare(serial(a.ID), serial(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	from := legs[0]
	if was && len(legs) == 1 && from.ID != id {
		return told, true
	}
	call = Call{ID: id, State: Ringing, Since: from.since}
	up := from.State == "Up"
	var fromOurs, toOurs bool
	call.From, fromOurs = extensions(nil).party(from.Channel)
	if len(legs) > 1 {
		to := slices.MinFunc(legs[1:], func(a, b naiveLeg) int { return cmp.Compare(progress(a.State), progress(b.State)) })
		call.To, toOurs = extensions(nil).party(to.Channel)
		up = up && to.State == "Up"
	} else {
		call.To.Number = from.dialled
		_, toOurs = extensions(nil).parse(from.dialled)
		if told.To.Number == call.To.Number {
			call.To.Name = told.To.Name
		}
	}
	if up {
		call.State = Up
	}
	return call, fromOurs || toOurs
}

// agree plays events that the bytes choose to a board and to the naive one, and fails where they differ.
func agree(t *testing.T, choices []byte) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m, n := newModel(), naive{}
	for len(choices) >= 4 {
		c := choices[:4]
		choices = choices[4:]
		now = now.Add(time.Millisecond)
		e := leg([]asterisk.EventKind{asterisk.EventChannelNew, asterisk.EventChannel, asterisk.EventChannel, asterisk.EventChannelGone}[c[0]%4],
			int(c[1]%12), int(c[2]%5), []string{"PJSIP/1000-01", "PJSIP/1001-02", "PJSIP/trunk-03", "Local/1000@x-04;1"}[c[3]%4], []string{"Up", "Ringing", "Ring", "Down"}[c[3]/4%4])
		e.Channel.Exten = []string{"1001", "s", "0123"}[c[0]/4%3]
		if c[0]/16%8 == 0 { // all is listed again, as a list of the naive board's channels
			all := listing{whole: true}
			for _, l := range n {
				all.channels = append(all.channels, l.Channel)
			}
			m.replace(all, now)
		}
		told := maps.Clone(m.toldCalls)
		n.take(e, now)
		m.takeChannel(e, now)
		m.news()
		size := 0
		for id, group := range m.groups {
			size += group.size
			before, was := told[id]
			want, there := n.view(id, before, was)
			if got, told := m.toldCalls[id]; told != there || told && got != want {
				t.Fatalf("after %+v the call %s differs, told %v, is %v:\n%s", e, id, told, there, gocmp.Diff(want, got))
			}
		}
		if size != len(m.channels) || len(m.channels) != len(n) {
			t.Fatalf("%d channels in calls, %d known, %d there", size, len(m.channels), len(n))
		}
		for id := range m.toldCalls {
			if m.groups[id] == nil {
				t.Fatalf("call %s is told and has no channels", id)
			}
		}
	}
}

func TestTheCallBoardAgreesWithTheListOfChannelsAtLength(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range labtest.Soak(300, 30_000) {
		choices := make([]byte, 4*(1+random.IntN(200)))
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		agree(t, choices)
	}
}

func FuzzTheBoardAgreesWithLookingAtAllChannels(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 0, 2, 1, 5, 2, 2, 1, 1, 3, 1, 1, 0})
	f.Fuzz(agree)
}
