package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// item finds an item of a kind by id, number or name.
func (p *portal) item(ctx context.Context, kind pbx.ThingKind, key string) (pbx.Item, error) {
	items, err := p.store.Items(ctx, pbx.DefaultTenant)
	if err != nil {
		return pbx.Item{}, err
	}
	for _, i := range items {
		if i.Kind == kind && (string(i.ID) == strings.ToLower(key) || pbx.Fold(i.Name) == pbx.Fold(key) || numberOf(i) == pbx.Fold(key)) {
			return i, nil
		}
	}
	return pbx.Item{}, noThing(strings.ReplaceAll(string(kind), "_", "-"), key)
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
	return pbx.Destination{}, &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeThingNotFound,
		Msg: fmt.Sprintf("nothing has the number %q: give hangup, or the number of a user or ring group, as pbxportal user list and pbxportal ring-group list show them", key),
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

func noThing(noun, key string) error {
	return &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeThingNotFound,
		Msg: fmt.Sprintf("there is no %s %q: run pbxportal %[1]s list to see which there are", noun, key),
	}
}
