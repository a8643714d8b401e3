package audit

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
	"github.com/synergycall/pbxportal/internal/store"
)

// removed is the number of archived events that one transaction removes: other writers wait for it.
const removed = 500

// longestLine is longer than any exported event.
const longestLine = 16 << 20

// past holds the records of archived segments.
type past struct {
	segments []store.Segment
	oldest   int64  // the number of the oldest event in the table
	wrong    *Break // the fault in the records, or a missing record
	until    int64  // the newest event that wrong concerns
}

// end returns the link that the table has to continue.
func (p *past) end() chain.Head {
	if len(p.segments) == 0 {
		return chain.Head{}
	}
	return p.segments[len(p.segments)-1].Last
}

// ends returns the hash of an event that ends an archived segment.
func (p *past) ends(seq int64) (hash chain.Hash, is bool) {
	i := slices.IndexFunc(p.segments, func(g store.Segment) bool { return g.Last.Seq == seq })
	if i < 0 {
		return hash, false
	}
	return p.segments[i].Last.Hash, true
}

// past reads and checks the records of archived segments. The newest must be signed with this portal's key, if there is one, or precede the event
// with which its series of heads begins, as a person then reviewed what came before: anyone can write other records to the database.
func (t *Trail) past(ctx context.Context, series int64) (*past, error) {
	segments, oldest, err := t.store.Segments(ctx)
	if err != nil {
		return nil, err
	}
	p := &past{segments: segments, oldest: oldest}
	head := chain.Head{}
	for _, g := range p.segments {
		name := fmt.Sprintf("event %d is the last of an archived segment whose record ", g.Last.Seq)
		switch {
		case g.First != head.Seq+1 || g.Prev != head.Hash:
			p.wrong, p.until = &Break{g.Last.Seq, name + "does not continue the one before it"}, g.Last.Seq
		case len(g.Key) != ed25519.PublicKeySize || !ed25519.Verify(g.Key, segmentText(g), g.Signature):
			p.wrong, p.until = &Break{g.Last.Seq, name + "was changed: its signature does not match"}, g.Last.Seq
		}
		head = g.Last
	}
	if n := len(p.segments); n > 0 && p.wrong == nil {
		key, err := t.readKey()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		own := err != nil || key.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(p.segments[n-1].Key)) //nolint:errcheck // as documented
		if !own && (head.Seq >= series || !t.acknowledged(ctx, series)) {
			p.wrong, p.until = &Break{head.Seq, fmt.Sprintf("event %d is the last of an archived segment that was not signed with this portal's key", head.Seq)}, head.Seq
		}
	}
	if p.wrong == nil && p.oldest > head.Seq+1 {
		p.wrong, p.until = &Break{head.Seq + 1, fmt.Sprintf("event %d is missing: the oldest event is %d, and no archive of earlier ones is recorded", head.Seq+1, p.oldest)}, p.oldest-1
	}
	return p, nil
}

// moved reports whether events were archived or removed since p was read. p may be nil.
func (t *Trail) moved(ctx context.Context, p *past) bool {
	if p == nil {
		return false
	}
	segments, oldest, err := t.store.Segments(ctx)
	return err == nil && (len(segments) != len(p.segments) || oldest != p.oldest)
}

// segmentText returns the signed text of a segment.
func segmentText(g store.Segment) []byte {
	return fmt.Appendf(nil, "pbxportal audit segment\n%d\n%s\n%d\n%s\n%x\n%s\n", g.First, g.Prev, g.Last.Seq, g.Last.Hash, g.File, g.At.UTC().Format(time.RFC3339))
}

// FileReport is the result of checking an exported file.
type FileReport struct {
	First  int64 // the number of its first event
	Prev   chain.Hash
	Last   chain.Head
	Newest time.Time         // of all its events
	Heads  int               // the number of signed heads checked against it
	Hash   [sha256.Size]byte // SHA-256 of the file
	Broken *Break            // nil: the file is intact
}

