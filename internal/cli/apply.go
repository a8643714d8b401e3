package cli

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type applyCommand struct {
	By string `help:"Who or what asks; goes into the audit record. Default: cli: and your user name." placeholder:"TEXT"`
}

// Run applies.
func (c *applyCommand) Run(ctx context.Context, a *app) error {
	p, err := a.ready(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if c.By == "" {
		c.By = "cli:" + userName()
	}
	report, err := p.engine.Apply(ctx, apply.Request{TriggeredBy: c.By})
	if a.json {
		return errors.Join(a.printJSON(toReportJSON(report, err)), err)
	}
	if report.Log.ID != "" {
		a.printReport(report)
	}
	return err
}

// printReport tells how far an apply came.
func (a *app) printReport(r apply.Report) {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	defer w.Flush()
	for _, f := range r.Log.FilesWritten {
		fmt.Fprintf(w, "Wrote\t%s\n", f)
	}
	for name, result := range map[string]*pbx.CommandResult{"PJSIP": r.Log.Reload.PJSIP, "Dialplan": r.Log.Reload.Dialplan} {
		if result != nil {
			fmt.Fprintf(w, "%s reload\t%s\n", name, oneLine(result.Stdout+result.Stderr))
		}
	}
	switch r.Verification {
	case pbx.Confirmed:
		fmt.Fprintf(w, "Verified\tAsterisk runs exactly these %d users\n", r.Users)
	case pbx.Inconclusive:
		fmt.Fprintf(w, "Not verified\tAsterisk gave no answer that could be compared: %v\n", r.Differences)
	case pbx.Contradicted, pbx.NotVerified:
	}
	for _, d := range r.Differences {
		if r.Verification == pbx.Contradicted {
			fmt.Fprintf(w, "Differs\t%s\n", d)
		}
	}
	fmt.Fprintf(w, "Outcome\t%s in %s\n", r.Log.Outcome, r.Duration.Round(time.Millisecond))
	fmt.Fprintf(w, "Record\tpbxportal audit show %s\n", r.Log.ID)
}

// userName names the person at the terminal for the audit record.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}
