package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
	"github.com/synergycall/pbxportal/internal/store"
)

// selection holds the common flags of events and export.
type selection struct {
	Actor  string `help:"Only events of this actor: an id or a name." placeholder:"ACTOR"`
	Action string `help:"Only this action, such as user.create; user. for all that begin with it." placeholder:"ACTION"`
	Object string `help:"Only events about this object: an id or a name." placeholder:"OBJECT"`
	Since  string `help:"Not before this day or time (2026-11-26, 2026-11-26T08:00:00Z), or not longer ago than this (24h)." placeholder:"WHEN"`
	Until  string `help:"Before this day or time." placeholder:"WHEN"`
}

// query returns the selection as a query.
func (s selection) query(now time.Time) (audit.Query, error) {
	since, sinceErr := moment(s.Since, "--since", now)
	until, untilErr := moment(s.Until, "--until", now)
	return audit.Query{Actor: s.Actor, Action: s.Action, Object: s.Object, Since: since, Until: until}, errors.Join(sinceErr, untilErr)
}

// moment reads a day, a time, or a duration before now; the zero time for "".
func moment(text, flag string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, pbx.Invalid(pbx.FieldError{Field: flag, Code: pbx.FieldMalformed, Message: "must be a day like 2026-11-26, a time like 2026-11-26T08:00:00Z, or how long ago, like 24h"})
}

type auditEventsCommand struct {
	selection
	Limit int `help:"Maximum number of events, from 1 to 500." default:"20"`
}

// Run lists events.
func (c *auditEventsCommand) Run(ctx context.Context, a *app, p *portal) error {
	q, err := c.query(time.Now())
	if err = errors.Join(err, checkLimit(c.Limit)); err != nil {
		return err
	}
	q.Limit = c.Limit
	page, err := p.trail.List(ctx, q)
	if err != nil {
		return err
	}
	if a.json {
		list := openapi.AuditEventList{Events: make([]openapi.AuditEvent, len(page.Events))}
		for i, e := range page.Events {
			list.Events[i] = httpapi.AuditEventJSON(e.Event)
		}
		return a.printJSON(list)
	}
	if len(page.Events) == 0 {
		fmt.Fprintln(a.stdout, "No matching events.")
		return nil
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "NO\tWHEN\tWHO\tFROM\tACTION\tOBJECT\tRESULT\tCHANGE")
	for _, e := range page.Events {
		v := e.Event
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Seq, v.At.Format(time.RFC3339), shorten(oneLine(string(v.Actor.Kind)+" "+v.Actor.Name), 40), v.Actor.From, v.Action,
			shorten(oneLine(v.Object.Type+" "+v.Object.Name), 40), v.Result, shorten(oneLine(changeOf(v)), 100))
	}
	return w.Flush()
}

// changeOf returns what an event changed, in one line.
func changeOf(e pbx.AuditEvent) string {
	names := slices.Sorted(maps.Keys(e.After))
	for _, name := range slices.Sorted(maps.Keys(e.Before)) {
		if _, both := e.After[name]; !both {
			names = append(names, name)
		}
	}
	var changes []string
	for _, name := range names {
		before, was := e.Before[name]
		after, is := e.After[name]
		switch {
		case was && is && before != after:
			changes = append(changes, name+": "+before+" → "+after)
		case is && !was:
			changes = append(changes, name+": "+after)
		case was && !is:
			changes = append(changes, name+": "+before+" →")
		}
	}
	return strings.Join(changes, ", ")
}

type auditExportCommand struct {
	selection
}

// Run prints events for storage elsewhere.
func (c *auditExportCommand) Run(ctx context.Context, a *app, p *portal) error {
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	return p.trail.Export(ctx, q, a.stdout)
}

type auditHeadCommand struct{}

// Run prints the signed head.
func (*auditHeadCommand) Run(ctx context.Context, a *app, p *portal) error {
	h, err := p.trail.Head(ctx)
	if err != nil {
		return err
	}
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	fmt.Fprintf(a.stdout, "%s\n", line)
	return nil
}

type auditBeginCommand struct {
	Reason string `required:"" help:"The result of the investigation; recorded in the audit trail." placeholder:"TEXT"`
}

