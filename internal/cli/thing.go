package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

// shownKind is how items of one kind are printed.
type shownKind struct {
	kind    pbx.ThingKind
	json    func(pbx.Item) (any, error)
	list    func([]pbx.Item) (any, error)
	example string // the flags of an addition
	cells   func(i pbx.Item, names map[pbx.Ref]string) ([]cell, error)
	changed string // what to do after a change; "": apply
	deleted string // what a deletion means; "": the number is free
}

// next returns what to do after a change.
func (k shownKind) next() string {
	return cmp.Or(k.changed, "Not applied yet: run pbxportal apply to configure it in Asterisk.")
}

// cell is a field of an item as it is printed. Its label is the heading of a column, if lists have it.
type cell struct {
	label, value string
	listed       bool
}

// noun returns what a kind is called on the command line.
func noun(kind pbx.ThingKind) string { return strings.ReplaceAll(string(kind), "_", "-") }

// words returns a kind as a text says it.
func words(kind pbx.ThingKind) string { return strings.ReplaceAll(string(kind), "_", " ") }

// addThing creates an item: body with the fields that fields sets.
func (a *app) addThing(ctx context.Context, p *portal, k shownKind, body pbx.Body, fields func(*pbx.Item) error) error {
	i := pbx.Item{Body: body}
	err := fields(&i)
	if err == nil {
		i, err = p.routing.Create(ctx, pbx.DefaultTenant, i.Name, i.Body)
	}
	if err != nil {
		return err
	}
	return a.printThing(ctx, p, k, i, k.next())
}

// listThings prints the items of a kind whose name or number contains a text.
func (a *app) listThings(ctx context.Context, p *portal, k shownKind, text string) error {
	page, err := p.routing.List(ctx, pbx.DefaultTenant, k.kind, routing.Query{Text: text})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSONOf(k.list(page.Items))
	}
	if len(page.Items) == 0 {
		fmt.Fprintf(a.stdout, "No %ss. Create one: pbxportal %s add %s\n", words(k.kind), noun(k.kind), k.example)
		return nil
	}
	names, err := p.names(ctx)
	if err != nil {
		return err
	}
	w := newTable(a.stdout)
	for n, i := range page.Items {
		headings, values := []string{"NAME"}, []string{oneLine(i.Name)}
		if !k.kind.IsSetting() {
			headings, values = append([]string{"NUMBER"}, headings...), append([]string{numberOf(i)}, values...)
		}
		cells, err := k.cells(i, names)
		if err != nil {
			return err
		}
		for _, c := range cells {
			if c.listed {
				headings, values = append(headings, strings.ToUpper(c.label)), append(values, c.value)
			}
		}
		if n == 0 {
			fmt.Fprintln(w, strings.Join(append(headings, "ID"), "\t"))
		}
		fmt.Fprintln(w, strings.Join(append(values, string(i.ID)), "\t"))
	}
	return w.Flush()
}

// showThing prints one item.
func (a *app) showThing(ctx context.Context, p *portal, k shownKind, key string) error {
	i, err := p.item(ctx, k.kind, key)
	if err != nil {
		return err
	}
	return a.printThing(ctx, p, k, i, "")
}

// setThing changes those fields of an item that fields sets, and prints it.
func (a *app) setThing(ctx context.Context, p *portal, k shownKind, key string, fields func(*pbx.Item) error) error {
	was, err := p.item(ctx, k.kind, key)
	if err != nil {
		return err
	}
	i, err := p.routing.Change(ctx, pbx.DefaultTenant, k.kind, was.ID, 0, fields)
	if err != nil {
		return err
	}
	next := cmp.Or(k.changed, "Not applied yet: run pbxportal apply.")
	if i.Version == was.Version {
		next = "Nothing changed."
	}
	return a.printThing(ctx, p, k, i, next)
}

// deleteThing deletes an item.
func (a *app) deleteThing(ctx context.Context, p *portal, k shownKind, key string) error {
	i, err := p.item(ctx, k.kind, key)
	if err == nil {
		i, err = p.routing.Delete(ctx, pbx.DefaultTenant, k.kind, i.ID, 0)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSONOf(k.json(i))
	}
	meaning := fmt.Sprintf("number %s is free.\nIt works until the next apply: run pbxportal apply.", numberOf(i))
	fmt.Fprintf(a.stdout, "Deleted %s; %s\n", oneLine(i.Name), cmp.Or(k.deleted, meaning))
	return nil
}

