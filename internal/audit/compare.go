package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// AlarmError means that the portal cannot confirm the integrity of the trail. No heads are signed until it is resolved.
type AlarmError struct {
	State string // broken, contradicted, or not compared
	Seq   int64  // the event concerned; 0 for none
	Why   string
}

// Error describes the fault.
func (a *AlarmError) Error() string { return "the audit trail is " + a.State + ": " + a.Why }

// Say returns the alarm for /health and doctor: the fault and the remedy.
func (a *AlarmError) Say() string { return a.State + ": " + a.Why + ": " + a.Do() }

// Do returns the remedy.
func (a *AlarmError) Do() string {
	return "run pbxportal audit verify, find out who changed the database or the state folder, then begin a new series of heads: pbxportal audit begin --reason TEXT"
}

// Kept holds the signed heads in the state folder: the list, and the newest one.
type Kept struct{ list, noted []Head }

// Len returns the number of heads.
func (k Kept) Len() int { return len(k.list) + len(k.noted) }

// all returns all heads, in the order of their events.
func (k Kept) all() []Head {
	return slices.SortedStableFunc(slices.Values(slices.Concat(k.list, k.noted)), func(a, b Head) int { return cmp.Compare(a.Seq, b.Seq) })
}

// series returns the name of the series of heads in the folder, its first signature, and the event it begins with.
func (k Kept) series() (name string, from int64) {
	if len(k.list) == 0 {
		return "", 0
	}
	return string(k.list[0].Signature), k.list[0].Seq
}

// Compare compares the trail with all that this portal knows of it: the heads in its state folder, the records of archived segments, and the newest
// entry that this process saw stored. It returns the newest entry, up to which it has verified the newest events. An *AlarmError describes a
// contradiction, or means that the heads to compare with are missing. It costs one query for the rows that heads name, and one for the newest
// events.
func (t *Trail) Compare(ctx context.Context) (newest chain.Head, own Kept, err error) {
	for {
		newest, own, p, err := t.look(ctx)
		if _, alarm := errors.AsType[*AlarmError](err); alarm && t.moved(ctx, p) { // events were archived meanwhile
			continue
		}
		return newest, own, err
	}
}

func (t *Trail) look(ctx context.Context) (newest chain.Head, own Kept, p *past, err error) {
	list, listErr := t.readKept(headsFile)
	noted, notedErr := t.readKept(notedFile)
	own = Kept{list, noted}
	if err := errors.Join(listErr, notedErr); err != nil {
		return newest, own, nil, &AlarmError{State: notCompared, Why: strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	series, from := own.series()
	if was := t.series.Swap(&series); was != nil && *was != series && series != "" {
		t.store.ForgetWitnessed() // a new series was begun by a person: what this process knew was reviewed
	}
	if p, err = t.past(ctx, from); err != nil {
		return newest, own, nil, err
	}
	if p.wrong != nil {
		if p.until >= from || !t.acknowledged(ctx, from) {
			return newest, own, p, &AlarmError{State: contradicted, Seq: p.wrong.Seq, Why: p.wrong.Why}
		}
		p.segments = nil
	}
	r, err := t.verifyTail(ctx, p.end(), tail, 0)
	if err == nil && r.Broken != nil && r.Broken.Seq < from && t.acknowledged(ctx, from) {
		r, err = t.verifyTail(ctx, p.end(), tail, from)
	}
	if err != nil {
		return newest, own, p, err
	}
	if r.Broken != nil {
		return newest, own, p, &AlarmError{State: "broken", Seq: r.Broken.Seq, Why: fmt.Sprintf("event %d: %s", r.Broken.Seq, r.Broken.Why)}
	}
	newest = r.Head
	if err := t.compare(ctx, newest, own.all(), p); err != nil {
		return newest, own, p, err
	}
	if own.Len() == 0 {
		began, err := t.beganBefore(ctx)
		if err != nil {
			return newest, own, p, err
		}
		if began = max(began, p.end().Seq); began != 0 { // a segment is signed, too
			return newest, own, p, &AlarmError{State: notCompared, Seq: began, Why: fmt.Sprintf("signed heads began with event %d, and there are none in %s: "+
				"restore %s, %s and %s from a copy", began, t.stateDir, keyFile, headsFile, notedFile)}
		}
	}
	return newest, own, p, nil
}

// acknowledged reports whether the first event of a series of heads records that a person reviewed what came before. The signature of the first
// head covers it.
func (t *Trail) acknowledged(ctx context.Context, seq int64) bool {
	events, err := t.store.EventsAfter(ctx, store.EventQuery{}, seq-1, 1)
	return err == nil && len(events) == 1 && events[0].Event.Seq == seq && events[0].Event.Action == pbx.ActionAuditBegin && events[0].Event.After["reason"] != ""
}

const notCompared = "not compared"

// compare compares heads with the rows they name, in one query. Archived events are no longer in the table: the last one of a segment is in its
// record, the others are in the archive, which audit verify reads; the portal compared both before it signed the record.
func (t *Trail) compare(ctx context.Context, newest chain.Head, heads []Head, p *past) error {
	known, wentBack := t.store.Witnessed()
	numbers := []int64{newest.Seq, known.Seq}
	for _, h := range heads {
		numbers = append(numbers, h.Seq)
	}
	slices.Sort(numbers)
	there, err := t.store.EventHashes(ctx, slices.Compact(numbers))
	if err != nil {
		return err
	}
	there[0] = chain.Hash{} // before the first event
	agrees := func(h chain.Head) bool {
		hash, is := there[h.Seq]
		if !is && h.Seq <= p.end().Seq {
			if hash, is = p.ends(h.Seq); !is {
				return true
			}
		}
		return is && hash == h.Hash
	}
	for _, h := range heads {
		if !agrees(h.Head) {
			return contradiction(there, h.Head, newest, fmt.Sprintf("the head signed at %s", h.At.Format(time.RFC3339)))
		}
	}
	switch {
	case !agrees(known):
		return contradiction(there, known, newest, "what this portal itself stored")
	case wentBack:
		return &AlarmError{State: contradicted, Seq: known.Seq, Why: fmt.Sprintf("for a time the database was behind event %d, which this portal had stored", known.Seq)}
	}
	if !agrees(newest) {
		return &AlarmError{State: contradicted, Seq: newest.Seq, Why: fmt.Sprintf("event %d changed while it was being checked", newest.Seq)}
	}
	return nil
}

const contradicted = "contradicted"

// contradiction describes how the trail differs from a known entry.
func contradiction(there map[int64]chain.Hash, known, newest chain.Head, by string) *AlarmError {
	a := &AlarmError{State: contradicted, Seq: known.Seq}
	if _, is := there[known.Seq]; is {
		a.Why = fmt.Sprintf("event %d is not that of %s: the trail was rewritten, or the database was replaced or restored", known.Seq, by)
	} else {
		a.Why = fmt.Sprintf("event %d is missing, which is in %s; the trail ends at event %d: events were removed, or an older copy of the database was restored",
			known.Seq, by, newest.Seq)
	}
	return a
}

// beganBefore returns the event with which the newest series of heads began, 0 for none.
func (t *Trail) beganBefore(ctx context.Context) (int64, error) {
	events, err := t.store.EventsBefore(ctx, store.EventQuery{Action: pbx.ActionAuditBegin}, 0, 1)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	return events[0].Event.Seq, nil
}

// begun records in a trail with a head that it is signed, so that an emptied state folder is noticed.
func (t *Trail) begun(ctx context.Context) error {
	if began, err := t.beganBefore(ctx); err != nil || began != 0 {
		return err
	}
	if segments, _, err := t.store.Segments(ctx); err != nil || len(segments) > 0 { // a segment records it as well
		return err
	}
	return t.appendBegin(ctx, nil)
}

// appendBegin appends the event with which a series of heads begins.
func (t *Trail) appendBegin(ctx context.Context, facts pbx.Facts) error {
	key, err := t.key()
	if err != nil {
		return err
	}
	public := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)) //nolint:errcheck // as documented
	e := pbx.NewAuditEvent(ctx, t.now(), pbx.ActionAuditBegin, pbx.AuditObject{Type: "audit", ID: public})
	e.After = facts
	return t.store.AppendEvent(ctx, e)
}

