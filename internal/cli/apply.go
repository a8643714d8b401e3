package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type planCommand struct {
	Diff     bool `help:"Show the changes of the files, line by line; secrets are hidden."`
	Live     bool `help:"Wait for Asterisk's answer however long it takes. Default: 3 seconds."`
	ExitCode bool `name:"exit-code" help:"Exit with code 8 unless database, files and the live Asterisk agree."`
}

// Run shows what an apply would do.
func (c *planCommand) Run(ctx context.Context, a *app, p *portal) error {
	look := p.engine.QuickPlan
	if c.Live || c.ExitCode {
		look = p.engine.Plan
	}
	plan, err := look(ctx)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(httpapi.PlanJSON(plan))
	} else {
		a.printPlan(plan, c.Diff)
	}
	if err == nil && c.ExitCode && (plan.Pending || len(plan.Drift) > 0 || len(plan.Clashes) > 0 || plan.Behind != "") {
		return quiet(exitPending)
	}
	return err
}

// printPlan prints what an apply would do, and what to do next.
func (a *app) printPlan(plan pbx.Plan, diff bool) {
	if plan.Revision == 0 {
		fmt.Fprintf(a.stdout, "%s. Nothing has been applied yet.\n", pbx.Users(plan.Users))
	} else {
		fmt.Fprintf(a.stdout, "%s. Revision %d is in place.\n", pbx.Users(plan.Users), plan.Revision)
	}
	for _, d := range plan.Drift {
		fmt.Fprintf(a.stdout, "\nDRIFT  %s\n", d)
	}
	if plan.Behind != "" && plan.Revision != 0 && len(plan.Drift) == 0 { // it would repeat the same
		fmt.Fprintf(a.stdout, "\nOUT OF SYNC  %s\n", plan.Behind)
	}
	a.printHost(plan)
	a.printChanges(plan.Changes)
	for _, b := range plan.Behaviour {
		fmt.Fprintf(a.stdout, "\nCALLS  %s\n", oneLine(b))
	}
	if diff {
		for _, d := range plan.Diffs {
			if d.Text != "" {
				fmt.Fprintf(a.stdout, "\n%s", d.Text)
			}
		}
	}
	fmt.Fprintln(a.stdout)
	foreign := slices.ContainsFunc(plan.Drift, func(d pbx.Drift) bool { return d.Kind == pbx.External })
	switch {
	case len(plan.Clashes) > 0:
		fmt.Fprintln(a.stdout, "Next: rename or remove in Asterisk's own configuration what clashes, or change these numbers in the portal; until then applies are refused.")
	case foreign:
		fmt.Fprintln(a.stdout, "Next: move the external file to another folder; until then applies are refused, because Asterisk would read it as well.")
	case len(plan.Drift) > 0 && !plan.Edited():
		fmt.Fprintln(a.stdout, "Next: pbxportal apply --force makes Asterisk run what this database says.")
	case len(plan.Drift) > 0:
		fmt.Fprintln(a.stdout, "Next: pbxportal apply --force overwrites the changed files; they are saved with the record.")
	case plan.Pending:
		fmt.Fprintf(a.stdout, "Next: pbxportal apply, or pbxportal apply --plan %s for exactly this plan.\n", plan.Hash)
	case plan.Behind != "":
		fmt.Fprintln(a.stdout, "Next: check that Asterisk is running, then run pbxportal apply, which reloads the files. The files are correct.")
	default:
		fmt.Fprintln(a.stdout, "Nothing to do: database, files and the live Asterisk agree.")
	}
}