// printThing prints one item, and in text form a last line that says what to do next.
func (a *app) printThing(ctx context.Context, p *portal, k shownKind, i pbx.Item, next string) error {
	if a.json {
		return a.printJSONOf(k.json(i))
	}
	names, err := p.names(ctx)
	if err != nil {
		return err
	}
	w := newTable(a.stdout)
	fmt.Fprintf(w, "Name\t%s\n", oneLine(i.Name))
	if !k.kind.IsSetting() {
		fmt.Fprintf(w, "Number\t%s\n", numberOf(i))
	}
	cells, err := k.cells(i, names)
	if err != nil {
		return err
	}
	for _, c := range cells {
		fmt.Fprintf(w, "%s\t%s\n", c.label, c.value)
	}
	fmt.Fprintf(w, "ID\t%s\n", i.ID)
	if next != "" {
		fmt.Fprintln(w, next)
	}
	return w.Flush()
}

// item finds an item of a kind: by id, else by number, else by name, without regard to case, else without regard to accents as well.
func (p *portal) item(ctx context.Context, kind pbx.ThingKind, key string) (pbx.Item, error) {
	items, err := p.store.ItemsOf(ctx, pbx.DefaultTenant, kind)
	if err != nil {
		return pbx.Item{}, err
	}
	found := named(items,
		func(i pbx.Item) bool { return string(i.ID) == strings.ToLower(key) },
		func(i pbx.Item) bool { return numberOf(i) != "" && numberOf(i) == pbx.Fold(key) },
		func(i pbx.Item) bool { return strings.EqualFold(i.Name, pbx.Normalize(key)) },
		func(i pbx.Item) bool { return pbx.Fold(i.Name) == pbx.Fold(key) },
	)
	switch len(found) {
	case 0:
		return pbx.Item{}, &pbx.Error{
			Kind: pbx.KindNotFound, Code: pbx.CodeThingNotFound,
			Msg: fmt.Sprintf("there is no %s %q: run pbxportal %s list to see which there are", words(kind), key, noun(kind)),
		}
	case 1:
		return found[0], nil
	}
	return pbx.Item{}, &pbx.Error{
		Kind: pbx.KindInvalid, Code: pbx.CodeInvalid,
		Msg: fmt.Sprintf("%d %ss have a name like %q: give the id, or the number, as pbxportal %s list shows them", len(found), words(kind), key, noun(kind)),
	}
}

// named returns those that the first of several ways of naming applies to.
func named[T any](all []T, ways ...func(T) bool) (found []T) {
	for _, is := range ways {
		for _, one := range all {
			if is(one) {
				found = append(found, one)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// numberOf returns the first number of an item, "" if it has none.
func numberOf(i pbx.Item) string {
	for _, c := range i.Body.Claims() {
		return c.Number
	}
	return ""
}

// destination finds where a call goes: hangup, or the number or id of a user or an item.
func (p *portal) destination(ctx context.Context, key string) (pbx.Destination, error) {
	if pbx.Fold(key) == string(pbx.Hangup) {
		return pbx.Destination{Kind: pbx.Hangup}, nil
	}
	if u, err := p.user(ctx, key); err == nil || pbx.KindOf(err) != pbx.KindNotFound {
		return pbx.Destination{Kind: pbx.KindUser, ID: string(u.ID)}, err
	}
	for _, kind := range pbx.Kinds() {
		if i, err := p.item(ctx, kind, key); err == nil || pbx.KindOf(err) != pbx.KindNotFound {
			return pbx.Destination{Kind: kind, ID: string(i.ID)}, err
		}
	}
	lists := []string{"pbxportal user list"}
	for _, kind := range pbx.Kinds() {
		lists = append(lists, "pbxportal "+noun(kind)+" list")
	}
	return pbx.Destination{}, &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeThingNotFound,
		Msg: fmt.Sprintf("nothing has the number %q: give hangup, or a number that one of these shows: %s", key, strings.Join(lists, ", ")),
	}
}

// names returns a short text for everything a call can go to: its number.
func (p *portal) names(ctx context.Context) (map[pbx.Ref]string, error) {
	m, err := p.store.Model(ctx, pbx.DefaultTenant)
	if err != nil {
		return nil, err
	}
	names := map[pbx.Ref]string{}
	for _, u := range m.Users {
		names[pbx.Ref{Kind: pbx.KindUser, ID: string(u.ID)}] = fmt.Sprint(u.Extension.Number)
	}
	for _, i := range m.Items {
		names[pbx.Ref{Kind: i.Kind, ID: string(i.ID)}] = numberOf(i)
	}
	return names, nil
}

// destinationText returns a destination as it is given on the command line.
func destinationText(d pbx.Destination, names map[pbx.Ref]string) string {
	if d.Kind == pbx.Hangup {
		return string(d.Kind)
	}
	return names[pbx.Ref(d)]
}
