package asterisk

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DryRun is a call that Asterisk follows through its dialplan without ringing a phone.
type DryRun struct {
	Context, Exten string   // where the call begins
	Script         string   // a letter for each attempt to ring: a answered, b busy, n not answered, u not reachable; after the last one n
	Busy           []string // the numbers of the users who are in a call, once for each call to the user
}

// The families of Asterisk's database that the context sc-sim of the dialplan uses: its parameters, and what it records.
const (
	dryRunFamily = "sc-run"
	traceFamily  = "sc-sim"
)

// script matches a Script.
var script = regexp.MustCompile(`^[abnu]*$`)

// dialled matches the extension at which a dry run begins.
var dialled = regexp.MustCompile(`^[A-Za-z0-9_.*#+-]+$`)

// DryRuns follows the calls at the same time and returns what the dialplan recorded of each. It needs the portal's dialplan library in Asterisk, and
// res_clioriginate.so and func_db.so. A few dozen at a time are reasonable.
func (c *Control) DryRuns(ctx context.Context, runs []DryRun) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	name := "q" + strings.ToLower(rand.Text()[:10])
	var start, end []string
	for i, r := range runs {
		if !IsPlain(r.Context) || len(r.Exten) > longestName || !dialled.MatchString(r.Exten) || !script.MatchString(r.Script) {
			return nil, fmt.Errorf("%w: %q cannot be a dry run", ErrCommand, clip(fmt.Sprint(r)))
		}
		for _, b := range r.Busy {
			if !IsPlain(b) {
				return nil, fmt.Errorf("%w: %q is no number", ErrCommand, clip(b))
			}
		}
		key := name + "x" + strconv.Itoa(i)
		start = append(start,
			"database put "+dryRunFamily+" "+key+" "+strings.Join([]string{r.Context, r.Exten, r.Script, strings.Join(r.Busy, "-"), countsOf(r.Busy)}, "|"),
			"channel originate Local/"+key+"@"+traceFamily+"/n application Wait 1")
		end = append(end, "database deltree "+traceFamily+" "+key)
	}
	if err := c.batch(ctx, start); err != nil {
		return nil, err
	}
	traces, err := c.traces(ctx, name, len(runs))
	if err != nil {
		return nil, err
	}
	return traces, c.batch(ctx, end)
}

// countsOf returns how often each text occurs: "1000=2-1001=1".
func countsOf(texts []string) string {
	counts := map[string]int{}
	for _, t := range texts {
		counts[t]++
	}
	var all []string
	for _, t := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, t+"="+strconv.Itoa(counts[t]))
	}
	return strings.Join(all, "-")
}

// traces waits until the dry runs with keys that begin with a name have ended, and returns what they recorded.
func (c *Control) traces(ctx context.Context, name string, runs int) ([][]string, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		entries, err := c.entries(ctx, traceFamily)
		if err != nil {
			return nil, err
		}
		traces, err := tracesIn(entries, name, runs)
		if traces != nil || err != nil {
			return traces, about("the dry runs", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the dry runs did not end in time: the dialplan of the portal may lack its library, or Asterisk a module: %w", ctx.Err())
		case <-time.After(pause):
		}
	}
}

// traceKey matches the key of an entry of Asterisk's database: that of a dry run, with its step or "end".
var traceKey = regexp.MustCompile(`^/` + traceFamily + `/([a-z0-9]+)x(\d+)/(\w+)$`)

// tracesIn returns the traces of the dry runs of a name in entries of Asterisk's database; nil means that some have not ended.
func tracesIn(entries map[string]string, name string, runs int) ([][]string, error) {
	steps, ended := make([]map[string]string, runs), 0
	for key, recorded := range entries {
		m := traceKey.FindStringSubmatch(key)
		if m == nil {
			continue
		}
		run, err := strconv.Atoi(m[2])
		if m[1] != name || err != nil || run >= runs {
			continue
		}
		if steps[run] == nil {
			steps[run] = map[string]string{}
		}
		steps[run][m[3]] = recorded
		if m[3] == "end" {
			ended++
		}
	}
	if ended < runs {
		return nil, nil
	}
	traces := make([][]string, runs)
	for run, of := range steps {
		n, err := strconv.Atoi(of["end"])
		if err != nil || n != len(of)-1 {
			return nil, fmt.Errorf("%w: a dry run recorded %d steps and says %q", ErrUnparsable, len(of)-1, clip(of["end"]))
		}
		traces[run] = make([]string, n)
		for i := range n {
			step, found := of[strconv.Itoa(i+1)]
			if !found {
				return nil, fmt.Errorf("%w: step %d of a dry run is missing", ErrUnparsable, i+1)
			}
			traces[run][i] = step
		}
	}
	return traces, nil
}

// batch sends commands whose answers do not matter, as many at a time as fit into one read of Asterisk.
func (c *Control) batch(ctx context.Context, commands []string) error {
	for len(commands) > 0 {
		text, n := "", 0
		for n < len(commands) && (n == 0 || c.argv == nil && len(text)+1+len(commands[n]) <= maxCommand) {
			if err := checkCommand(commands[n]); err != nil {
				return err
			}
			text += "\x00" + commands[n]
			n++
		}
		reply, err := c.send(ctx, text[1:])
		if err != nil {
			return err
		}
		if reply.Fault != FaultNone {
			return &UnansweredError{Reply: reply}
		}
		if i := strings.Index(reply.Stdout, noSuchCommand); i >= 0 {
			return refused(reply.Stdout[i:])
		}
		commands = commands[n:]
	}
	return nil
}
