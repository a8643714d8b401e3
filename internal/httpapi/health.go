package httpapi

import (
	"context"
	"fmt"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// GetHealth says whether the portal can work.
func (a *api) GetHealth(ctx context.Context, _ openapi.GetHealthRequestObject) (openapi.GetHealthResponseObject, error) {
	h := a.health(ctx)
	if h.Database != nil {
		return nil, &unhealthy{error: databaseAway(h.Database), health: h}
	}
	answer := openapi.GetHealth200JSONResponse{Status: openapi.HealthStatusOk, Database: openapi.HealthDatabaseOk, Asterisk: h.Asterisk, Version: a.version}
	if h.Version != "" {
		answer.AsteriskVersion = &h.Version
	}
	return answer, nil
}

// databaseAway gives the error of a database that does not work. What a stranger may read of it is what its author meant for the
// caller.
func databaseAway(err error) error {
	if pbx.KindOf(err) == pbx.KindUnavailable {
		return err
	}
	return &pbx.Error{Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Msg: "the database does not work: the portal's log says why", Err: fmt.Errorf("unhealthy: %w", err)}
}
