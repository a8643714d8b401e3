// Package live holds the live state of Asterisk: which phones are registered, which calls are up, and whether Asterisk is reachable. It keeps this in
// memory only, follows Asterisk's events without gaps, and notifies its listeners of each change.
//
// It changes nothing in Asterisk, knows of users only their numbers and no files, and does not trust texts from the phone network: names and user agents are cut and
// cleaned, and a phone is identified by the name Asterisk gives its channel or contact.
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

// LinkState is the state of the connection to Asterisk.
type LinkState string

// States of the connection to Asterisk.
const (
	Connected  LinkState = "connected"  // registrations and calls are current
	Connecting LinkState = "connecting" // Asterisk is unavailable, or still starting
	Refused    LinkState = "refused"    // Asterisk is reachable, but refuses the portal
	Off        LinkState = "off"        // not configured
)

// Link is the connection to Asterisk, the source of the live state.
type Link struct {
	State   LinkState
	Since   time.Time
	Version string // of Asterisk; "" while it is not connected
	Message string // a sentence for people, with the fix if one is needed
}

// RegistrationState is the state of a registered phone.
type RegistrationState string

// States of a registration.
const (
	Reachable   RegistrationState = "reachable"   // it answered Asterisk's last check
	Unreachable RegistrationState = "unreachable" // it did not
	Registered  RegistrationState = "registered"  // not checked yet
	Gone        RegistrationState = "gone"        // no longer registered; only in events
)

// Registration is a phone registered as an extension. An extension has one, unless it is configured to allow more.
type Registration struct {
	Number    pbx.Number
	Suffix    int // of the phone of the extension; 1 for the first
	State     RegistrationState
	Address   string // of the phone, host:port; with the number and the suffix it identifies the registration
	UserAgent string // sent by the phone
	RTT       time.Duration
	Since     time.Time // when the portal first saw it
	Expires   time.Time // zero while unknown
}

// CallState is the progress of a call.
type CallState string

// States of a call.
const (
	Ringing CallState = "ringing"
	Up      CallState = "up"
	Ended   CallState = "ended" // only in events
)

// Party is one end of a call.
type Party struct {
	Number string // an extension, or what the other network reports
	Name   string
}

// Call is a call with at least one extension.
type Call struct {
	ID    string
	State CallState
	From  Party
	To    Party
	Since time.Time // when it began
}

// Switches are what a user has switched, by a feature code or in the portal.
type Switches struct {
	pbx.Switches
	Number pbx.Number
}

// Sample is the maximum of concurrent registrations and calls within one minute.
type Sample struct {
	At            time.Time // its beginning
	Registrations int
	Calls         int
}

// Snapshot is the live state at one moment. Its lists are shared, and must not be changed.
type Snapshot struct {
	Link          Link
	Registrations []Registration // by number, suffix and address
	Calls         []Call         // oldest first
	Switches      []Switches     // by number; users who have nothing switched are missing
	History       []Sample       // of the last hour, oldest first; minutes without a connection are missing
	LeftOut       string         // what exceeds the limits, in words; "" if nothing
}

// Event is one change. One of the four is set.
type Event struct {
	ID           uint64
	Registration *Registration
	Call         *Call
	Switches     *Switches
	Link         *Link
}

// Update is what a listener has not received yet: the events since or, if these are no longer kept, the current state.
type Update struct {
	ID       uint64 // of the last event it covers
	Snapshot *Snapshot
	Events   []Event
}

// ErrClosed means that the portal is stopping, and that there will be no more updates.
var ErrClosed = errors.New("live state has ended")

// Timeouts and intervals of the connection.
const (
	firstPause  = 100 * time.Millisecond // before the first retry; doubled each time
	longPause   = 3 * time.Second        // the longest of these
	refusePause = 15 * time.Second       // after a refusal: more frequent retries would only fill Asterisk's log
	bootTime    = 30 * time.Second       // for Asterisk to say that it has started
	listEvery   = 30 * time.Second       // everything is listed again, to correct mistakes; it also shows that the connection is up
	afterPhone  = 100 * time.Millisecond // registrations are listed again: the event of a new phone contains only its address
	afterReload = 2 * time.Second        // likewise after a reload, which may change everything; an apply drops registrations right after it
	usersWait   = time.Second            // for the users' numbers: live state does not depend on the database
	atMost      = time.Second            // the minimum between two such lists, also when a thousand phones register at once
)

// Config is the configuration of a Watcher. Now and Log are required.
type Config struct {
	AMI asterisk.AMITarget // without a User live state is off
	Now func() time.Time
	Log *slog.Logger

	// Numbers returns the numbers of the users. Outside the pool only these are extensions: other phones with numbers are the administrator's. Without it
	// all numbers are.
	Numbers func(context.Context) ([]pbx.Number, error)

	// Switched, if not nil, is called for each change of switches by a feature code, with what they were before.
	Switched func(ctx context.Context, number pbx.Number, from, to pbx.Switches)
}