// printHost lists what the host has under numbers of the pool and of users beside the portal's objects; clashes with users come first.
func (a *app) printHost(plan pbx.Plan) {
	const most = 20
	if len(plan.Host) > 0 {
		fmt.Fprintln(a.stdout)
	}
	for _, o := range plan.Clashes[:min(len(plan.Clashes), most)] {
		if o.Kind == pbx.KindReference {
			fmt.Fprintf(a.stdout, "CLASH  %s: Asterisk would reject the whole file\n", o)
		} else {
			fmt.Fprintf(a.stdout, "CLASH  %s: the portal has this number, too\n", o)
		}
	}
	notes := slices.DeleteFunc(slices.Clone(plan.Host), func(o pbx.HostObject) bool { return slices.Contains(plan.Clashes, o) })
	for _, o := range notes[:min(len(notes), most)] {
		said := "does not belong to the portal; no new user gets this number"
		if !o.Taken() {
			said = "does not belong to the portal, and does not affect it"
		}
		fmt.Fprintf(a.stdout, "NOTE   %s %s\n", o, said)
	}
	if more := max(len(plan.Clashes)-most, 0) + max(len(notes)-most, 0); more > 0 {
		fmt.Fprintf(a.stdout, "…      and %d more: pbxportal plan --json lists all\n", more)
	}
}

// mostChanges is the maximum number of changes listed for people; programs get all.
const mostChanges = 50

// printChanges lists what is added, removed and changed.
func (a *app) printChanges(changes []pbx.Change) {
	if len(changes) == 0 {
		return
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w)
	for _, ch := range changes[:min(len(changes), mostChanges)] {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", map[pbx.ChangeKind]string{pbx.Added: "+", pbx.Removed: "-", pbx.Changed: "~"}[ch.Kind], ch.Title(), oneLine(ch.Name), changeText(ch))
	}
	if more := len(changes) - mostChanges; more > 0 {
		fmt.Fprintf(w, "…\tand %d more: pbxportal plan --json lists all\n", more)
	}
	_ = w.Flush()
}

func changeText(c pbx.Change) string {
	text := string(c.Kind)
	if len(c.What) > 0 {
		text = "new " + strings.Join(c.What, ", ")
	}
	switch {
	case c.Was != 0:
		text += fmt.Sprintf("; it was %d, and the phone must be set up with %d", c.Was, c.Number)
	case slices.Equal(c.What, []string{"enabled"}) && c.Reregister:
		text = "disabled; the phone can no longer register"
	case slices.Equal(c.What, []string{"enabled"}):
		text = "enabled; the phone can register"
	case c.Reregister && c.Kind == pbx.Removed:
		text += "; the phone can no longer register"
	case c.Reregister:
		text += "; the phone must register again"
	}
	return text
}

type applyCommand struct {
	By        string `help:"Name recorded as the one who triggered it. Default: cli: and your user name." placeholder:"TEXT"`
	Comment   string `help:"Reason for the change, recorded with it." placeholder:"TEXT"`
	Plan      string `help:"Apply only if the plan still has this hash (as shown by plan)." placeholder:"HASH"`
	Force     bool   `help:"Overwrite external changes of the files; they are saved with the record first."`
	DryRun    bool   `help:"Do everything except write."`
	OnFailure string `help:"If Asterisk does not run the new files: keep them, or rollback. Default: roll back when Asterisk runs something else, keep when it does not answer." enum:",keep,rollback" default:"" placeholder:"WHAT"`
}

// Run applies.
func (c *applyCommand) Run(ctx context.Context, a *app, p *portal) error {
	return a.apply(ctx, p, apply.Request{
		TriggeredBy: c.By, Comment: c.Comment, IfMatch: c.Plan, Force: c.Force, DryRun: c.DryRun, OnFailure: apply.OnFailure(c.OnFailure),
	})
}

type rollbackCommand struct {
	Revision int    `arg:"" optional:"" help:"The revision to restore. Default: the newest earlier one that Asterisk was verified to run."`
	By       string `help:"Name recorded as the one who triggered it. Default: cli: and your user name." placeholder:"TEXT"`
	Comment  string `help:"Reason for the change, recorded with it." placeholder:"TEXT"`
	Force    bool   `help:"Overwrite external changes of the files; they are saved with the record first."`
}