// Begun is the result of Begin.
type Begun struct {
	Head  Head
	Alarm string   // the alarm at that time; "" for none
	Kept  []string // the files with the heads of the series before
}

// Begin begins a new series of heads over the trail as it is, after a person has reviewed what contradicted it. The earlier heads are kept beside
// the new ones, and the trail records who began it, why, and the alarm at that time.
func (t *Trail) Begin(ctx context.Context, reason string) (b Begun, err error) {
	_, _, err = t.Compare(ctx)
	alarm, isAlarm := errors.AsType[*AlarmError](err)
	if err != nil && !isAlarm {
		return b, err
	}
	if isAlarm {
		b.Alarm = alarm.Error()
	}
	stamp := t.now().UTC().Format("-20060102T150405.000000Z")
	aside := map[string]string{headsFile: "audit-heads" + stamp + ".jsonl", notedFile: "audit-newest" + stamp + ".json"}
	for name := range aside {
		if _, err := os.Lstat(filepath.Join(t.stateDir, name)); errors.Is(err, fs.ErrNotExist) {
			delete(aside, name)
		}
	}
	t.store.ForgetWitnessed()
	if err := t.appendBegin(ctx, pbx.Facts{"reason": reason, "alarm": b.Alarm, "earlier_heads": aside[headsFile]}); err != nil {
		return b, err
	}
	for name, kept := range aside {
		if err := os.Rename(filepath.Join(t.stateDir, name), filepath.Join(t.stateDir, kept)); err != nil {
			return b, fmt.Errorf("cannot move the earlier heads of the audit trail aside: %w", err)
		}
		b.Kept = append(b.Kept, filepath.Join(t.stateDir, kept))
	}
	events, err := t.store.EventsBefore(ctx, store.EventQuery{}, 0, batch) // by number: by time, that of an earlier series may be newer, after the clock was set back
	i := slices.IndexFunc(events, func(e chain.Entry) bool { return e.Event.Action == pbx.ActionAuditBegin })
	if i < 0 { // an error alone may be due to an earlier event, which is what was reviewed
		return b, cmp.Or(err, errors.New("the event just appended to the audit trail is missing"))
	}
	newest := chain.Head{Seq: events[i].Event.Seq, Hash: events[i].Hash}
	if b.Head, err = t.sign(newest); err != nil {
		return b, err
	}
	line, err := b.Head.MarshalJSON()
	if err != nil {
		return b, fmt.Errorf("cannot write a head of the audit trail: %w", err)
	}
	line = append(line, '\n')
	return b, errors.Join(t.appendHead(line), t.replace(notedFile, line))
}