// Watcher follows one Asterisk. It is safe for concurrent use.
type Watcher struct {
	ami   asterisk.AMITarget
	now   func() time.Time
	log   *slog.Logger
	board *board

	numbers  func(context.Context) ([]pbx.Number, error)
	switched func(ctx context.Context, number pbx.Number, from, to pbx.Switches)
}

// New returns a Watcher. Its state is unknown until Run has connected.
func New(c Config) *Watcher {
	link := Link{State: Connecting, Since: c.Now(), Message: "not connected yet"}
	if c.AMI.User == "" {
		link.State, link.Message = Off, "live state is not set up: set AMI_USER and AMI_SECRET for the Asterisk Manager Interface; pbxportal doctor shows how"
	}
	return &Watcher{ami: c.AMI, now: c.Now, log: c.Log, board: newBoard(c.Now, link), numbers: c.Numbers, switched: c.Switched}
}

// Snapshot returns the current state.
func (w *Watcher) Snapshot() Snapshot { return w.board.snapshot() }

// Counts returns the numbers of registrations and calls; they are meaningful only while the link is connected.
func (w *Watcher) Counts() (registrations, calls int, link LinkState) {
	n, link := w.board.counts()
	return n.registrations, n.calls, link
}

// SetSwitches publishes the switches of a user that the portal has changed.
func (w *Watcher) SetSwitches(number pbx.Number, to pbx.Switches) { w.board.setSwitches(number, to) }

// Next returns the updates after the event with that id, and waits if there are none. A listener begins with 0 and continues with the ID of the update
// before. A slow listener misses nothing that matters: it gets a snapshot instead of old events. Ids of an earlier process lead to a snapshot, too.
func (w *Watcher) Next(ctx context.Context, after uint64) (Update, error) {
	return w.board.next(ctx, after)
}

// Run follows Asterisk until ctx ends, through its restarts and lost connections. It returns no error: problems of the connection are part of the state.
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

// sentence says what is wrong with the connection, and what to do.
func sentence(err error) string {
	text := clean(err.Error(), 300)
	if errors.Is(err, asterisk.ErrAMIRefused) {
		return text + ". Check that AMI_USER and AMI_SECRET are those of manager.conf, with read = system,call,user and write = reporting; pbxportal doctor shows details"
	}
	return text
}

// errNotBooted means that the first event is missing.
var errNotBooted = errors.New("asterisk has not reported that it has started: it is still starting, or read=system is missing from its user in manager.conf")

// follow connects, lists and follows, until the connection ends.
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
		for _, e := range events {
			w.takeSwitched(ctx, e)
		}
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
		// Events that happen meanwhile are queued in the connection, and processed after the list. An event older than the list does no harm: it is
		// followed by those that led to the state in the list.
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

// takeSwitched applies a change by a feature code, and reports it.
func (w *Watcher) takeSwitched(ctx context.Context, e asterisk.Event) {
	number, ok := pbx.ParseNumber(e.Switched.Exten)
	if e.Kind != asterisk.EventSwitched || !ok {
		return
	}
	from := w.board.switchesOf(number)
	to, ok := asterisk.Switches(from).With(e.Switched.Key, e.Switched.Value)
	if !ok {
		return
	}
	w.board.setSwitches(number, pbx.Switches(to))
	if w.switched != nil && pbx.Switches(to) != from {
		w.switched(ctx, number, from, pbx.Switches(to))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// awaitBoot waits for the event that says that Asterisk has started. An Asterisk that runs already sends it at once. Events before it are covered by the
// lists that follow.
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

// events waits for events, for at most that long; no events are a valid result.
func (w *Watcher) events(ctx context.Context, ami *asterisk.AMI, wait time.Duration) ([]asterisk.Event, error) {
	limited, cancel := context.WithTimeout(ctx, max(wait, 0))
	defer cancel()
	events, err := ami.Events(limited)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	return events, err
}

// listing is what Asterisk lists. An incomplete one says nothing about calls, nor about the reachability of known phones.
type listing struct {
	whole      bool
	extensions extensions // nil if they are unknown: those of the list before remain
	contacts   []asterisk.Registered
	states     map[string]asterisk.ContactState // by the ID of the contact
	channels   []asterisk.Channel
	switches   map[string]asterisk.Switches
	more       more // what was left out
}

// extensions returns the users' numbers outside the pool, nil if they are unknown.
func (w *Watcher) extensions(ctx context.Context) extensions {
	if w.numbers == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, usersWait)
	defer cancel()
	numbers, err := w.numbers(limited)
	if err != nil {
		return nil
	}
	x := extensions{}
	for _, n := range numbers {
		if !n.InPool() {
			x[n] = true
		}
	}
	return x
}

func (w *Watcher) list(ctx context.Context, ami *asterisk.AMI, whole bool) (listing, error) {
	all := listing{whole: whole, extensions: w.extensions(ctx)}
	contacts, beyond, err := ami.Registrations(ctx)
	if err != nil {
		return all, err
	}
	if all.switches, err = ami.Switches(ctx); err != nil {
		return all, err
	}
	all.more.contacts = beyond
	places := map[string]int{} // of each extension
	for _, c := range contacts {
		ours := all.extensions.hasPhone(c.AOR)
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
