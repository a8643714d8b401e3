package httpapi

import (
	"cmp"
	"context"
	"net/http"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func ringGroups() kindOf[openapi.RingGroup] {
	return kindOf[openapi.RingGroup]{pbx.KindRingGroup, "/api/v1/ring-groups", toRingGroup, fromRingGroup}
}

// ListRingGroups lists ring groups.
func (a *api) ListRingGroups(ctx context.Context, r openapi.ListRingGroupsRequestObject) (openapi.ListRingGroupsResponseObject, error) {
	p := r.Params
	member, _ := pbx.CanonicalID(value(p.Member))
	page, err := listThings(ctx, a, ringGroups(), listOf{p.Limit, p.Cursor, p.Sort, p.Q, p.Total},
		pbx.Facts{"strategy": value(p.Strategy), "number": value(p.Number)}, cmp.Or(member, value(p.Member)))
	return openapi.ListRingGroups200JSONResponse{Items: page.items, NextCursor: page.next, Total: page.total}, err
}

// CreateRingGroup adds a ring group.
func (a *api) CreateRingGroup(ctx context.Context, r openapi.CreateRingGroupRequestObject) (openapi.CreateRingGroupResponseObject, error) {
	g := openapi.RingGroup{
		Name: r.Body.Name, Number: value(r.Body.Number), Strategy: value(r.Body.Strategy), Members: r.Body.Members, Seconds: value(r.Body.Seconds),
		SkipBusy: r.Body.SkipBusy == nil || *r.Body.SkipBusy, Fallback: openapi.Destination{Kind: string(pbx.Hangup)},
	}
	if r.Body.Fallback != nil {
		g.Fallback = *r.Body.Fallback
	}
	created, err := createThing(ctx, a, ringGroups(), g)
	return newCreatedRingGroup(created), err
}

// createdRingGroup returns the response to the creation of a ring group as it is now.
func (a *api) createdRingGroup(ctx context.Context, id string) (func(http.ResponseWriter) error, error) {
	g, err := getThing(ctx, a, ringGroups(), id)
	return newCreatedRingGroup(g).VisitCreateRingGroupResponse, err
}

func newCreatedRingGroup(g served[openapi.RingGroup]) openapi.CreateRingGroup201JSONResponse {
	return openapi.CreateRingGroup201JSONResponse{Body: g.body, Headers: openapi.CreateRingGroup201ResponseHeaders{Location: g.location, ETag: g.tag}}
}

// GetRingGroup returns one ring group.
func (a *api) GetRingGroup(ctx context.Context, r openapi.GetRingGroupRequestObject) (openapi.GetRingGroupResponseObject, error) {
	g, err := getThing(ctx, a, ringGroups(), r.ID)
	if err == nil && has(r.Params.IfNoneMatch, g.version) {
		return notModified(g.version), nil
	}
	return openapi.GetRingGroup200JSONResponse{Body: g.body, Headers: openapi.GetRingGroup200ResponseHeaders{ETag: g.tag}}, err
}

// UpdateRingGroup changes the fields of a ring group that a merge patch names.
func (a *api) UpdateRingGroup(ctx context.Context, r openapi.UpdateRingGroupRequestObject) (openapi.UpdateRingGroupResponseObject, error) {
	g, err := updateThing(ctx, a, ringGroups(), r.ID, r.Params.IfMatch, *cmp.Or(r.JSONBody, r.ApplicationMergePatchPlusJSONBody))
	return openapi.UpdateRingGroup200JSONResponse{Body: g.body, Headers: openapi.UpdateRingGroup200ResponseHeaders{ETag: g.tag}}, err
}

// DeleteRingGroup removes a ring group.
func (a *api) DeleteRingGroup(ctx context.Context, r openapi.DeleteRingGroupRequestObject) (openapi.DeleteRingGroupResponseObject, error) {
	return openapi.DeleteRingGroup204Response{}, deleteThing(ctx, a, ringGroups(), r.ID, r.Params.IfMatch)
}

func toRingGroup(i pbx.Item) openapi.RingGroup {
	g, ok := i.Body.(*pbx.RingGroup)
	if !ok {
		return openapi.RingGroup{}
	}
	members := make([]string, len(g.Members))
	for n, m := range g.Members {
		members[n] = string(m)
	}
	return openapi.RingGroup{
		ID: string(i.ID), Name: i.Name, Number: g.Number, Strategy: openapi.RingStrategy(g.Strategy), Members: members, Seconds: g.Seconds, SkipBusy: g.SkipBusy,
		Fallback: openapi.Destination{Kind: string(g.Fallback.Kind), ID: unlessZero(g.Fallback.ID)},
		Version:  i.Version, CreatedAt: i.CreatedAt.UTC(), UpdatedAt: i.UpdatedAt.UTC(),
	}
}

func fromRingGroup(g openapi.RingGroup) (string, pbx.Body, error) {
	members := make([]pbx.UserID, len(g.Members))
	for n, m := range g.Members {
		members[n] = pbx.UserID(m)
	}
	return g.Name, &pbx.RingGroup{
		Number: g.Number, Strategy: pbx.RingStrategy(g.Strategy), Members: members, Seconds: g.Seconds, SkipBusy: g.SkipBusy,
		Fallback: pbx.Destination{Kind: pbx.ThingKind(g.Fallback.Kind), ID: value(g.Fallback.ID)},
	}, nil
}

// RingGroupJSON returns a ring group in the form of the contract.
func RingGroupJSON(i pbx.Item) any { return toRingGroup(i) }

// RingGroupsJSON returns the only page of a list of ring groups in the form of the contract.
func RingGroupsJSON(items []pbx.Item) any {
	return openapi.RingGroupPage{Items: each(items, toRingGroup)}
}