// Run begins a new series of signed heads, after an alarm was investigated.
func (c *auditBeginCommand) Run(ctx context.Context, a *app, p *portal) error {
	if c.Reason = pbx.Normalize(c.Reason); c.Reason == "" {
		return usage(errors.New("--reason must be the result of the investigation: it is recorded in the audit trail"))
	}
	begun, err := p.trail.Begin(ctx, c.Reason)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.AuditSeriesReport{Alarm: begun.Alarm, Kept: append([]string{}, begun.Kept...), Head: toHead(begun.Head)})
	}
	if begun.Alarm != "" {
		fmt.Fprintf(a.stdout, "Acknowledged: %s.\n", begun.Alarm)
	}
	fmt.Fprintf(a.stdout, "A new series of signed heads begins with event %d.\n", begun.Head.Seq)
	for _, file := range begun.Kept {
		fmt.Fprintf(a.stdout, "The heads so far are kept as evidence: %s\n", file)
	}
	return nil
}

type auditArchiveCommand struct {
	Before string `required:"" help:"The events before this day or time (2026-11-26, 2026-11-26T08:00:00Z), or older than this (8760h)." placeholder:"WHEN"`
	To     string `required:"" help:"The file; it must not exist yet. Only its owner can read it." placeholder:"FILE"`
}

// Run archives the oldest events.
func (c *auditArchiveCommand) Run(ctx context.Context, a *app, p *portal) error {
	before, err := moment(c.Before, "--before", time.Now())
	if err != nil {
		return err
	}
	done, err := p.trail.Archive(ctx, before, c.To)
	if err != nil {
		return err
	}
	g := done.Segment
	if a.json {
		report := openapi.AuditArchiveReport{Archived: g != nil}
		if g != nil {
			report.Segment = new(toSegment(*g))
		}
		if done.Resumed != "" {
			report.Resumed = &done.Resumed
		}
		return a.printJSON(report)
	}
	if g == nil {
		fmt.Fprintf(a.stdout, "There is no event before %s to archive.\n", before.UTC().Format(time.RFC3339))
		return nil
	}
	switch done.Resumed {
	case audit.ResumedExported:
		fmt.Fprintf(a.stdout, "%s exists already, and contains these events.\n", c.To)
	case audit.ResumedNoted:
		fmt.Fprintf(a.stdout, "%s was archived before; the rest of its events was removed.\n", c.To)
	}
	fmt.Fprintf(a.stdout, "Archived events %d–%d in %s, hash %s, SHA-256 of the file %x.\nKeep the file, and a copy of it elsewhere: the database no longer has these events.\n",
		g.First, g.Last.Seq, c.To, g.Last.Hash, g.File)
	return nil
}

func toHead(h audit.Head) openapi.AuditHead {
	text := base64.StdEncoding.EncodeToString
	return openapi.AuditHead{Seq: h.Seq, Hash: h.Hash.String(), At: h.At.UTC().Truncate(time.Second), Key: text(h.Key), Signature: text(h.Signature)}
}

// toFault returns the first fault of the trail, nil for none.
func toFault(b *audit.Break) *openapi.AuditFault {
	if b == nil {
		return nil
	}
	return &openapi.AuditFault{Seq: b.Seq, Why: b.Why}
}

func toSegment(g store.Segment) openapi.AuditSegment {
	return openapi.AuditSegment{First: g.First, Last: g.Last.Seq, Hash: g.Last.Hash.String(), FileSha256: fmt.Sprintf("%x", g.File), At: g.At}
}

type auditVerifyCommand struct {
	File    string   `arg:"" optional:"" help:"Verify this archive, or complete export, instead of the database."`
	Heads   []string `help:"A file with heads stored elsewhere, as printed by audit head, one per line. The portal's own list is always checked." placeholder:"FILE"`
	Archive []string `help:"A file written by audit archive, to be verified together with the database." placeholder:"FILE"`
}

