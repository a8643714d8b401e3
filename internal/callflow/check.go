package callflow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// FaultCode is a kind of Fault.
type FaultCode string

// The codes. The first three must be refused; the others are notes.
const (
	Missing     FaultCode = "missing"     // a field refers to something that does not exist
	Circular    FaultCode = "circular"    // a call that is not answered would never end
	TooLong     FaultCode = "too_long"    // a call that is not answered would come to more things than the dialplan enters
	DeadEnd     FaultCode = "dead_end"    // no phone rings, wherever the call goes on to
	Unreachable FaultCode = "unreachable" // nothing leads there
)

// Fault is something wrong with where calls go.
type Fault struct {
	Code   FaultCode
	Things []pbx.Ref // what it is about; for Circular and TooLong all of the way, in the order of the call
	Field  string    // of the first thing; "" for all of it
	Text   string    // a sentence with the problem and the remedy
}

// Refused reports whether a model with the fault must not be stored.
func (f Fault) Refused() bool { return f.Code == Missing || f.Code == Circular || f.Code == TooLong }

// graph has the references between items, and users whose calls go on to something. Nodes are the items by their position in the model, then the users.
type graph struct {
	index
	nodes     []pbx.Ref
	items     int       // the number of nodes that are items
	automatic [][]int   // the nodes that a call goes on to from each node, by itself
	toUser    []pbx.Ref // the other user who can be called that it goes on to by itself, the zero Ref for none
	referred  [][]int   // the nodes that a call can reach from each node in any way
	rings     []bool    // whether a call to the node makes a phone ring there, or at the user it goes on to
}

// add adds a node without references.
func (g *graph) add(r pbx.Ref, rings bool) {
	g.nodes, g.rings = append(g.nodes, r), append(g.rings, rings)
	g.automatic, g.referred, g.toUser = append(g.automatic, nil), append(g.referred, nil), append(g.toUser, pbx.Ref{})
}

// Check returns the faults of a model: those that must be refused first, in the order of the items, and of users after them.
func Check(m pbx.Model) []Fault {
	g := graph{index: newIndex(m), items: len(m.Items)}
	at := make(map[string]int, len(m.Items))
	references := make([][]pbx.Reference, 0, len(m.Items))
	for i := range m.Items {
		at[string(m.Items[i].ID)] = len(g.nodes)
		g.add(refOf(&m.Items[i]), false)
		references = append(references, m.Items[i].Body.References())
	}
	for i := range m.Users {
		if u := &m.Users[i]; goesOn(m.Levels, u) != nil {
			at[string(u.ID)] = len(g.nodes)
			g.add(refOfUser(u), !u.Disabled)
			references = append(references, goesOn(m.Levels, u))
		}
	}
	var faults []Fault
	for n, self := range g.nodes {
		for _, r := range references[n] {
			u := g.user(r.To)
			automatic := self.Kind == pbx.KindUser || slices.Contains(kindOf(self.Kind).automatic, r.Field)
			next, isNode := at[r.To.ID]
			if automatic && r.To.Kind == pbx.KindUser && !isNode && (u == nil || !u.Disabled) {
				g.toUser[n] = r.To
			}
			switch {
			case !g.exists(r.To):
				faults = append(faults, g.missing(self, r))
				continue
			case u != nil:
				g.rings[n] = g.rings[n] || !u.Disabled
			}
			if isNode {
				g.referred[n] = append(g.referred[n], next)
			}
			if isNode && automatic {
				g.automatic[n] = append(g.automatic[n], next)
			}
		}
	}
	return slices.Concat(faults, g.circular(), g.tooLong(), g.deadEnds(), g.unreachable())
}

// goesOn returns what calls to a user go on to, nil for nothing.
func goesOn(l pbx.Levels, u *pbx.User) []pbx.Reference {
	if u.Calls == (pbx.CallSettings{}) && l.References() == nil {
		return nil
	}
	return l.GoesOn(*u)
}

func (g *graph) missing(from pbx.Ref, r pbx.Reference) Fault {
	return Fault{
		Missing,
		[]pbx.Ref{from, r.To},
		r.Field,
		fmt.Sprintf("%s refers to a %s that does not exist. Choose another one in the field %s.", g.thing(from), words(r.To.Kind), r.Field),
	}
}

// Through returns the error of a model in which a thing, with these references, sends calls in a circle by themselves, or to more things than one can come to;
// nil if it does not.
func Through(m pbx.Model, self pbx.Ref, references []pbx.Reference) error {
	return ThroughOf(Check(m), self, references)
}

