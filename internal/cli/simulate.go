package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/httpapi"
)

type simulateCommand struct {
	As   string   `help:"The user who calls: id or extension number." placeholder:"USER"`
	From string   `help:"The number of a caller who is no user." placeholder:"NUMBER"`
	Dial string   `help:"The number that is dialled." placeholder:"NUMBER"`
	To   string   `help:"Instead of --dial: what is called, by number or id." placeholder:"NUMBER"`
	At   string   `help:"When, such as 2026-11-29T20:00, or with a zone." placeholder:"TIME"`
	Keys []string `help:"Result of each attempt: answer, answer:NUMBER, busy, unreachable or no_answer (default)." placeholder:"OUTCOME"`
	Away []string `help:"Users whose phones are not registered." placeholder:"USER"`
	Busy []string `help:"Users who are in a call, besides the caller." placeholder:"USER"`
	Plan bool     `xor:"state" help:"As the next apply deploys it: the default."`
	Rev  *int     `name:"revision" xor:"state" help:"As this revision has it." placeholder:"N"`
}

// Run follows the call.
func (c *simulateCommand) Run(ctx context.Context, a *app, p *portal) error {
	at, err := parseTime(c.At)
	if err != nil {
		return err
	}
	revision := 0
	if c.Rev != nil {
		if revision = *c.Rev; revision < 1 {
			return usage(errors.New("--revision must be the number of a revision: pbxportal revision list shows them"))
		}
	}
	r, err := p.engine.Simulate(ctx, callflow.Call{As: c.As, From: c.From, To: c.To, Dial: c.Dial, At: at, Keys: c.Keys, Away: c.Away, Busy: c.Busy}, revision)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.SimulationJSON(r, revision))
	}
	if revision != 0 {
		fmt.Fprintf(a.stdout, "As revision %d has it: ", revision)
	}
	fmt.Fprintln(a.stdout, oneLine(r.Sentence))
	fmt.Fprintln(a.stdout, "\nSteps")
	for i, s := range r.Steps {
		fmt.Fprintf(a.stdout, "%3d  %s\n", i+1, oneLine(s.Text))
	}
	if len(r.Why) > 0 {
		fmt.Fprintln(a.stdout, "\nWhy")
	}
	w := newTable(a.stdout)
	for _, y := range r.Why {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", oneLine(y.Thing.String()), y.Field, oneLine(y.Text))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range r.Faults {
		fmt.Fprintf(a.stdout, "\nFAULT  %s\n", oneLine(f.Text))
	}
	return nil
}

// parseTime reads the time of a call; an empty text is the zero time.
func parseTime(text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"} {
		if at, err = time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return at, usage(fmt.Errorf("cannot read --at %q: write a time such as 2026-11-29T20:00", text))
}
