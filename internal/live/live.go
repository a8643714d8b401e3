// Package live is about what Asterisk says right now: which phones are registered, which calls are up, and whether Asterisk is there at
// all. It keeps this in memory alone, follows Asterisk's events without a gap, and tells its listeners of each change.
//
// It changes nothing in Asterisk, knows neither users nor files, and believes no text that comes from the phone network: names and
// user agents are cut and cleaned, and who a phone is follows from what Asterisk calls its channel or its contact.
package live

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// LinkState says how the portal stands with Asterisk.
type LinkState string

// The states of the link to Asterisk.
const (
	Connected  LinkState = "connected"  // what is told of registrations and calls is how they are
	Connecting LinkState = "connecting" // Asterisk is away, or still starting
	Refused    LinkState = "refused"    // Asterisk is there, and does not let the portal in
	Off        LinkState = "off"        // nobody has set it up
)

// Link is the link to Asterisk, from which all the rest is known.
type Link struct {
	State   LinkState
	Since   time.Time
	Version string // of Asterisk; "" while it is not connected
	Message string // a sentence for people, with the cure where one is needed
}

// RegistrationState says what is known of a phone.
type RegistrationState string

// The states of a registration.
const (
	Reachable   RegistrationState = "reachable"   // it answered when Asterisk asked last
	Unreachable RegistrationState = "unreachable" // it did not
	Registered  RegistrationState = "registered"  // nobody has asked it yet
	Gone        RegistrationState = "gone"        // it is registered no more; only events say so
)

// Registration is a phone that has registered as an extension. An extension has one, unless somebody allowed it more.
type Registration struct {
	Number    pbx.Number
	State     RegistrationState
	Address   string // where the phone is reached, host:port; with the number it names the registration
	UserAgent string // what the phone calls itself
	RTT       time.Duration
	Since     time.Time // when the portal first saw it
	Expires   time.Time // zero while unknown
}

// CallState says how far a call has come.
type CallState string

// The states of a call.
const (
	Ringing CallState = "ringing"
	Up      CallState = "up"
	Ended   CallState = "ended" // only events say so
)

// Party is one end of a call.
type Party struct {
	Number string // an extension, or what the other network says
	Name   string
}

// Call is a call of which at least one end is an extension.
type Call struct {
	ID    string
	State CallState
	From  Party
	To    Party
	Since time.Time // when it began
}

// Minute tells the most registrations and calls there were at once within one minute.
type Minute struct {
	At            time.Time // its beginning
	Registrations int
	Calls         int
}

// Snapshot is all that is known at one moment. Its lists are shared by all who have it, and must not be changed.
type Snapshot struct {
	Link          Link
	Registrations []Registration // by number and address
	Calls         []Call         // the oldest first
	History       []Minute       // of the last hour, the oldest first; minutes in which nothing was known are missing
	LeftOut       string         // what there is no room for, in words; "" where that is nothing
}

// Event is one change. One of the three is set.
type Event struct {
	ID           uint64
	Registration *Registration
	Call         *Call
	Link         *Link
}

// Update is what a listener has not heard yet: the events since, or, where these are not known any more, how all stands now.
type Update struct {
	ID       uint64 // of the last event it covers
	Snapshot *Snapshot
	Events   []Event
}

// ErrClosed says that the portal stops, and that there will be no more updates.
var ErrClosed = errors.New("live state has ended")

// The waits of the link.
const (
	firstPause  = 100 * time.Millisecond // before Asterisk is tried again; doubled each time
	longPause   = 3 * time.Second        // the longest of these
	refusePause = 15 * time.Second       // after a refusal: trying harder would only fill Asterisk's log
	bootTime    = 30 * time.Second       // for Asterisk to say that it has started
	listEvery   = 30 * time.Second       // all is listed again, so that no mistake grows old; it also shows that the link is alive
	afterPhone  = 100 * time.Millisecond // registrations are listed again: the event of a new phone tells nothing but its address
	afterReload = 2 * time.Second        // and so they are after a reload, which may change everything; an apply forgets phones right after it
	atMost      = time.Second            // the least between two such lists, also when a thousand phones register at once
)

// Config is what a Watcher needs. Now and Log are required.
type Config struct {
	AMI asterisk.AMITarget // without a User live state is off
	Now func() time.Time
	Log *slog.Logger
}

// Watcher follows one Asterisk. It is safe for concurrent use.
type Watcher struct {
	ami   asterisk.AMITarget
	now   func() time.Time
	log   *slog.Logger
	board *board
}

// New makes a Watcher, which knows nothing until Run has connected.
func New(c Config) *Watcher {
	link := Link{State: Connecting, Since: c.Now(), Message: "not connected yet"}
	if c.AMI.User == "" {
		link.State, link.Message = Off, "live state is not set up: AMI_USER and AMI_SECRET say how to reach the Asterisk Manager Interface; pbxportal doctor shows the way"
	}
	return &Watcher{ami: c.AMI, now: c.Now, log: c.Log, board: newBoard(c.Now, link)}
}

// Snapshot tells how all stands now.
func (w *Watcher) Snapshot() Snapshot { return w.board.snapshot() }

// Counts tells how many registrations and calls there are; of a link that is not connected they say nothing.
func (w *Watcher) Counts() (registrations, calls int, link LinkState) {
	n, link := w.board.counts()
	return n.registrations, n.calls, link
}