// CheckFile verifies the chain in an exported file, and compares its events with the heads. An error means that the file could not be read.
func CheckFile(ctx context.Context, path string, heads []Head) (r FileReport, err error) {
	f, _, err := regular.Open(path, os.O_RDONLY)
	if err != nil {
		return r, fmt.Errorf("cannot read the exported events: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	bySeq := map[int64][]Head{}
	for _, h := range heads {
		bySeq[h.Seq] = append(bySeq[h.Seq], h)
	}
	sum := sha256.New()
	lines := bufio.NewScanner(io.TeeReader(regular.Stream(f), sum))
	lines.Buffer(nil, longestLine)
	for n := 1; r.Broken == nil && lines.Scan(); n++ {
		e, fault := parseLine(lines.Bytes())
		if n == 1 && fault == nil {
			r.First, r.Prev = e.Event.Seq, e.Prev
			r.Last = chain.Head{Seq: e.Event.Seq - 1, Hash: e.Prev}
			if r.First == 1 {
				r.Last = chain.Head{}
			}
		}
		next := r.Last
		if fault == nil {
			next, fault = chain.Follow(r.Last, e)
		}
		if fault != nil {
			r.Broken = &Break{r.Last.Seq + 1, fmt.Sprintf("line %d of the file: %s", n, fault)}
			break
		}
		if r.Last = next; e.Event.At.After(r.Newest) {
			r.Newest = e.Event.At
		}
		for _, h := range bySeq[next.Seq] {
			if r.Heads++; h.Hash != next.Hash {
				r.Broken = &Break{h.Seq, otherHash(h)}
			}
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("cannot read the exported events of %s: %w", path, err)
	}
	if r.First == 0 && r.Broken == nil {
		r.Broken = &Break{1, "the file contains no event"}
	}
	r.Hash = [sha256.Size]byte(sum.Sum(nil))
	return r, nil
}

// parseLine parses a line of Export.
func parseLine(line []byte) (e chain.Entry, err error) {
	var j struct {
		Event json.RawMessage `json:"event"`
		Prev  string          `json:"prev"`
		Hash  string          `json:"hash"`
	}
	if err := json.Unmarshal(line, &j); err != nil {
		return e, fmt.Errorf("it is no exported event: %w", err)
	}
	var prevErr, hashErr error
	e.Prev, prevErr = chain.ParseHash(j.Prev)
	e.Hash, hashErr = chain.ParseHash(j.Hash)
	e.Event, err = chain.Parse(j.Event)
	return e, errors.Join(err, prevErr, hashErr)
}

// Archived is the result of Archive.
type Archived struct {
	Segment *store.Segment // nil: there was nothing to archive
	Resumed string         // the steps that an earlier run had completed: ResumedExported, ResumedNoted; "" for none
}

// The steps of an earlier run.
const (
	ResumedExported = "exported" // the file was complete
	ResumedNoted    = "noted"    // the segment was recorded, and some of its events removed
)

// Archive exports all events before a time to a new file, verifies the file, records and signs the segment together with an audit event, and then
// removes the events. A head is signed first, and its event is kept. An interrupted run with the same file is continued. Archive refuses a trail
// that is not intact.
func (t *Trail) Archive(ctx context.Context, before time.Time, path string) (a Archived, err error) {
	h, _, err := t.WriteHead(ctx, true) // covers what is archived and the trail that continues
	if alarm, is := errors.AsType[*AlarmError](err); is {
		return a, fmt.Errorf("nothing was archived: %w: %s", alarm, alarm.Do())
	} else if err != nil {
		return a, err
	}
	newest := h.Head
	own, err := t.OwnHeads()
	if err != nil {
		return a, err
	}
	whole, err := t.Verify(ctx, own)
	if err != nil {
		return a, err
	}
	if b := whole.Broken; b != nil {
		return a, fmt.Errorf("nothing was archived: the audit trail is broken at event %d: %s: a broken trail is not archived, as it is evidence", b.Seq, b.Why)
	}
	_, series := Kept{list: own}.series()
	p, err := t.past(ctx, series)
	if err != nil {
		return a, err
	}
	_, lookErr := os.Lstat(path)
	there := !errors.Is(lookErr, fs.ErrNotExist)
	var f FileReport
	if there {
		if f, err = CheckFile(ctx, path, nil); err != nil {
			return a, err
		}
		a.Resumed = ResumedExported
	}
	if n := len(p.segments); n > 0 {
		last := p.segments[n-1]
		switch mine := there && f.Broken == nil && f.Hash == last.File; {
		case mine:
			if err := t.remove(ctx, p.oldest, last); err != nil {
				return a, err
			}
			newer, err := t.old(ctx, last.Last.Seq, newest.Seq, before)
			if err == nil && newer && p.oldest > last.Last.Seq {
				err = fmt.Errorf("nothing was archived: %s is the complete archive of events %d–%d, and cannot be extended: specify a new file for later events", path, last.First, last.Last.Seq)
			}
			return Archived{&last, ResumedNoted}, err
		case p.oldest <= last.Last.Seq:
			return a, fmt.Errorf("the archive of events %d–%d was recorded, but not all of them were removed: run it again with --to and the file whose SHA-256 is %x",
				last.First, last.Last.Seq, last.File)
		}
	}
	if there {
		err = t.resumes(ctx, path, f, p, newest, before)
	} else {
		f, err = t.export(ctx, p, newest.Seq, before, path)
	}
	if err != nil || f.First == 0 {
		return a, err
	}
	g, err := t.note(ctx, f, filepath.Base(path))
	if err != nil {
		return a, err
	}
	a.Segment = &g
	return a, t.remove(ctx, p.oldest, g)
}

// old reports whether there is an event to archive after an archived one.
func (t *Trail) old(ctx context.Context, archived, newest int64, before time.Time) (is bool, err error) {
	err = t.walk(ctx, store.EventQuery{}, archived, func(e chain.Entry) error {
		is = e.Event.At.Before(before) && e.Event.Seq < newest
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return is, err
}

// resumes returns an error unless an existing file contains the oldest events of the trail, all of which may be archived.
func (t *Trail) resumes(ctx context.Context, path string, f FileReport, p *past, newest chain.Head, before time.Time) error {
	hashes, err := t.store.EventHashes(ctx, []int64{f.Last.Seq})
	if err != nil {
		return err
	}
	if f.Broken != nil || f.First != p.oldest || f.Prev != p.end().Hash || hashes[f.Last.Seq] != f.Last.Hash || f.Last.Seq >= newest.Seq || !f.Newest.Before(before) {
		return fmt.Errorf("%s exists, and does not contain the oldest events of this audit trail, all before %s; it was not changed: specify a new file",
			path, before.UTC().Format(time.RFC3339))
	}
	return nil
}

// export writes the oldest events to a new file, and verifies it. A report without events means that no events are that old; then there is no file.
func (t *Trail) export(ctx context.Context, p *past, newest int64, before time.Time, path string) (f FileReport, err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*") // mode 0600
	if err != nil {
		return f, fmt.Errorf("cannot write the archive of the audit trail: %w", err)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // the result has its own name by then
	sum, last := sha256.New(), int64(0)
	to := bufio.NewWriter(io.MultiWriter(temporary, sum))
	err = t.walk(ctx, store.EventQuery{}, p.end().Seq, func(e chain.Entry) error {
		if !e.Event.At.Before(before) || e.Event.Seq >= newest {
			return errEnough
		}
		last = e.Event.Seq
		_, err := to.Write(exported(nil, e))
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err = errors.Join(err, to.Flush(), temporary.Sync(), temporary.Close()); err == nil && last == 0 {
		return f, nil
	}
	if err == nil {
		err = os.Link(temporary.Name(), path) // never replaces an existing file
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return f, fmt.Errorf("cannot write the archive of the audit trail; nothing was archived: %w", err)
	}
	f, err = CheckFile(ctx, path, nil)
	if err == nil && (f.Broken != nil || f.Last.Seq != last || f.Hash != [sha256.Size]byte(sum.Sum(nil))) {
		err = fmt.Errorf("%s does not contain what was written to it; nothing was archived: check the disk, and specify another file", path)
	}
	return f, err
}

// errEnough ends a walk early.
var errEnough = errors.New("no further events are needed")

// syncFolder makes the names in a folder survive a power cut.
func syncFolder(dir string) error {
	f, err := regular.Folder(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// note signs and records the segment of a file, together with its audit event.
func (t *Trail) note(ctx context.Context, f FileReport, file string) (g store.Segment, err error) {
	key, err := t.key()
	if err != nil {
		return g, err
	}
	public := key.Public().(ed25519.PublicKey) //nolint:errcheck // as documented
	g = store.Segment{First: f.First, Prev: f.Prev, Last: f.Last, File: f.Hash, At: t.now().UTC().Truncate(time.Second), Key: public}
	g.Signature = ed25519.Sign(key, segmentText(g))
	first, last := strconv.FormatInt(g.First, 10), strconv.FormatInt(g.Last.Seq, 10)
	e := pbx.NewAuditEvent(ctx, t.now(), pbx.ActionAuditArchive, pbx.AuditObject{Type: "audit", ID: g.Last.Hash.String(), Name: first + "–" + last})
	e.After = pbx.Facts{"first": first, "last": last, "hash": g.Last.Hash.String(), "file": file, "file_sha256": fmt.Sprintf("%x", g.File)}
	return g, t.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AppendEvent(ctx, e); err != nil {
			return err
		}
		return tx.InsertSegment(ctx, g)
	})
}

// remove removes the events of a segment, oldest first, in batches.
func (t *Trail) remove(ctx context.Context, oldest int64, g store.Segment) error {
	for ; oldest <= g.Last.Seq; oldest += removed {
		err := t.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			return tx.DeleteArchived(ctx, min(oldest+removed-1, g.Last.Seq))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