// ThroughOf does what Through does with the faults of a model that was checked.
func ThroughOf(faults []Fault, self pbx.Ref, references []pbx.Reference) error {
	for _, f := range faults {
		at := slices.Index(f.Things, self)
		if f.Code != Circular && f.Code != TooLong || at < 0 {
			continue
		}
		next := f.Things[(at+1)%len(f.Things)]
		follows := slices.IndexFunc(references, func(r pbx.Reference) bool { return r.To == next })
		if follows < 0 {
			continue // it is the last of a long chain, which another one begins
		}
		field, code := references[follows].Field, pbx.FieldChoice
		if f.Code == Circular {
			code = pbx.FieldCircular
		}
		return refusal(field, code, f)
	}
	return nil
}

// refusal returns the error of a field with a fault.
func refusal(field string, code pbx.FieldCode, f Fault) error {
	return pbx.Invalid(pbx.FieldError{Field: field, Code: code, Message: "must be another one: " + strings.ToLower(f.Text[:1]) + f.Text[1:]})
}

// ThroughSettings returns the error of a model with changed settings, in which calls would go in a circle by themselves, or to more things than one can come
// to; nil if they do not. references are those of the setting that changed.
func ThroughSettings(m pbx.Model, references []pbx.Reference) error {
	f, ok := Endless(m)
	if !ok {
		return nil
	}
	field := "calls"
	if i := slices.IndexFunc(references, func(r pbx.Reference) bool { return slices.Contains(f.Things, r.To) }); i >= 0 {
		field = references[i].Field
	}
	return refusal(field, pbx.FieldCircular, f)
}

// Endless returns the first fault of a model in which calls go in a circle by themselves, or to more things than one can come to; ok is false if they do not.
func Endless(m pbx.Model) (f Fault, ok bool) {
	faults := Check(m)
	i := slices.IndexFunc(faults, func(f Fault) bool { return f.Code == Circular || f.Code == TooLong })
	if i < 0 {
		return f, false
	}
	return faults[i], true
}

func refOfUser(u *pbx.User) pbx.Ref { return pbx.Ref{Kind: pbx.KindUser, ID: string(u.ID)} }

func refOf(item *pbx.Item) pbx.Ref { return pbx.Ref{Kind: item.Kind, ID: string(item.ID)} }

// words returns a kind as a text says it.
func words(k pbx.ThingKind) string { return strings.ReplaceAll(string(k), "_", " ") }

