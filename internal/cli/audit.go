package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type auditCommands struct {
	List auditListCommand `cmd:"" help:"List the records of applies, newest first."`
	Show auditShowCommand `cmd:"" help:"Show one record whole."`
}

type auditListCommand struct {
	Limit int `help:"How many at the most." default:"20"`
}

// Run lists the records.
func (c *auditListCommand) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 || c.Limit > 500 {
		return pbx.Invalid(pbx.FieldError{Field: "--limit", Message: "must be from 1 to 500"})
	}
	p, err := a.ready(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	page, err := p.engine.Logs(ctx, apply.LogQuery{Limit: c.Limit})
	if err != nil {
		return err
	}
	if a.json {
		logs := make([]logJSON, len(page.Logs))
		for i, l := range page.Logs {
			logs[i] = toLogJSON(l)
		}
		return a.printJSON(map[string]any{"logs": logs})
	}
	if len(page.Logs) == 0 {
		fmt.Fprintln(a.stdout, "Nothing has been applied yet. Apply: pbxportal apply")
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHEN\tWHO\tOUTCOME\tDETAILS\tID")
	for _, l := range page.Logs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.TriggeredAt.Format(time.RFC3339), l.TriggeredBy, l.Outcome, shorten(oneLine(l.ErrorDetails), 60), l.ID)
	}
	return w.Flush()
}

type auditShowCommand struct {
	ID string `arg:"" help:"The record's id."`
}

// Run shows the record.
func (c *auditShowCommand) Run(ctx context.Context, a *app) error {
	p, err := a.ready(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	l, err := p.engine.Log(ctx, pbx.RunID(c.ID))
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(toLogJSON(l))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "When\t%s\nWho\t%s\nOutcome\t%s\n", l.TriggeredAt.Format(time.RFC3339), l.TriggeredBy, l.Outcome)
	if l.ErrorDetails != "" {
		fmt.Fprintf(w, "Details\t%s\n", l.ErrorDetails)
	}
	for _, f := range l.FilesWritten {
		fmt.Fprintf(w, "Wrote\t%s\n", f)
	}
	printCommand(w, "PJSIP reload", l.Reload.PJSIP)
	printCommand(w, "Dialplan reload", l.Reload.Dialplan)
	return w.Flush()
}

// printCommand prints what Asterisk answered to a command, if it was sent.
func printCommand(w *tabwriter.Writer, name string, r *pbx.CommandResult) {
	if r != nil {
		fmt.Fprintf(w, "%s\texit code %d: %s\n", name, r.ExitCode, oneLine(r.Stdout+" "+r.Stderr))
	}
}

// oneLine joins the words of a text by single blanks.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// shorten cuts a text to n characters, with a mark where something was cut.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
