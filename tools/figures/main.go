// Command figures reads the measurements of scripts/bench, prints them as Markdown, and fails if a target is missed.
//
// Standard input has the lines of the load driver (JSON, one measurement each) and of `go test -bench`, in any order.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	missed, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(2)
	}
	for _, m := range missed {
		fmt.Fprintln(os.Stderr, "missed:", m)
	}
	if len(missed) > 0 {
		os.Exit(1)
	}
}

// us is the column of our own program; all others are compared with it.
const us = "pbxportal"

// columns are the programs in the order of the table, by their labels in the driver's lines.
var columns = []struct{ label, title string }{
	{"plain", "reference"},
	{"tuned", "tuned"},
	{"tuned2", "tuned ×2"},
	{us, "pbxportal"},
}

// row is one line of the table, with the minimum or maximum of our measurement, as a multiple of another program's.
type row struct {
	title, figure string
	targets       []target
	max           bool // the targets are upper bounds
}

type target struct {
	of    string
	times float64
}

var rows = []row{
	{title: "POST /users, 32 clients, users/s", figure: "create_32clients_rate", targets: []target{{"plain", 4}, {"tuned", 2}}},
	{title: "… refused attempts, all rounds", figure: "create_32clients_refused"},
	{title: "… ms until the user exists", figure: "create_32clients_until_success"},
	{title: "… 99 % within, ms", figure: "create_32clients_until_success_p99"},
	{title: "POST /users, one after the other, ms", figure: "create_sequential"},
	{title: "GET /users (1000), 8 clients, req/s", figure: "list_8clients_rate", targets: []target{{"plain", 8}, {"tuned2", 1.5}}},
	{title: "… ms", figure: "list_8clients"},
	{title: "GET /users (1000), 1 client, ms", figure: "list_1clients"},
	{title: "GET /health, 8 clients, req/s", figure: "health_8clients_rate", targets: []target{{"plain", 2}}},
	{title: "DELETE /users/{id}, one after the other, ms", figure: "delete_sequential"},
	{title: "POST /apply (1000), one user replaced, ms", figure: "apply_changed"},
	{title: "POST /apply (1000), nothing changed, ms", figure: "apply_unchanged"},
	{title: "start to first 200 of /health, ms", figure: "startup", targets: []target{{"plain", 0.25}}, max: true},
	{title: "memory just started, PSS, MiB", figure: "server_pss_started", targets: []target{{"plain", 0.5}}, max: true},
	{title: "memory just started, RSS, MiB", figure: "server_rss_started", targets: []target{{"plain", 0.5}}, max: true},
	{title: "memory after load, PSS, MiB", figure: "server_pss_after_load", targets: []target{{"plain", 0.5}}, max: true},
	{title: "memory after load, RSS, MiB", figure: "server_rss_after_load", targets: []target{{"plain", 0.5}}, max: true},
}

// beside lists what is measured together with a bare reload, and how much longer it may take.
var beside = []struct {
	name, title string
	most        float64
}{{"plan", "plan", 1.5}, {"apply", "whole apply", 1.25}, {"rollback", "rollback", 1.5}}

func run(in io.Reader, out io.Writer) (missed []string, err error) {
	m := measured{figures: map[[2]string][]sample{}, refused: map[string]int{}}
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		if err := m.read(scanner.Text()); err != nil {
			return nil, err
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the figures: %w", err)
	}
	if len(m.figures) == 0 && len(m.applies) == 0 {
		return nil, errors.New("there are no figures in the input")
	}
	if len(m.figures) > 0 {
		missed, err = m.printComparison(out)
		if err != nil {
			return nil, err
		}
	}
	return append(missed, m.printApplies(out)...), nil
}

// measured is the whole input.
type measured struct {
	figures map[[2]string][]sample // by label and name, one sample a round
	refused map[string]int         // attempts to create a user that failed, by label
	applies []applyFigure
}

type sample struct {
	value     float64
	round     int
	disturbed bool // other programs kept the machine busy meanwhile
}

type applyFigure struct {
	engine string
	values map[string]float64 // by unit, such as ms/apply
}

// read reads one line; lines without a measurement are ignored.
func (m *measured) read(line string) error {
	switch {
	case strings.HasPrefix(line, "{"):
		return m.readDriver(line)
	case strings.HasPrefix(line, "BenchmarkApplyAgainstABareReload/"):
		return m.readApply(line)
	}
	return nil
}

func (m *measured) readDriver(line string) error {
	var f struct {
		Target, Name string
		Median       float64
		P99          *float64
		Round        int
		Other        float64        `json:"other_cpu_cores"`
		Failed       map[string]int `json:"failed_attempts"`
	}
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		return fmt.Errorf("cannot read the line %q: %w", line, err)
	}
	limit := 0.15
	if strings.HasPrefix(f.Name, "apply_") { // too short for exact measurements
		limit = 0.5
	}
	s := sample{f.Median, f.Round, f.Other >= limit}
	// A rate has no disturbance mark of its own; it follows the latencies of the same phase.
	if phase, ok := cutAny(f.Name, "_rate", "_until_success"); ok {
		for _, l := range m.figures[[2]string{f.Target, phase}] {
			s.disturbed = s.disturbed || l.round == f.Round && l.disturbed
		}
	}
	m.add(f.Target, f.Name, s)
	if f.P99 != nil {
		s.value = *f.P99
		m.add(f.Target, f.Name+"_p99", s)
	}
	if f.Name == "create_32clients" {
		for _, n := range f.Failed {
			m.refused[f.Target] += n
		}
		m.figures[[2]string{f.Target, "create_32clients_refused"}] = []sample{{value: float64(m.refused[f.Target])}}
	}
	return nil
}

