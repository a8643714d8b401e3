package render

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// itemKind defines how items of one kind are written: as one step in a context of the kind, which calls a routine of the library.
type itemKind struct {
	kind    pbx.ThingKind
	context string
	routine string
	fields  []field // the arguments of the routine, in order
	args    func(pbx.Body, references) ([]string, error)
	body    func([]string, originals) pbx.Body // the reverse of args, for valid arguments
}

// field is an argument of a routine: the field of the item that it holds, by its name in the contract, and whether a value is one that the portal writes.
type field struct {
	name  string
	valid func(string) bool
}

// itemKinds returns the table of kinds: a new kind adds its row here.
func itemKinds() []itemKind { return []itemKind{ringGroups()} }

// kindIn returns the kind whose items are in a context, the zero kind for another context.
func kindIn(context string) itemKind {
	for _, k := range itemKinds() {
		if k.context == context {
			return k
		}
	}
	return itemKind{}
}

// isKey reports whether a text is the key of an item of the kind.
func (k itemKind) isKey(key string) bool {
	short, ok := strings.CutPrefix(key, strings.TrimSuffix(pbx.Meta{Kind: k.kind}.Key(), "0"))
	n, err := strconv.Atoi(short)
	return k.kind != "" && ok && err == nil && n > 0 && strconv.Itoa(n) == short
}

// item is the part of an item that the files depend on.
type item struct {
	owner   pbx.Thing
	context string
	numbers string // that can be dialled, separated by blanks
	call    string
}

// items returns the kind for items of all kinds.
func items() kind[item, item] {
	return kind[item, item]{
		take:  func(i item) item { return i },
		order: func(a, b item) int { return a.owner.Compare(b.owner) },
		same:  func(a, b item) bool { return a == b },
		piece: func(i item) piece {
			p := piece{owner: i.owner}
			for number := range strings.FieldsSeq(i.numbers) {
				p.steps = append(p.steps, enter(number, i.context, i.owner.Key))
			}
			p.steps = append(p.steps, pbx.Step{Context: i.context, Exten: i.owner.Key, Priority: 1, App: "Gosub", Args: i.call})
			return p
		},
	}
}

// itemsOf returns the items of a model in order of owner, and their dialplan contexts.
func itemsOf(m pbx.Model, r references) (all []item, contexts []context, err error) {
	for _, k := range itemKinds() {
		used := false
		for _, i := range m.Items {
			if i.Kind != k.kind {
				continue
			}
			if !used {
				contexts = append(contexts, context{name: k.context, path: pbx.CallflowPath})
			}
			used = true
			args, err := k.args(i.Body, r)
			if err != nil {
				return nil, nil, refused(fmt.Sprintf("%s %s cannot be written for Asterisk: %v. Correct it", i.Kind, i.Key(), err))
			}
			var numbers []string
			for _, c := range i.Body.Claims() {
				if c.Number != "" {
					numbers = append(numbers, c.Number)
				}
			}
			all = append(all, item{pbx.Thing{Kind: i.Kind, Key: i.Key()}, k.context, strings.Join(numbers, " "), call(k.routine, args...)})
		}
	}
	slices.SortFunc(all, func(a, b item) int { return a.owner.Compare(b.owner) })
	return all, contexts, nil
}

// references finds what items refer to.
type references struct {
	users map[string]string // the numbers of users, by id
	items map[string]pbx.Item
}

func referencesOf(m pbx.Model) references {
	r := references{make(map[string]string, len(m.Users)), make(map[string]pbx.Item, len(m.Items))}
	for i := range m.Users {
		r.users[string(m.Users[i].ID)] = strconv.Itoa(int(m.Users[i].Extension.Number))
	}
	for _, i := range m.Items {
		r.items[string(i.ID)] = i
	}
	return r
}

// Reasons why an item cannot be written. The database prevents them.
var (
	errBody    = errors.New("its data are not of its kind")
	errMissing = errors.New("it refers to something that does not exist")
)