// Run restores an earlier revision.
func (c *rollbackCommand) Run(ctx context.Context, a *app, p *portal) error {
	if c.Revision == 0 {
		var err error
		if c.Revision, err = p.engine.Previous(ctx); err != nil {
			return err
		}
	}
	if err := a.apply(ctx, p, apply.Request{TriggeredBy: c.By, Comment: c.Comment, Force: c.Force, Restore: c.Revision}); err != nil {
		return err
	}
	if !a.json {
		fmt.Fprintf(a.stdout, "\nThe files of revision %d are live again. The database is unchanged, so the next apply would undo this: pbxportal plan shows the changes, "+
			"and pbxportal user restore %d makes the users those of the revision. Everything besides users stays as it is.\n", c.Revision, c.Revision)
	}
	return nil
}

// apply applies, and prints the events as they happen.
func (a *app) apply(ctx context.Context, p *portal, r apply.Request) error {
	if r.TriggeredBy == "" {
		r.TriggeredBy = "cli:" + userName()
	}
	if !a.json {
		r.Emit = a.printEvent
	}
	run, err := p.engine.Apply(ctx, r)
	if a.json {
		report := httpapi.ApplyJSON(run)
		if err != nil {
			report.Outcome, report.Code, report.Error = openapi.Outcome(pbx.Failure), new(pbx.CodeOf(err)), new(errorText(err))
		}
		return errors.Join(a.printJSON(report), err)
	}
	if run.Log.ID != "" {
		a.printRun(run)
	}
	return err
}

// errorText returns the text of an error without repetition: its message includes the reason already, but not why a database is unavailable.
func errorText(err error) string {
	e, ok := errors.AsType[*pbx.Error](err)
	if !ok {
		return err.Error()
	}
	said, cause := *e, e.Err
	for inner, ok := errors.AsType[*pbx.Error](cause); ok; inner, ok = errors.AsType[*pbx.Error](cause) {
		cause = inner.Err
	}
	if said.Err = nil; e.Kind == pbx.KindUnavailable {
		said.Err = cause
	}
	return said.Error()
}

// printEvent prints an event of an apply.
func (a *app) printEvent(e pbx.Event) {
	fmt.Fprintf(a.stdout, "%6d ms  %-9s %s\n", e.After.Milliseconds(), e.Stage, oneLine(e.Message))
}

// printRun prints the result of an apply and its changes.
func (a *app) printRun(r pbx.Run) {
	a.printChanges(r.Plan.Changes)
	w := newTable(a.stdout)
	fmt.Fprintf(w, "\nResult\t%s\n", resultText(r))
	for _, d := range r.Differences {
		fmt.Fprintf(w, "Differs\t%s\n", oneLine(d))
	}
	fmt.Fprintf(w, "Record\tpbxportal audit show %s\n", r.Log.ID)
	_ = w.Flush()
}

// resultText returns one sentence about the result of an apply.
func resultText(r pbx.Run) string {
	switch r.Result {
	case pbx.Applied:
		if r.Verification == pbx.Confirmed {
			said := "applied: Asterisk runs exactly " + pbx.TheseUsers(r.Users)
			if changed := r.Plan.Summary(); changed != "" {
				said += "; " + changed
			}
			return said
		}
		return "in place, not verified: Asterisk was not asked whether it runs it" // adopted, or of an older portal
	case pbx.NotConfirmed:
		return "not confirmed: the files are in place and no command failed, but it could not be verified that Asterisk runs them; pbxportal doctor checks whether it is reachable " +
			"(a running portal keeps checking)"
	case pbx.Unchanged:
		return fmt.Sprintf("unchanged: Asterisk already runs exactly %s; it was not reloaded", pbx.TheseUsers(r.Users))
	case pbx.DryRun:
		return "dry run: nothing was written; run pbxportal apply to apply it"
	case pbx.RolledBack:
		return "rolled back: Asterisk rejected the new files and runs the previous ones again; its log names the rejected file and line"
	case pbx.RollbackFailed:
		return "failed, and so did the rollback: check Asterisk now (pbxportal doctor), then run pbxportal apply"
	case pbx.FilesAhead:
		if r.Verification == pbx.Confirmed {
			return "live, but not recorded: Asterisk runs the files in place, but this could not be recorded; run pbxportal apply to record it"
		}
		return "not live yet: the files are in place, Asterisk does not run them; check Asterisk, then run pbxportal apply (a running portal keeps trying)"
	case pbx.Refused:
		if r.Reclaimed() {
			return "refused: external changes were overwritten, and saved with the record; nothing else was changed"
		}
		return "refused: nothing was changed"
	case pbx.InDoubt, pbx.Interrupted:
	}
	return "outcome unknown: run pbxportal recover, or apply again, to determine it"
}

