package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

// kindOf is a kind of items in its form of the contract.
type kindOf[T any] struct {
	kind pbx.ThingKind
	path string // of the list
	to   func(pbx.Item) T
	from func(T) (name string, body pbx.Body, err error)
}

// createdThings has, of the operations that create an item, the response with the item of an id as it is now: a new kind adds its row here.
func (a *api) createdThings() map[string]func(context.Context, string) (func(http.ResponseWriter) error, error) {
	return map[string]func(context.Context, string) (func(http.ResponseWriter) error, error){
		"createRingGroup": a.createdRingGroup,
		"createPool":      a.createdPool,
	}
}

// served is an item in its form of the contract.
type served[T any] struct {
	body     T
	tag      string // the ETag
	version  int64
	location string
}

func (k kindOf[T]) served(i pbx.Item) served[T] {
	return served[T]{body: k.to(i), tag: versionTag(i.Version), version: i.Version, location: k.path + "/" + string(i.ID)}
}

// pageOf is a page of items in its form of the contract.
type pageOf[T any] struct {
	items []T
	next  *string
	total *int
}

// listOf are the parameters that all lists of items have.
type listOf struct {
	limit        *int
	cursor, sort *string
	text         *string
	total        *bool
}

// listThings returns a page of the items of a kind. Facts that are empty select nothing.
func listThings[T any](ctx context.Context, a *api, k kindOf[T], l listOf, match pbx.Facts, to string) (page pageOf[T], err error) {
	sort := cmp.Or(value(l.sort), string(routing.ByName))
	order, descending := strings.CutPrefix(sort, "-")
	after, err := position(l.cursor, k.path, sort)
	if err != nil {
		return page, err
	}
	q := routing.Query{
		Text: value(l.text), Match: pbx.Facts{}, To: to, Sort: routing.Sort(order), Descending: descending, Limit: cmp.Or(value(l.limit), defaultPage),
	}
	if after != "" {
		var ok bool
		if q.After.Key, q.After.Short, ok = placed(after); !ok {
			return page, badCursor()
		}
	}
	for name, v := range match {
		if v != "" {
			q.Match[name] = v
		}
	}
	found, err := a.routing.List(ctx, pbx.DefaultTenant, k.kind, q)
	if err != nil {
		return page, err
	}
	page.items = each(found.Items, k.to)
	if found.Next.Short != 0 {
		page.next = next(place(found.Next.Key, found.Next.Short), k.path, sort)
	}
	if value(l.total) {
		page.total = &found.Total
	}
	return page, nil
}

func createThing[T any](ctx context.Context, a *api, k kindOf[T], t T) (served[T], error) {
	name, body, err := k.from(t)
	if err != nil {
		return served[T]{}, err
	}
	i, err := a.routing.Create(ctx, pbx.DefaultTenant, name, body)
	if err != nil {
		return served[T]{}, err
	}
	return k.served(i), nil
}

func getThing[T any](ctx context.Context, a *api, k kindOf[T], id string) (served[T], error) {
	i, err := a.routing.Get(ctx, pbx.DefaultTenant, k.kind, pbx.ThingID(id))
	if err != nil {
		return served[T]{}, err
	}
	return k.served(i), nil
}

// updateThing changes the fields of an item that a merge patch names.
func updateThing[T any](ctx context.Context, a *api, k kindOf[T], id string, ifMatch *string, patch json.RawMessage) (served[T], error) {
	i, err := a.routing.Change(ctx, pbx.DefaultTenant, k.kind, pbx.ThingID(id), versionOf(ifMatch), func(i *pbx.Item) error {
		to, err := patched(k.to(*i), patch)
		if err == nil {
			i.Name, i.Body, err = k.from(to)
		}
		return err
	})
	if err != nil {
		return served[T]{}, err
	}
	return k.served(i), nil
}

func deleteThing[T any](ctx context.Context, a *api, k kindOf[T], id string, ifMatch *string) error {
	_, err := a.routing.Delete(ctx, pbx.DefaultTenant, k.kind, pbx.ThingID(id), versionOf(ifMatch))
	return err
}
