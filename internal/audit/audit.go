// Package audit is about the audit trail: finding events in it, giving it away, and proving that nobody changed it. The events
// themselves are written by those who change something, in the transaction of the change (store.Tx.AppendEvent).
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

// batch is how many events are read at a time, so that no question to the database takes long.
const batch = 1000

// Trail is the service. It is safe for concurrent use.
type Trail struct {
	store    *store.Store
	now      func() time.Time
	stateDir string
	series   atomic.Pointer[string] // which series of heads was in the state folder at the last look; nil for none
}

// New makes the service over a store; now tells the time, and stateDir is the folder for the signing key and the list of heads.
func New(s *store.Store, now func() time.Time, stateDir string) *Trail {
	return &Trail{store: s, now: now, stateDir: stateDir}
}

// Query selects a page of events. The zero Query selects the newest.
type Query struct {
	Actor  string    // the id or the name of who did it
	Action string    // such as user.create; "user." selects all that begin so
	Object string    // the id or the name of what it was done to
	Since  time.Time // not before; zero: from the first
	Until  time.Time // before; zero: to the last
	Cursor string    // a Page's Next; "" for the newest
	Limit  int       // how many at the most
}

// Page is one page of events, the newest first.
type Page struct {
	Events []chain.Entry
	Next   string // the Cursor of the next page; "" when this is the last
}

// List gives the events that the query selects. KindInvalid when Cursor is not a cursor.
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

// Walk calls tell with every event the query selects, the oldest first, to the newest there is when it ends. It stops at the first
// error. Cursor and Limit mean nothing to it.
func (t *Trail) Walk(ctx context.Context, q Query, tell func(chain.Entry) error) error {
	return t.walk(ctx, q.selection(), 0, tell)
}

func (t *Trail) walk(ctx context.Context, q store.EventQuery, after int64, tell func(chain.Entry) error) error {
	for {
		events, err := t.store.EventsAfter(ctx, q, after, batch)
		for _, e := range events {
			if err := tell(e); err != nil {
				return err
			}
			after = e.Event.Seq
		}
		if err == nil && len(events) == 0 && after > 0 && q != (store.EventQuery{}) {
			if there, err := t.store.EventHashes(ctx, []int64{after}); err != nil || len(there) == 0 { // the list goes on behind an event that is there
				return errors.Join(err, errors.New("events were archived while they were listed: list again"))
			}
		}
		if err != nil || len(events) < batch {
			return err
		}
	}
}

// Export writes the events the query selects, the oldest first, each as a line of JSON: the event in its canonical form, its hash, and
// the hash before it. That is all it takes to check them elsewhere.
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

// Report is what a verification found.
type Report struct {
	Events    int64           // how many were checked and found whole, from the first on that is in the database
	Head      chain.Head      // of those
	Heads     int             // how many signed heads were checked against them
	Archived  []store.Segment // what was archived before them
	Elsewhere int             // how many heads are of archived events, which only the archives can answer
	Broken    *Break          // nil: the trail is whole
}

// Break is the first place where the trail is not what was written.
type Break struct {
	Seq int64
	Why string
}

// Verify follows the chain from the first event to the last, or from the record of what was archived before, and holds signed heads against
// it; of archived events it asks the records, and the files where they are given. An error says that it could not be checked; what is wrong with
// the trail stands in the report.
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
	list, _ := t.readKept(headsFile) // where it cannot be read, the caller is told when it asks for the heads
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
			r.Head = chain.Head{Seq: e.Event.Seq - 1, Hash: e.Prev} // its removal was interrupted, or goes on; its end says whether this is right
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
		r.Broken = &Break{r.Head.Seq + 1, fmt.Sprintf("no event tells that events up to %d were archived", end.Seq)}
	}
	for _, h := range heads {
		if h.Seq > r.Head.Seq && (r.Broken == nil || h.Seq < r.Broken.Seq) {
			r.Broken = &Break{r.Head.Seq + 1, fmt.Sprintf("the trail ends at event %d, but there is a head of event %d, signed at %s: "+
				"events were cut off, or an older copy of the database was put back", r.Head.Seq, h.Seq, h.At.Format(time.RFC3339))}
		}
	}
	return r, p, nil
}

// files checks archives: each has to be that of a segment that is noted, and to agree with the heads of archived events.
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
			r.Broken = &Break{f.First, path + " is not what was archived: no such segment is noted in the database"}
			return nil
		}
		answered += f.Heads
	}
	r.Heads += answered
	r.Elsewhere = len(heads) - answered
	return nil
}

// check holds a head against the hash of its event.
func (r *Report) check(h Head, hash chain.Hash) {
	if r.Heads++; h.Hash != hash && r.Broken == nil {
		r.Broken = &Break{h.Seq, otherHash(h)}
	}
}

func otherHash(h Head) string {
	return fmt.Sprintf("the head signed at %s has another hash: the chain up to this event was written anew", h.At.Format(time.RFC3339))
}

// VerifyTail follows the chain through the newest n events only, and through none before the one of number from: what was changed before
// is found by Verify alone.
func (t *Trail) VerifyTail(ctx context.Context, n, from int64) (Report, error) {
	p, err := t.past(ctx, from)
	if err != nil {
		return Report{}, err
	}
	return t.verifyTail(ctx, p.end(), n, from)
}

// verifyTail is VerifyTail behind the end of what was archived.
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
		if !known { // where one begins in the middle, the event's own word for what stood before it has to do
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

// errBroken ends a walk whose report says why.
var errBroken = errors.New("the audit trail is broken")

// broken notes an event that cannot be read as a break; other errors it gives back.
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