// Run verifies the trail. Faults are printed, and make the exit code 1. It changes nothing and needs no key, so that a copy of the database can be
// verified anywhere.
func (c *auditVerifyCommand) Run(ctx context.Context, a *app) error {
	var heads []audit.Head
	var err error
	for _, file := range c.Heads {
		more, readErr := readHeads(file)
		heads, err = append(heads, more...), errors.Join(err, readErr)
	}
	if c.File != "" {
		if len(c.Archive) > 0 {
			err = errors.Join(err, usage(errors.New("use either FILE, to verify it by itself, or --archive FILE, to verify it together with the database")))
		}
		if err != nil {
			return err
		}
		return a.verifyFile(ctx, c.File, heads)
	}
	p, openErr := a.open()
	if openErr != nil {
		return openErr
	}
	defer p.close()
	if err := a.mayCreate(ctx, p); err != nil {
		return err
	}
	own, ownErr := p.trail.OwnHeads()
	if err = errors.Join(ownErr, err); err != nil {
		return err
	}
	r, err := p.trail.Verify(ctx, slices.Concat(own, heads), c.Archive...)
	if err != nil {
		return err
	}
	if a.json {
		archived := make([]openapi.AuditSegment, len(r.Archived))
		for i, g := range r.Archived {
			archived[i] = toSegment(g)
		}
		err = a.printJSON(openapi.AuditReport{
			Whole: r.Broken == nil, Events: &r.Events, Hash: r.Head.Hash.String(), Heads: r.Heads, Archived: &archived, HeadsOfArchives: &r.Elsewhere,
			Broken: toFault(r.Broken),
		})
	} else {
		for _, g := range r.Archived {
			fmt.Fprintf(a.stdout, "Events %d–%d were archived on %s in a file with the SHA-256 %x, hash %s.\n", g.First, g.Last.Seq, g.At.Format(time.RFC3339), g.File, g.Last.Hash)
		}
		if r.Broken != nil {
			fmt.Fprintf(a.stdout, "The audit trail is BROKEN at event %d: %s.\n%d events before it are intact.\n", r.Broken.Seq, r.Broken.Why, r.Events)
		} else {
			fmt.Fprintf(a.stdout, "The audit trail is intact: %d events, %s. The last hash is %s.\n", r.Events, agreeing(r.Heads), r.Head.Hash)
		}
		if r.Elsewhere > 0 && r.Broken == nil {
			fmt.Fprintf(a.stdout, "%d signed heads belong to archived events: verify them with --archive FILE.\n", r.Elsewhere)
		}
	}
	if r.Broken != nil {
		return quiet(exitFailed)
	}
	return err
}

// agreeing returns how many heads agree, as text.
func agreeing(heads int) string {
	if heads == 0 {
		return "no signed head to compare with"
	}
	return fmt.Sprintf("%d signed heads agree", heads)
}

// verifyFile verifies exported events by themselves.
func (a *app) verifyFile(ctx context.Context, file string, heads []audit.Head) error {
	f, err := audit.CheckFile(ctx, file, heads)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(openapi.AuditReport{
			Whole: f.Broken == nil, First: &f.First, Last: &f.Last.Seq, Prev: new(f.Prev.String()), Hash: f.Last.Hash.String(), Heads: f.Heads,
			FileSha256: new(fmt.Sprintf("%x", f.Hash)), Broken: toFault(f.Broken),
		})
	} else if f.Broken == nil {
		fmt.Fprintf(a.stdout, "The file is intact: events %d–%d, %s. The hash before is %s, the last one %s, the SHA-256 of the file %x.\n",
			f.First, f.Last.Seq, agreeing(f.Heads), f.Prev, f.Last.Hash, f.Hash)
	} else {
		fmt.Fprintf(a.stdout, "The file is BROKEN at event %d: %s.\n", f.Broken.Seq, f.Broken.Why)
	}
	if f.Broken != nil {
		return quiet(exitFailed)
	}
	return err
}

func readHeads(file string) ([]audit.Head, error) {
	text, _, err := regular.Read(file, audit.LargestHeads)
	if err != nil {
		return nil, usage(fmt.Errorf("cannot read the heads: %w", err))
	}
	heads, err := audit.ReadHeads(bytes.NewReader(text), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return heads, nil
}

// reportTrail logs each head of the audit trail, so that it is stored where the log goes, and faults of the trail.
func (p *portal) reportTrail(h audit.Head, wrong error) {
	if wrong != nil {
		p.log.Error("the audit trail cannot be verified", "err", wrong)
		return
	}
	line, err := json.Marshal(h)
	if err != nil {
		p.log.Error("cannot write the head of the audit trail to the log", "seq", h.Seq, "err", err)
		return
	}
	p.log.Info("head of the audit trail", "seq", h.Seq, "hash", h.Hash.String(), "signed", string(line))
}