// user returns the number of a user.
func (r references) user(id string) (string, error) {
	number, ok := r.users[id]
	if !ok {
		return "", errMissing
	}
	return number, nil
}

// destination returns a destination as the library reads it. The end of a call is that of a call that was not answered.
func (r references) destination(to pbx.Destination) (string, error) {
	return r.destinationOr(to, causeNoAnswer)
}

// destinationOr returns a destination as the library reads it. The end of a call has the cause.
func (r references) destinationOr(to pbx.Destination, cause string) (string, error) {
	if to.Kind == pbx.Hangup {
		return destination(hangupContext, cause), nil
	}
	if to.Kind == pbx.KindUser {
		number, err := r.user(to.ID)
		return destination(userContext, number), err
	}
	i, ok := r.items[to.ID]
	for _, k := range itemKinds() {
		if ok && i.Kind == to.Kind && i.Kind == k.kind {
			return destination(k.context, i.Key()), nil
		}
	}
	return "", errMissing
}

// change returns the change of an item. It exists if it has a step in the context of its kind.
func (k itemKind) change(from, to *piece) (c pbx.Change, found bool) {
	was, is := k.step(from), k.step(to)
	switch {
	case was != nil && is == nil:
		return pbx.Change{Kind: pbx.Removed}, true
	case was == nil && is != nil:
		return pbx.Change{Kind: pbx.Added}, true
	case is == nil:
		return c, false
	}
	c.Kind = pbx.Changed
	if !slices.Equal(numbersOf(from), numbersOf(to)) {
		c.What = append(c.What, "number")
	}
	a, b := k.arguments(was), k.arguments(is)
	switch {
	case *was == *is:
	case a == nil || b == nil:
		c.What = append(c.What, "dialplan") // one of them was written by another version, or by hand
	default:
		for i, f := range k.fields {
			if a[i] != b[i] {
				c.What = append(c.What, f.name)
			}
		}
	}
	return c, c.What != nil
}

// step returns the step of an item in the context of its kind, nil if it has none.
func (k itemKind) step(p *piece) *pbx.Step {
	if p == nil {
		return nil
	}
	i := slices.IndexFunc(p.steps, func(s pbx.Step) bool { return s.Context == k.context })
	if i < 0 {
		return nil
	}
	return &p.steps[i]
}

// arguments returns the arguments of the routine that a step calls, one for each field; nil if the step does not have the form that the portal writes.
func (k itemKind) arguments(s *pbx.Step) []string {
	text, ok := strings.CutPrefix(s.Args, library+","+k.routine+",1(")
	args := strings.Split(strings.TrimSuffix(text, ")"), ",")
	if !ok || len(args) != len(k.fields) || s.App != "Gosub" || s.Args != call(k.routine, args...) {
		return nil
	}
	return args
}

// isNumbers reports whether a text is numbers of users, joined by "-".
func isNumbers(text string) bool {
	for number := range strings.SplitSeq(text, "-") {
		if n, ok := pbx.ParseNumber(number); !ok || strconv.Itoa(int(n)) != number {
			return false
		}
	}
	return true
}

// isDestination reports whether a text is a destination as the library reads it.
func isDestination(text string) bool {
	context, exten, _ := strings.Cut(text, ".")
	switch context {
	case userContext:
		return !strings.Contains(exten, "-") && isNumbers(exten)
	case hangupContext:
		return exten == causeBusy || exten == causeNoAnswer || exten == causeUnreachable
	}
	return kindIn(context).isKey(exten)
}

// numbersOf returns the numbers that lead to an item, in order.
func numbersOf(p *piece) (numbers []string) {
	for _, s := range p.steps {
		if s.Context == pbx.Context {
			numbers = append(numbers, s.Exten)
		}
	}
	slices.Sort(numbers)
	return numbers
}
