package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type auditCommands struct {
	List    auditListCommand    `cmd:"" help:"List the records of applies, newest first."`
	Show    auditShowCommand    `cmd:"" help:"Show one record with all its details and events."`
	Saved   auditSavedCommand   `cmd:"" help:"Print the external changes that a forced apply overwrote; they may contain secrets."`
	Events  auditEventsCommand  `cmd:"" help:"List the events of the audit trail, newest first: who did what to what, and when."`
	Export  auditExportCommand  `cmd:"" help:"Print the audit trail as JSON lines that can be verified elsewhere."`
	Archive auditArchiveCommand `cmd:"" help:"Export the oldest events to a file, check it, and remove them from the database."`
	Verify  auditVerifyCommand  `cmd:"" help:"Verify that the audit trail was not changed, by its hashes and signed heads."`
	Begin   auditBeginCommand   `cmd:"" help:"Begin a new series of signed heads, after an alarm of the audit trail was investigated."`
	Head    auditHeadCommand    `cmd:"" help:"Print the signed head of the audit trail, to store it elsewhere."`
}

type auditListCommand struct {
	Limit int `help:"Maximum number of records, from 1 to 500." default:"20"`
}

// Run lists the records.
func (c *auditListCommand) Run(ctx context.Context, a *app, p *portal) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	page, err := p.engine.Logs(ctx, apply.LogQuery{Limit: c.Limit})
	if err != nil {
		return err
	}
	results, err := p.engine.Results(ctx, page.Logs)
	if err != nil {
		return err
	}
	if a.json {
		report := openapi.ApplyLogReport{Logs: make([]openapi.ApplyLogLine, len(page.Logs))}
		for i, l := range page.Logs {
			report.Logs[i] = httpapi.ApplyLogJSON(l, results[l.ID])
		}
		return a.printJSON(report)
	}
	if len(page.Logs) == 0 {
		fmt.Fprintln(a.stdout, "Nothing has been applied yet. Apply: pbxportal apply")
		return nil
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "WHEN\tWHO\tTRIGGERED BY\tOUTCOME\tDETAILS\tID")
	for _, l := range page.Logs {
		outcome := string(l.Outcome)
		if results[l.ID] == pbx.DryRun {
			outcome = "dry run"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.TriggeredAt.Format(time.RFC3339), proved(l.Actor), oneLine(l.TriggeredBy), outcome, shorten(oneLine(l.ErrorDetails), 60), l.ID)
	}
	fmt.Fprintln(w, "\nTo show one with all details: pbxportal audit show ID")
	return w.Flush()
}

type auditShowCommand struct {
	ID string `arg:"" help:"The record's id."`
}

// Run shows the record.
func (c *auditShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	r, err := p.engine.RunDetails(ctx, pbx.RunID(c.ID))
	if pbx.KindOf(err) == pbx.KindNotFound { // a record of the Python portal has no details
		r.Log, err = p.engine.Log(ctx, pbx.RunID(c.ID))
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.ApplyJSON(r))
	}
	a.printStory(r)
	return nil
}

// proved returns the authenticated actor who requested an apply. What the request claims itself is stored elsewhere.
func proved(a pbx.Actor) string {
	name := oneLine(a.Name)
	switch a.Kind {
	case "":
		return "not on record"
	case pbx.ActorPortal:
		return "the portal"
	case pbx.ActorAnonymous:
		return "not authenticated"
	case pbx.ActorToken:
		return "token " + name
	case pbx.ActorLocal:
		return "local " + name
	case pbx.ActorExtension:
		return "extension " + name
	case pbx.ActorPerson:
	}
	return name
}

// printStory prints the details of an apply, in order.
func (a *app) printStory(r pbx.Run) {
	l := r.Log
	w := newTable(a.stdout)
	fmt.Fprintf(w, "When\t%s\nWho\t%s\nTriggered by\t%s\n", l.TriggeredAt.Format(time.RFC3339), proved(l.Actor), oneLine(l.TriggeredBy))
	if r.Comment != "" {
		fmt.Fprintf(w, "Comment\t%s\n", oneLine(r.Comment))
	}
	fmt.Fprintf(w, "Outcome\t%s\n", l.Outcome)
	if r.Result != "" {
		fmt.Fprintf(w, "Result\t%s\n", resultText(r))
	}
	if r.Revision != 0 {
		fmt.Fprintf(w, "Revision\t%d\n", r.Revision)
	}
	if l.ErrorDetails != "" {
		fmt.Fprintf(w, "Details\t%s\n", oneLine(l.ErrorDetails))
	}
	for _, c := range r.Plan.Changes {
		fmt.Fprintf(w, "Change\t%s %s: %s\n", c.Title(), oneLine(c.Name), changeText(c))
	}
	for _, f := range l.FilesWritten {
		fmt.Fprintf(w, "Wrote\t%s\n", f)
	}
	printCommand(w, "PJSIP reload", l.Reload.PJSIP)
	printCommand(w, "Dialplan reload", l.Reload.Dialplan)
	for _, d := range r.Differences {
		fmt.Fprintf(w, "Differs\t%s\n", oneLine(d))
	}
	for _, f := range r.Saved {
		fmt.Fprintf(w, "Saved\t%s with its external changes, %d bytes: pbxportal audit saved %s\n", f.Path, len(f.Content), l.ID)
	}
	_ = w.Flush()
	for _, e := range r.Events {
		a.printEvent(e)
	}
}

type auditSavedCommand struct {
	ID string `arg:"" help:"The record's id."`
}

// Run prints external changes that a forced apply overwrote. They may contain secrets.
func (c *auditSavedCommand) Run(ctx context.Context, a *app, p *portal) error {
	r, err := p.engine.RunDetails(ctx, pbx.RunID(c.ID))
	if err != nil {
		return err
	}
	for _, f := range r.Saved {
		fmt.Fprintf(a.stdout, "; ---- %s\n%s", f.Path, f.Content)
	}
	if len(r.Saved) == 0 {
		fmt.Fprintln(a.stdout, "This apply overwrote no external changes.")
	}
	return nil
}

// checkLimit returns an error for a limit that no listing accepts.
func checkLimit(n int) error {
	if n < 1 || n > 500 {
		return pbx.Invalid(pbx.FieldError{Field: "--limit", Code: pbx.FieldRange, Least: 1, Most: 500, Message: "must be from 1 to 500"})
	}
	return nil
}

// printCommand prints Asterisk's answer to a command, if it was sent.
func printCommand(w io.Writer, name string, r *pbx.CommandResult) {
	if r != nil {
		fmt.Fprintf(w, "%s\texit code %d: %s\n", name, r.ExitCode, oneLine(r.Stdout+" "+r.Stderr))
	}
}

// oneLine joins the words of a text by single blanks, and drops unprintable characters: untrusted text must not control the terminal of the reader.
func oneLine(s string) string {
	readable := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(readable), " ")
}

// shorten cuts a text to n characters, with a mark where it was cut.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
