package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func pools() kindOf[openapi.Pool] {
	return kindOf[openapi.Pool]{pbx.KindPool, "/api/v1/pools", toPool, fromPool}
}

// ListPools lists pools.
func (a *api) ListPools(ctx context.Context, r openapi.ListPoolsRequestObject) (openapi.ListPoolsResponseObject, error) {
	p := r.Params
	page, err := listThings(ctx, a, pools(), listOf{p.Limit, p.Cursor, p.Sort, p.Q, p.Total}, pbx.Facts{"kind": value(p.Kind)}, "")
	for i := range page.items {
		if err == nil {
			err = a.addUsage(ctx, &page.items[i])
		}
	}
	return openapi.ListPools200JSONResponse{Items: page.items, NextCursor: page.next, Total: page.total}, err
}

// CreatePool adds a pool.
func (a *api) CreatePool(ctx context.Context, r openapi.CreatePoolRequestObject) (openapi.CreatePoolResponseObject, error) {
	created, err := createThing(ctx, a, pools(), openapi.Pool{
		Name: r.Body.Name, Kind: value(r.Body.Kind), From: r.Body.From, To: r.Body.To, Order: value(r.Body.Order), CoolDownDays: r.Body.CoolDownDays, Calls: value(r.Body.Calls),
	})
	if err == nil {
		err = a.addUsage(ctx, &created.body)
	}
	return newCreatedPool(created), err
}

// createdPool returns the response to the creation of a pool as it is now.
func (a *api) createdPool(ctx context.Context, id string) (func(http.ResponseWriter) error, error) {
	p, err := a.pool(ctx, id)
	return newCreatedPool(p).VisitCreatePoolResponse, err
}

func newCreatedPool(p served[openapi.Pool]) openapi.CreatePool201JSONResponse {
	return openapi.CreatePool201JSONResponse{Body: p.body, Headers: openapi.CreatePool201ResponseHeaders{Location: p.location, ETag: p.tag}}
}

// GetPool returns one pool.
func (a *api) GetPool(ctx context.Context, r openapi.GetPoolRequestObject) (openapi.GetPoolResponseObject, error) {
	p, err := a.pool(ctx, r.ID)
	if err == nil && has(r.Params.IfNoneMatch, p.version) {
		return notModified(p.version), nil
	}
	return openapi.GetPool200JSONResponse{Body: p.body, Headers: openapi.GetPool200ResponseHeaders{ETag: p.tag}}, err
}

// UpdatePool changes the fields of a pool that a merge patch names.
func (a *api) UpdatePool(ctx context.Context, r openapi.UpdatePoolRequestObject) (openapi.UpdatePoolResponseObject, error) {
	p, err := updateThing(ctx, a, pools(), r.ID, r.Params.IfMatch, *cmp.Or(r.JSONBody, r.ApplicationMergePatchPlusJSONBody))
	if err == nil {
		err = a.addUsage(ctx, &p.body)
	}
	return openapi.UpdatePool200JSONResponse{Body: p.body, Headers: openapi.UpdatePool200ResponseHeaders{ETag: p.tag}}, err
}

// DeletePool removes a pool.
func (a *api) DeletePool(ctx context.Context, r openapi.DeletePoolRequestObject) (openapi.DeletePoolResponseObject, error) {
	return openapi.DeletePool204Response{}, deleteThing(ctx, a, pools(), r.ID, r.Params.IfMatch)
}

// pool returns one pool with its usage.
func (a *api) pool(ctx context.Context, id string) (served[openapi.Pool], error) {
	p, err := getThing(ctx, a, pools(), id)
	if err == nil {
		err = a.addUsage(ctx, &p.body)
	}
	return p, err
}

// addUsage fills in how many numbers of a pool are in use, and its cool-down.
func (a *api) addUsage(ctx context.Context, p *openapi.Pool) error {
	settings, err := a.routing.Settings(ctx, pbx.DefaultTenant)
	if err != nil {
		return err
	}
	pool, ok := settings.PoolWith(pbx.ThingID(p.ID))
	if !ok { // deleted meanwhile
		return nil
	}
	status, err := a.routing.PoolStatus(ctx, pool)
	fillPool(p, status)
	return err
}

func fillPool(p *openapi.Pool, s pbx.PoolStatus) {
	p.Used, p.TakenOnHost, p.Warning, p.EffectiveCoolDownSeconds = s.Used, s.Host, unlessZero(s.Warning(s.NumberPool)), int(s.CoolDown.Seconds())
}

func toPool(i pbx.Item) openapi.Pool {
	p, ok := i.Body.(*pbx.Pool)
	if !ok {
		return openapi.Pool{}
	}
	return openapi.Pool{
		ID: string(i.ID), Name: i.Name, Kind: openapi.PoolKind(p.Use), From: strconv.Itoa(int(p.First)), To: strconv.Itoa(int(p.Last)), Order: openapi.PoolOrder(p.Order),
		CoolDownDays: p.CoolDownDays, Calls: toCallSettings(p.Calls), Default: pbx.NumberPool{Meta: i.Meta, Pool: *p}.IsDefault(), Size: p.Size(),
		Version: i.Version, CreatedAt: i.CreatedAt.UTC(), UpdatedAt: i.UpdatedAt.UTC(),
	}
}

func fromPool(p openapi.Pool) (name string, body pbx.Body, err error) {
	first, _ := pbx.ParseNumber(p.From) // the contract has checked their form
	last, _ := pbx.ParseNumber(p.To)
	calls, err := fromCallSettings(p.Calls)
	return p.Name, &pbx.Pool{Use: pbx.PoolUse(p.Kind), First: first, Last: last, Order: pbx.PoolOrder(p.Order), CoolDownDays: p.CoolDownDays, Calls: calls}, err
}

// PoolJSON returns a pool in the form of the contract.
func PoolJSON(i pbx.Item, s pbx.PoolStatus) openapi.Pool {
	p := toPool(i)
	fillPool(&p, s)
	return p
}

// PoolsJSON returns the only page of a list of pools in the form of the contract.
func PoolsJSON(pools []openapi.Pool) any { return openapi.PoolPage{Items: pools} }