type installCommand struct{}

// Run creates the files.
func (*installCommand) Run(ctx context.Context, a *app, p *portal) error {
	made, err := p.engine.Install(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.InstallationReport{Installed: made})
	}
	if !made {
		fmt.Fprintln(a.stdout, "The files exist already. Check with pbxportal doctor whether Asterisk includes them.")
		return nil
	}
	fmt.Fprintf(a.stdout, "The generated files exist now. Include them at the end of these files, and reload Asterisk:\n"+
		"  %s/pjsip.conf       #include pjsip.d/synergycall/*.conf\n  %s/extensions.conf  #include extensions.d/synergycall/*.conf\n",
		p.config.AsteriskConfigDir, p.config.AsteriskConfigDir)
	return nil
}

type recoverCommand struct{}

// Run recovers from an interrupted apply.
func (*recoverCommand) Run(ctx context.Context, a *app, p *portal) error {
	did, err := p.engine.Recover(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.RecoveryReport{Did: append([]string{}, did...)})
	}
	if len(did) == 0 {
		fmt.Fprintln(a.stdout, "Nothing to recover.")
		return nil
	}
	for _, what := range did {
		fmt.Fprintln(a.stdout, what)
	}
	fmt.Fprintln(a.stdout, "Next: pbxportal plan shows whether anything is left to do.")
	return nil
}

type revisionCommands struct {
	List revisionListCommand `cmd:"" help:"List the revisions of the generated files, newest first."`
	Diff revisionDiffCommand `cmd:"" help:"Show the changes of the files between two revisions; secrets are hidden."`
}

type revisionListCommand struct {
	Limit int `help:"Maximum number of revisions, from 1 to 500." default:"20"`
}

// Run lists the revisions.
func (c *revisionListCommand) Run(ctx context.Context, a *app, p *portal) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	runs, err := p.engine.Revisions(ctx, 0, c.Limit)
	if err != nil {
		return err
	}
	site, err := p.engine.State()
	if err != nil {
		return err
	}
	if a.json {
		report := openapi.RevisionReport{Current: site.Current, Good: site.LastVerified, Revisions: make([]openapi.ApplyReport, len(runs))}
		for i, r := range runs {
			report.Revisions[i] = httpapi.ApplyJSON(r)
		}
		return a.printJSON(report)
	}
	if len(runs) == 0 {
		fmt.Fprintln(a.stdout, "Nothing has been applied yet. Apply: pbxportal apply")
		return nil
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "\tREVISION\tWHEN\tWHO\tTRIGGERED BY\tUSERS\tRESULT\tCOMMENT")
	for _, r := range runs {
		mark := ""
		if r.Revision == site.Current {
			mark = "→"
		}
		why := r.Comment
		if r.Restored != 0 {
			why = strings.TrimSpace(fmt.Sprintf("restores revision %d. %s", r.Restored, why))
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\t%s\t%s\n", mark, r.Revision, r.Log.TriggeredAt.Format(time.RFC3339), proved(r.Log.Actor), oneLine(r.Log.TriggeredBy), r.Users, r.Result, shorten(oneLine(why), 60))
	}
	return w.Flush()
}

type revisionDiffCommand struct {
	From int `arg:"" help:"The older revision."`
	To   int `arg:"" help:"The newer revision."`
}

// Run shows the changes of the files.
func (c *revisionDiffCommand) Run(ctx context.Context, a *app, p *portal) error {
	diffs, err := p.engine.Diff(ctx, c.From, c.To)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.DiffJSON(c.From, c.To, diffs))
	}
	for _, d := range diffs {
		if d.Text == "" {
			d.Text = d.Path + ": no difference\n"
		}
		fmt.Fprintln(a.stdout, d.Text)
	}
	return nil
}