func (m *measured) add(label, name string, s sample) {
	key := [2]string{label, name}
	m.figures[key] = append(m.figures[key], s)
}

func cutAny(s string, suffixes ...string) (string, bool) {
	for _, suffix := range suffixes {
		if before, ok := strings.CutSuffix(s, suffix); ok {
			return before, true
		}
	}
	return s, false
}

// readApply reads `BenchmarkApplyAgainstABareReload/sqlite-2  40  1.2 apply/reload  110 ms/apply  92 ms/reload …`.
func (m *measured) readApply(line string) error {
	fields := strings.Fields(line)
	_, name, _ := strings.Cut(fields[0], "/")
	name, _, _ = strings.Cut(name, "-")
	a := applyFigure{name, map[string]float64{}}
	for i := 3; i < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i-1], 64)
		if err != nil {
			return fmt.Errorf("cannot read the line %q: %w", line, err)
		}
		a.values[fields[i]] = v
	}
	for _, b := range beside {
		if a.values[b.name+"/reload"] == 0 {
			return fmt.Errorf("the line %q has no quotient of %s", line, b.name)
		}
	}
	m.applies = append(m.applies, a)
	return nil
}

// value returns the median of the undisturbed rounds, or of all rounds if there are none; mark says which.
func (m *measured) value(label, figure string) (v float64, mark string, ok bool) {
	all := m.figures[[2]string{label, figure}]
	if len(all) == 0 {
		return 0, "", false
	}
	var calm []float64
	for _, s := range all {
		if !s.disturbed {
			calm = append(calm, s.value)
		}
	}
	if len(calm) > 0 {
		return median(calm), "", true
	}
	for _, s := range all {
		calm = append(calm, s.value)
	}
	return median(calm), "\\*", true
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// printComparison prints the table of all programs and returns the targets that ours missed.
func (m *measured) printComparison(out io.Writer) (missed []string, err error) {
	shown := columns[:0:0]
	for _, c := range columns {
		if _, _, ok := m.value(c.label, rows[0].figure); ok {
			shown = append(shown, c)
		}
	}
	if len(shown) < 2 || shown[len(shown)-1].label != us {
		return nil, errors.New("the figures of " + us + " or of everything it is compared with are missing")
	}
	head, line := "| |", "|---|"
	for _, c := range shown {
		head, line = head+" "+c.title+" |", line+"--:|"
	}
	for _, c := range shown[:len(shown)-1] {
		head, line = head+" of "+c.title+" |", line+"--:|"
	}
	fmt.Fprintln(out, head+" target |\n"+line+"---|")
	for _, r := range rows {
		ours, mark, ok := m.value(us, r.figure)
		if !ok {
			return nil, fmt.Errorf("there is no %q of %s", r.figure, us)
		}
		cells, ratios := "| "+r.title+" |", ""
		for _, c := range shown[:len(shown)-1] {
			theirs, mark, ok := m.value(c.label, r.figure)
			if !ok {
				return nil, fmt.Errorf("there is no %q of %s", r.figure, c.label)
			}
			cells += " " + number(theirs) + mark + " |"
			if strings.HasSuffix(r.figure, "_refused") {
				ratios += " |"
			} else {
				ratios += fmt.Sprintf(" %s× |", ratio(ours/theirs))
			}
		}
		verdict, fault := m.judge(r, ours)
		missed = append(missed, fault...)
		fmt.Fprintln(out, cells+" "+number(ours)+mark+" |"+ratios+" "+verdict+" |")
	}
	return missed, nil
}

// judge compares our measurement with the row's targets.
func (m *measured) judge(r row, ours float64) (verdict string, missed []string) {
	if strings.HasSuffix(r.figure, "_refused") {
		if ours > 0 {
			return "**missed:** 0", []string{r.title + ": " + number(ours) + ", target 0"}
		}
		return "met: 0", nil
	}
	var said []string
	for _, t := range r.targets {
		theirs, _, ok := m.value(t.of, r.figure)
		if !ok {
			continue
		}
		sign, met := "≥", ours >= t.times*theirs
		if r.max {
			sign, met = "≤", ours <= t.times*theirs
		}
		text := fmt.Sprintf("%s %g× %s", sign, t.times, title(t.of))
		if met {
			said = append(said, "met: "+text)
			continue
		}
		said = append(said, "**missed:** "+text)
		missed = append(missed, fmt.Sprintf("%s: %s is %s× %s, target %s", r.title, number(ours), ratio(ours/theirs), title(t.of), text))
	}
	return strings.Join(said, ", "), missed
}

// printApplies prints the table of applies against bare reloads and returns the targets missed.
func (m *measured) printApplies(out io.Writer) (missed []string) {
	if len(m.applies) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\n| 1000 users, one replaced; real Asterisk | | ms | bare reload, ms | of reload | target |\n|---|---|--:|--:|--:|---|")
	for _, a := range m.applies {
		for _, b := range beside {
			quotient, verdict := a.values[b.name+"/reload"], "met"
			if quotient > b.most {
				verdict = "**missed**"
				missed = append(missed, fmt.Sprintf("%s on %s: %.2f× a bare reload, target ≤ %g×", b.title, a.engine, quotient, b.most))
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s | %.2f× | %s: ≤ %g× |\n", a.engine, b.title, number(a.values["ms/"+b.name]), number(a.values["ms/reload"]), quotient, verdict, b.most)
		}
	}
	return missed
}

func title(label string) string {
	for _, c := range columns {
		if c.label == label {
			return c.title
		}
	}
	return label
}

// number formats three significant digits.
func number(v float64) string {
	digits := 0
	for _, limit := range []float64{100, 10} {
		if v != 0 && v < limit {
			digits++
		}
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// ratio formats a quotient.
func ratio(v float64) string {
	if v < 10 {
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}
