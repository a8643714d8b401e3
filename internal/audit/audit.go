// Package audit searches, exports and verifies the audit trail. The events are appended by the services, in the transaction of the change
// (store.Tx.AppendEvent).
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// batch is how many events are read at a time, so that no query takes long.
const batch = 1000

// Trail is the audit trail service. It is safe for concurrent use.
type Trail struct {
	store    *store.Store
	now      func() time.Time
	stateDir string
	series   atomic.Pointer[string] // the series of heads in the state folder at the last check; nil for none
}

// New returns the service over a store; now returns the current time, and stateDir is the folder of the signing key and the heads.
func New(s *store.Store, now func() time.Time, stateDir string) *Trail {
	return &Trail{store: s, now: now, stateDir: stateDir}
}

// Query selects a page of events. The zero Query selects the newest.
type Query struct {
	Actor  string    // id or name of the actor
	Action string    // such as user.create; "user." selects all actions with this prefix
	Object string    // id or name of the object
	Since  time.Time // inclusive; zero: from the first
	Until  time.Time // exclusive; zero: to the last
	Cursor string    // a Page's Next; "" for the newest
	Limit  int       // maximum number of events
}

// Page is one page of events, newest first.
type Page struct {
	Events []chain.Entry
	Next   string // the Cursor of the next page; "" on the last page
}

// List returns the events that the query selects. KindInvalid if Cursor is not a cursor.
func (t *Trail) List(ctx context.Context, q Query) (Page, error) {
	before := int64(0)
	if q.Cursor != "" {
		n, err := strconv.ParseInt(q.Cursor, 10, 64)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != q.Cursor {
			return Page{}, pbx.Invalid(pbx.FieldError{Field: "cursor", Code: pbx.FieldCursor, Message: "is not a cursor: give the next_cursor of an earlier answer, or none"})
		}
		before = n
	}
	events, err := t.store.EventsBefore(ctx, q.selection(), before, q.Limit+1)
	if err != nil {
		return Page{}, err
	}
	page := Page{Events: events}
	if len(events) > q.Limit {
		page.Events = events[:q.Limit]
		page.Next = strconv.FormatInt(page.Events[q.Limit-1].Event.Seq, 10)
	}
	return page, nil
}

func (q Query) selection() store.EventQuery {
	return store.EventQuery{Actor: q.Actor, Action: q.Action, Object: q.Object, Since: q.Since, Until: q.Until}
}

// Walk calls visit with every event the query selects, oldest first, up to the newest when it ends. It stops at the first error. Cursor and Limit
// are ignored.
func (t *Trail) Walk(ctx context.Context, q Query, visit func(chain.Entry) error) error {
	return t.walk(ctx, q.selection(), 0, visit)
}

func (t *Trail) walk(ctx context.Context, q store.EventQuery, after int64, visit func(chain.Entry) error) error {
	for {
		events, err := t.store.EventsAfter(ctx, q, after, batch)
		for _, e := range events {
			if err := visit(e); err != nil {
				return err
			}
			after = e.Event.Seq
		}
		if err == nil && len(events) == 0 && after > 0 && q != (store.EventQuery{}) {
			if there, err := t.store.EventHashes(ctx, []int64{after}); err != nil || len(there) == 0 { // the walk continues after an existing event
				return errors.Join(err, errors.New("events were archived during the listing: list again"))
			}
		}
		if err != nil || len(events) < batch {
			return err
		}
	}
}

// Export writes the events the query selects, oldest first, each as a line of JSON: the event in canonical form, its hash, and the hash before it,
// which is all that is needed to verify them elsewhere.
func (t *Trail) Export(ctx context.Context, q Query, to io.Writer) error {
	var line []byte
	return t.Walk(ctx, q, func(e chain.Entry) error {
		line = exported(line[:0], e)
		_, err := to.Write(line)
		return err
	})
}

// exported appends the line of an event in an export.
func exported(line []byte, e chain.Entry) []byte {
	line = append(line, `{"event":`...)
	line = append(line, chain.Canonical(e.Event)...)
	return fmt.Appendf(line, `,"prev":"%s","hash":"%s"}`+"\n", e.Prev, e.Hash)
}

// Report is the result of a verification.
type Report struct {
	Events    int64           // the number of verified events, from the first one in the database
	Head      chain.Head      // of those
	Heads     int             // the number of signed heads checked against them
	Archived  []store.Segment // the segments archived before them
	Elsewhere int             // the number of heads of archived events, which only the archives can verify
	Broken    *Break          // nil: the trail is intact
}

// Break is the first place where the trail is not what was written.
type Break struct {
	Seq int64
	Why string
}

// Verify verifies the chain from the first event, or from the record of archived segments, to the last, and compares it with signed heads; archived
// events are compared with their records, and with the given archive files. An error means that verification was not possible; faults of the trail
// are in the report.
func (t *Trail) Verify(ctx context.Context, heads []Head, archives ...string) (Report, error) {
	for {
		r, p, err := t.verify(ctx, heads, archives)
		if err == nil && r.Broken != nil && t.moved(ctx, p) { // events were archived meanwhile
			continue
		}
		return r, err
	}
}