// circular returns one fault for each strongly connected component of the automatic references, with its shortest circle. Users can go on to each other: a
// call does not go on to a user to whom it came before.
func (g *graph) circular() []Fault {
	components := g.components()
	for _, c := range components {
		slices.Sort(c)
	}
	slices.SortFunc(components, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	var faults []Fault
	for _, component := range components {
		circle := g.circle(component)
		if component[0] >= g.items { // users only
			circle = nil
			if at := slices.IndexFunc(component, func(n int) bool { return slices.Contains(g.automatic[n], n) }); at >= 0 {
				circle = component[at : at+1]
			}
		}
		if circle == nil {
			continue
		}
		things := make([]pbx.Ref, len(circle))
		steps := make([]string, len(circle))
		for i, n := range circle {
			things[i] = g.nodes[n]
			steps[i] = g.thing(things[i]).String()
		}
		path := strings.Join(append(steps, steps[0]), " → ")
		faults = append(faults, Fault{
			Circular, things, "",
			"A call that is not answered would go in a circle without end: " + path + ". Let one of them go on to something else, or end the call.",
		})
	}
	return faults
}

// components returns the strongly connected components of the automatic references (Tarjan's algorithm). One comes after those that it goes on to.
func (g *graph) components() [][]int {
	t := tarjan{graph: g, order: make([]int, len(g.nodes)), low: make([]int, len(g.nodes)), on: make([]bool, len(g.nodes))}
	for n := range g.nodes {
		if t.order[n] == 0 {
			t.visit(n)
		}
	}
	return t.found
}

// tarjan is the state of Tarjan's algorithm.
type tarjan struct {
	graph      *graph
	last       int
	order, low []int // from 1; 0: not visited
	on         []bool
	stack      []int
	found      [][]int
}

func (t *tarjan) visit(n int) {
	t.last++
	t.order[n], t.low[n] = t.last, t.last
	t.stack, t.on[n] = append(t.stack, n), true
	for _, next := range t.graph.automatic[n] {
		if t.order[next] == 0 {
			t.visit(next)
			t.low[n] = min(t.low[n], t.low[next])
		} else if t.on[next] {
			t.low[n] = min(t.low[n], t.order[next])
		}
	}
	if t.low[n] != t.order[n] {
		return
	}
	first := slices.Index(t.stack, n)
	component := slices.Clone(t.stack[first:])
	t.stack = t.stack[:first]
	for _, member := range component {
		t.on[member] = false
	}
	t.found = append(t.found, component)
}

// circle returns the shortest circle through the first item of a component, nil if it has none.
func (g *graph) circle(component []int) []int {
	first := component[0]
	before := map[int]int{}
	for queue := []int{first}; len(queue) > 0; queue = queue[1:] {
		for _, next := range g.automatic[queue[0]] {
			if next == first {
				circle := []int{queue[0]}
				for circle[0] != first {
					circle = slices.Insert(circle, 0, before[circle[0]])
				}
				return circle
			}
			if _, seen := before[next]; !seen && slices.Contains(component, next) {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// tooLong returns a fault for each node that begins a chain of automatic references with more things than a call can come to.
func (g *graph) tooLong() []Fault {
	length := make([]int, len(g.nodes)) // of the longest chain from a node, with the user at its end
	longest := make([]int, len(g.nodes))
	follows := make([]bool, len(g.nodes))
	for _, component := range g.components() { // those that others go on to come first
		for _, n := range slices.Backward(component) { // of users that go on to each other, from the one that was found last
			longest[n] = -1
			if g.toUser[n].Kind != "" {
				length[n] = 1
			}
			for _, next := range g.automatic[n] {
				if length[next] == 0 {
					continue // the call came to it before
				}
				if follows[next] = true; length[next] > length[n] {
					length[n], longest[n] = length[next], next
				}
			}
			length[n]++
		}
	}
	var faults []Fault
	for n := range g.nodes {
		if length[n] <= maxHops || follows[n] {
			continue
		}
		var things []pbx.Ref
		last := n
		for at := n; at >= 0; at = longest[at] {
			things = append(things, g.nodes[at])
			last = at
		}
		if g.toUser[last].Kind != "" {
			things = append(things, g.toUser[last])
		}
		faults = append(faults, Fault{
			TooLong, things, "",
			fmt.Sprintf("A call to %s that is not answered would come to %d objects one after the other, and ends after %d. Let it go on to fewer.",
				g.thing(things[0]), length[n], maxHops),
		})
	}
	return faults
}

// deadEnds returns a note for each item where no phone rings, wherever a call goes on to.
func (g *graph) deadEnds() []Fault {
	backwards := make([][]int, len(g.nodes))
	for n, nexts := range g.automatic {
		for _, next := range nexts {
			backwards[next] = append(backwards[next], n)
		}
	}
	var start []int
	for n, rings := range g.rings {
		if rings {
			start = append(start, n)
		}
	}
	alive := reach(start, backwards)
	var faults []Fault
	for n := range g.items {
		if !alive[n] {
			r := g.nodes[n]
			faults = append(faults, Fault{
				DeadEnd,
				[]pbx.Ref{r},
				"",
				fmt.Sprintf("A call to %s makes no phone ring. Add a user who is enabled, or let the call go on to one.", g.thing(r)),
			})
		}
	}
	return faults
}

// unreachable returns a note for each item that has no number and that no call can reach.
func (g *graph) unreachable() []Fault {
	var start []int
	for n := range g.nodes {
		if g.thing(g.nodes[n]).Number != "" {
			start = append(start, n)
		}
	}
	reached := reach(start, g.referred)
	var faults []Fault
	for n := range g.items {
		if !reached[n] {
			r := g.nodes[n]
			faults = append(faults, Fault{
				Unreachable, []pbx.Ref{r}, "", fmt.Sprintf("No call can reach %s: it has no number, and nothing leads to it. Give it a number, or delete it.", g.thing(r)),
			})
		}
	}
	return faults
}

// reach reports which nodes can be reached from the given ones over the edges.
func reach(start []int, edges [][]int) []bool {
	reached := make([]bool, len(edges))
	for len(start) > 0 {
		n := start[len(start)-1]
		start = start[:len(start)-1]
		if !reached[n] {
			reached[n] = true
			start = append(start, edges[n]...)
		}
	}
	return reached
}