// Next gives what has happened after the event with that id, and waits where that is nothing. A listener begins with 0 and goes on with the ID
// of the update before. It may take its time: what it misses is not kept for it, it gets a snapshot instead. Ids of an
// earlier process lead to a snapshot, too.
func (w *Watcher) Next(ctx context.Context, after uint64) (Update, error) {
	return w.board.next(ctx, after)
}

// Run follows Asterisk until ctx ends, through restarts of it and cuts of the link. It returns no error: what is wrong with
// the link is part of what it tells.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.board.close()
	if w.ami.User == "" {
		<-ctx.Done()
		return nil
	}
	pause := firstPause
	for {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		link := Link{State: Connecting, Message: sentence(err)}
		if errors.Is(err, asterisk.ErrAMIRefused) {
			link.State = Refused
		}
		wasConnected, news := w.board.disconnect(link)
		if news {
			w.log.WarnContext(ctx, "no live state from Asterisk", "ami", w.ami, "state", string(link.State), "err", err)
		}
		switch {
		case link.State == Refused:
			pause = refusePause
		case wasConnected:
			pause = firstPause
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
		pause = min(2*pause, longPause)
	}
}

// sentence says what is wrong with the link, and what to do.
func sentence(err error) string {
	text := clean(err.Error(), 300)
	if errors.Is(err, asterisk.ErrAMIRefused) {
		return text + ". See that AMI_USER and AMI_SECRET are those of manager.conf, with read = system,call and write = reporting; pbxportal doctor tells more"
	}
	return text
}

// errNotBooted says that the first sign of life is missing.
var errNotBooted = errors.New("asterisk has not said that it has started: it still does, or read=system is missing from its user in manager.conf")

// follow connects, lists and follows, until the link ends.
func (w *Watcher) follow(ctx context.Context) error {
	ami, err := asterisk.DialAMI(ctx, w.ami)
	if err != nil {
		return err
	}
	defer ami.Close()
	if err := w.awaitBoot(ctx, ami); err != nil {
		return err
	}
	version, err := ami.Version(ctx)
	if err != nil {
		return err
	}
	all, err := w.list(ctx, ami, true)
	if err != nil {
		return err
	}
	w.board.connect(Link{State: Connected, Version: clean(version, longestName), Message: "ok"}, all)
	w.log.InfoContext(ctx, "following Asterisk", "ami", w.ami, "version", version, "registrations", len(all.contacts), "channels", len(all.channels))

	listed := w.now()
	whole, due := listed.Add(listEvery), listed.Add(listEvery)
	for {
		events, err := w.events(ctx, ami, due.Sub(w.now()))
		if err != nil {
			return err
		}
		wait := w.board.take(events)
		if slices.ContainsFunc(events, func(e asterisk.Event) bool { return e.Kind == asterisk.EventLost }) {
			whole, wait = w.now(), afterPhone
		}
		if wait > 0 {
			if next := later(w.now().Add(wait), listed.Add(atMost)); next.Before(due) {
				due = next
			}
		}
		if w.now().Before(due) {
			continue
		}
		// What happens meanwhile waits in the connection, and comes after the list. An event that is older than the list does no harm: it
		// is followed by those that led to what the list says.
		all, err := w.list(ctx, ami, !w.now().Before(whole))
		if err != nil {
			return err
		}
		w.board.replace(all)
		listed = w.now()
		if all.whole {
			whole = listed.Add(listEvery)
		}
		due = whole
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// awaitBoot waits for the event that says that Asterisk has started. It comes at once from one that has done so long ago. Others that
// come before it are contained in the lists that follow.
func (w *Watcher) awaitBoot(ctx context.Context, ami *asterisk.AMI) error {
	limited, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		events, err := ami.Events(limited)
		if err != nil {
			if limited.Err() != nil {
				return errNotBooted
			}
			return err
		}
		for _, e := range events {
			if e.Kind == asterisk.EventBooted {
				return nil
			}
		}
	}
}

// events waits for events, but no longer than that; none is an answer.
func (w *Watcher) events(ctx context.Context, ami *asterisk.AMI, wait time.Duration) ([]asterisk.Event, error) {
	limited, cancel := context.WithTimeout(ctx, max(wait, 0))
	defer cancel()
	events, err := ami.Events(limited)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	return events, err
}

// listing is what Asterisk lists. One that is not whole says nothing of calls, nor whether phones answer that are known already.
type listing struct {
	whole    bool
	contacts []asterisk.Registered
	states   map[string]asterisk.ContactState // by the ID of the contact
	channels []asterisk.Channel
	more     more // what is not among them
}

func (w *Watcher) list(ctx context.Context, ami *asterisk.AMI, whole bool) (listing, error) {
	all := listing{whole: whole}
	contacts, beyond, err := ami.Registrations(ctx)
	if err != nil {
		return all, err
	}
	all.more.contacts = beyond
	places := map[string]int{} // of each extension
	for _, c := range contacts {
		_, ours := pbx.ParseNumber(c.AOR)
		switch {
		case !ours || len(c.URI) > longestURI:
		case len(all.contacts) >= mostPhones || places[c.AOR] >= mostPlaces:
			all.more.contacts++
		default:
			places[c.AOR]++
			all.contacts = append(all.contacts, c)
		}
	}
	asked := all.contacts
	if !whole {
		asked = w.board.strangers(asked)
	}
	if all.states, err = ami.States(ctx, asked); err != nil || !whole {
		return all, err
	}
	all.channels, all.more.channels, err = ami.Channels(ctx)
	return all, err
}