func (t *Trail) verify(ctx context.Context, heads []Head, archives []string) (r Report, p *past, err error) {
	list, _ := t.readKept(headsFile) // on an error the caller gets it when it requests the heads
	_, series := Kept{list: list}.series()
	if p, err = t.past(ctx, series); err != nil {
		return r, nil, err
	}
	end := p.end()
	r.Head, r.Archived, r.Broken = end, p.segments, p.wrong
	if r.Broken != nil {
		return r, p, nil
	}
	bySeq, gone := map[int64][]Head{}, []Head{}
	for _, h := range heads {
		switch hash, is := p.ends(h.Seq); {
		case h.Seq == 0 || is && h.Seq < p.oldest: // of the empty chain, or of the end of a segment
			r.check(h, hash)
		case h.Seq < p.oldest:
			gone = append(gone, h)
		default:
			bySeq[h.Seq] = append(bySeq[h.Seq], h)
		}
	}
	if err := r.files(ctx, gone, archives); err != nil || r.Broken != nil {
		return r, p, err
	}
	told, first := len(p.segments) == 0, true
	err = t.walk(ctx, store.EventQuery{}, 0, func(e chain.Entry) error {
		if n := len(p.segments); first && n > 0 && e.Event.Seq >= p.segments[n-1].First && e.Event.Seq <= end.Seq {
			r.Head = chain.Head{Seq: e.Event.Seq - 1, Hash: e.Prev} // its removal was interrupted or is in progress; its end is checked below
		}
		first = false
		next, fault := chain.Follow(r.Head, e)
		if fault == nil && next.Seq == end.Seq && next.Hash != end.Hash {
			fault = errors.New("it is not the event with which the archived segment ends")
		}
		if fault != nil {
			r.Broken = &Break{max(r.Head.Seq+1, 1), fault.Error()}
			return errBroken
		}
		r.Head = next
		r.Events++
		told = told || e.Event.Action == pbx.ActionAuditArchive && e.Event.Object.ID == end.Hash.String()
		for _, h := range bySeq[next.Seq] {
			r.check(h, next.Hash)
		}
		if r.Broken != nil {
			return errBroken
		}
		return nil
	})
	if err = broken(&r, err); err != nil || r.Broken != nil {
		return r, p, err
	}
	if !told {
		r.Broken = &Break{r.Head.Seq + 1, fmt.Sprintf("no event records that events up to %d were archived", end.Seq)}
	}
	for _, h := range heads {
		if h.Seq > r.Head.Seq && (r.Broken == nil || h.Seq < r.Broken.Seq) {
			r.Broken = &Break{r.Head.Seq + 1, fmt.Sprintf("the trail ends at event %d, but there is a head of event %d, signed at %s: "+
				"events were removed, or an older copy of the database was restored", r.Head.Seq, h.Seq, h.At.Format(time.RFC3339))}
		}
	}
	return r, p, nil
}

// files checks archives: each has to be that of a recorded segment, and to agree with the heads of archived events.
func (r *Report) files(ctx context.Context, heads []Head, archives []string) error {
	answered := 0
	for _, path := range archives {
		f, err := CheckFile(ctx, path, heads)
		if err != nil {
			return err
		}
		noted := func(g store.Segment) bool {
			return g.First == f.First && g.Prev == f.Prev && g.Last == f.Last && g.File == f.Hash
		}
		if f.Broken != nil {
			r.Broken = &Break{f.Broken.Seq, path + ": " + f.Broken.Why}
			return nil
		} else if !slices.ContainsFunc(r.Archived, noted) {
			r.Broken = &Break{f.First, path + " is not an archive of this trail: the database has no record of this segment"}
			return nil
		}
		answered += f.Heads
	}
	r.Heads += answered
	r.Elsewhere = len(heads) - answered
	return nil
}

// check compares a head with the hash of its event.
func (r *Report) check(h Head, hash chain.Hash) {
	if r.Heads++; h.Hash != hash && r.Broken == nil {
		r.Broken = &Break{h.Seq, otherHash(h)}
	}
}

func otherHash(h Head) string {
	return fmt.Sprintf("the head signed at %s has another hash: the chain up to this event was rewritten", h.At.Format(time.RFC3339))
}

// VerifyTail verifies only the newest n events, and none before event from: earlier changes are found by Verify alone.
func (t *Trail) VerifyTail(ctx context.Context, n, from int64) (Report, error) {
	p, err := t.past(ctx, from)
	if err != nil {
		return Report{}, err
	}
	return t.verifyTail(ctx, p.end(), n, from)
}

// verifyTail is VerifyTail after the end of what was archived.
func (t *Trail) verifyTail(ctx context.Context, archived chain.Head, n, from int64) (Report, error) {
	newest, err := t.store.EventHead(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{}
	first := max(newest.Seq-n, from-1, 0)
	known := first <= archived.Seq
	if known {
		first, r.Head = archived.Seq, archived
	}
	err = t.walk(ctx, store.EventQuery{}, first, func(e chain.Entry) error {
		if !known { // starting in the middle, the link before the first event must be taken from that event
			r.Head, known = chain.Head{Seq: first, Hash: e.Prev}, true
		}
		next, fault := chain.Follow(r.Head, e)
		if fault != nil {
			r.Broken = &Break{r.Head.Seq + 1, fault.Error()}
			return errBroken
		}
		r.Head = next
		r.Events++
		return nil
	})
	return r, broken(&r, err)
}

// errBroken ends a walk whose report has the fault.
var errBroken = errors.New("the audit trail is broken")

// broken records an unreadable event as a break, and returns other errors.
func broken(r *Report, err error) error {
	unreadable, ok := errors.AsType[*store.UnreadableEventError](err)
	switch {
	case errors.Is(err, errBroken):
		return nil
	case ok:
		if r.Broken == nil {
			r.Broken = &Break{max(r.Head.Seq+1, 1), unreadable.Error()}
		}
		return nil
	}
	return err
}
