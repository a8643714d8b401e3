package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// Limits of what is kept.
const (
	mostPhones   = 4000
	mostPlaces   = 32 // of one extension
	mostChannels = 20_000
	longestURI   = 1024
	mostEvents   = 4096        // that can be sent late; up to twice as many are kept
	mostAtOnce   = 512         // events of one update
	minutes      = 60          // of history
	oneMinute    = time.Minute // of history

	// A snapshot with more calls and registrations than large may be this old when events keep coming, so that many callers do not cost many copies.
	large    = 1000
	largeAge = 250 * time.Millisecond
)

// board is the state shared by all listeners. It keeps no queue for a listener, only the id of its last event: so a slow one costs nothing.
type board struct {
	now func() time.Time

	mu      sync.Mutex // guards the fields below
	link    Link
	model   *model
	last    uint64  // the id of the newest event
	events  []Event // the newest, with ids up to last
	changed chan struct{}
	closed  bool
	history []Sample
	counted counts // the last counts
	lists   lists
}

// lists are the calls and registrations of a snapshot, the id of the last event they include, and when they were made.
type lists struct {
	id            uint64
	at            time.Time
	registrations []Registration
	calls         []Call
}

type counts struct{ registrations, calls int }

// newBoard returns a board. Its ids are greater than those of any earlier process, unless one had a million events a second.
func newBoard(now func() time.Time, link Link) *board {
	return &board{now: now, link: link, model: newModel(), last: uint64(max(now().UnixMicro(), 1)), changed: make(chan struct{})}
}

// connect marks the state as known, with these lists.
func (b *board) connect(link Link, all listing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	link.Since = b.now()
	b.link = link
	b.model.replace(all, b.now())
	b.resetLocked()
	b.countLocked(true)
}

// disconnect marks the state as unknown, with a reason. It reports whether it was known until now, and whether the reason is new.
func (b *board) disconnect(link Link) (wasConnected, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(false)
	before := b.link
	link.Since = before.Since
	if before.State != link.State {
		link.Since = b.now()
	}
	if before == link {
		return false, false
	}
	b.link = link
	if before.State == Connected {
		b.resetLocked()
		return true, true
	}
	b.tellLocked(Event{Link: &link})
	return false, true
}

// take applies events of Asterisk. It returns how long to wait before registrations should be listed again; 0 means not at all.
func (b *board) take(events []asterisk.Event) (relist time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(false)
	for _, e := range events {
		wait := b.model.take(e, b.now())
		if wait > 0 && (relist == 0 || wait < relist) {
			relist = wait
		}
		b.countLocked(false)
	}
	b.tellLocked(b.model.news()...)
	return relist
}

// replace replaces the state by what Asterisk lists.
func (b *board) replace(all listing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(false)
	b.model.replace(all, b.now())
	b.tellLocked(b.model.news()...)
	b.countLocked(false)
}

// switchesOf returns the switches of a user.
func (b *board) switchesOf(number pbx.Number) pbx.Switches {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.model.switches[number]
}

// setSwitches changes the switches of a user.
func (b *board) setSwitches(number pbx.Number, to pbx.Switches) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link.State == Connected { // otherwise a snapshot follows
		b.model.setSwitches(number, to)
		b.tellLocked(b.model.news()...)
	}
}

// strangers returns the contacts that are not known yet.
func (b *board) strangers(contacts []asterisk.Registered) (unknown []asterisk.Registered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range contacts {
		if !b.model.knows(c) {
			unknown = append(unknown, c)
		}
	}
	return unknown
}

func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.changed)
	}
}

// resetLocked makes every listener start again.
func (b *board) resetLocked() {
	b.model.news() // is in the snapshot
	b.events = nil
	b.last++
	b.wakeLocked()
}

func (b *board) tellLocked(news ...Event) {
	if len(news) == 0 {
		return
	}
	for _, e := range news {
		b.last++
		e.ID = b.last
		b.events = append(b.events, e)
	}
	if len(b.events) > 2*mostEvents { // so that each is moved once
		b.events = slices.Clone(b.events[len(b.events)-mostEvents:])
	}
	b.wakeLocked()
}

func (b *board) wakeLocked() {
	if !b.closed {
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// countLocked updates the history. Between two calls the counts were those of the last, unless there was no link.
func (b *board) countLocked(fresh bool) {
	if b.link.State != Connected {
		return
	}
	this := b.now().UTC().Truncate(oneMinute)
	if n := len(b.history); n > 0 && !fresh {
		for at := later(b.history[n-1].At.Add(oneMinute), this.Add(-minutes*oneMinute)); !at.After(this); at = at.Add(oneMinute) {
			b.history = append(b.history, Sample{at, b.counted.registrations, b.counted.calls})
		}
	}
	b.counted = b.model.counts()
	if n := len(b.history); n == 0 || b.history[n-1].At.Before(this) {
		b.history = append(b.history, Sample{At: this})
	}
	last := &b.history[len(b.history)-1]
	last.Registrations, last.Calls = max(last.Registrations, b.counted.registrations), max(last.Calls, b.counted.calls)
	if more := len(b.history) - minutes; more > 0 {
		b.history = slices.Delete(b.history, 0, more)
	}
}

func (b *board) snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, _ := b.snapshotLocked()
	return s
}

// snapshotLocked returns the current state, and the id of the last event that it includes. Its lists are shared, and must not be changed.
func (b *board) snapshotLocked() (Snapshot, uint64) {
	b.countLocked(false)
	s := Snapshot{Link: b.link, History: b.historyLocked()}
	if b.link.State != Connected {
		b.lists = lists{}
		return s, b.last
	}
	if l := b.lists; l.id != b.last && (len(l.calls)+len(l.registrations) < large || b.now().Sub(l.at) > largeAge || b.last-l.id > b.heardLocked()) {
		b.lists = lists{b.last, b.now(), b.model.registrations(), b.model.calls()}
	}
	s.Registrations, s.Calls, s.Switches, s.LeftOut = b.lists.registrations, b.lists.calls, b.model.allSwitches(), b.model.leftOut()
	return s, b.lists.id
}

// heardLocked returns how many of the newest events can still be sent.
func (b *board) heardLocked() uint64 { return uint64(min(len(b.events), mostEvents)) }

// counts returns the numbers of registrations and calls, and the state of the link.
func (b *board) counts() (counts, LinkState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.model.counts(), b.link.State
}

// historyLocked returns the samples of the last hour.
func (b *board) historyLocked() []Sample {
	oldest := b.now().UTC().Truncate(oneMinute).Add(-(minutes - 1) * oneMinute)
	return slices.DeleteFunc(slices.Clone(b.history), func(m Sample) bool { return m.At.Before(oldest) })
}

// next returns the update for a listener.
func (b *board) next(ctx context.Context, after uint64) (Update, error) {
	for {
		update, changed, err := b.look(after)
		if err != nil || changed == nil {
			return update, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Update{}, ctx.Err()
		}
	}
}

// look returns the update for a listener, or a channel that is closed when there is one.
func (b *board) look(after uint64) (Update, <-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch missed := b.last - after; {
	case b.closed:
		return Update{}, nil, ErrClosed
	case after == b.last:
		return Update{}, b.changed, nil
	case after > b.last || missed > b.heardLocked():
		s, id := b.snapshotLocked()
		return Update{ID: id, Snapshot: &s}, nil, nil
	default:
		fresh := b.events[len(b.events)-int(missed):] //nolint:gosec // no more than there are
		fresh = slices.Clone(fresh[:min(len(fresh), mostAtOnce)])
		return Update{ID: fresh[len(fresh)-1].ID, Events: fresh}, nil, nil
	}
}
