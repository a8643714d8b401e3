package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// GetHealth says whether the portal can work.
func (a *api) GetHealth(ctx context.Context, _ openapi.GetHealthRequestObject) (openapi.GetHealthResponseObject, error) {
	h := a.health(ctx)
	files, at := a.filesState(ctx)
	looked := a.toLooked(h.Looked, at)
	h.Asterisk, files = unlooked(h.Asterisk, looked.Asterisk), unlooked(files, looked.Files)
	h.Audit, h.Key = unlooked(h.Audit, looked.Audit), unlooked(h.Key, looked.Key)
	if h.Database != nil {
		return nil, &unhealthy{error: databaseAway(h.Database), asterisk: h.Asterisk, files: files, looked: looked}
	}
	return openapi.GetHealth200JSONResponse{
		Status: openapi.HealthStatusOk, Database: openapi.HealthDatabaseOk, Asterisk: h.Asterisk, AsteriskVersion: unlessZero(h.Version),
		Files: files, Audit: h.Audit, Key: h.Key, Looked: looked, Version: a.version,
	}, nil
}

// unlooked returns the state of a part, unless that is "ok" without a look behind it.
func unlooked(state string, look *openapi.HealthLook) string {
	if state == "ok" && look == nil {
		return "not known: the portal has not looked yet: ask again in a moment"
	}
	return state
}

// GetLivez answers that the process runs; it looks at nothing else.
func (a *api) GetLivez(context.Context, openapi.GetLivezRequestObject) (openapi.GetLivezResponseObject, error) {
	return openapi.GetLivez200JSONResponse{Status: openapi.AliveStatusOk}, nil
}

// GetReadyz answers whether the portal can take requests: the database answers, and has the tables that this program needs.
func (a *api) GetReadyz(ctx context.Context, _ openapi.GetReadyzRequestObject) (openapi.GetReadyzResponseObject, error) {
	at, err := a.ready(ctx)
	if err != nil {
		return nil, databaseAway(err)
	}
	return openapi.GetReadyz200JSONResponse{Status: openapi.ReadyStatusOk, Database: *dated(a.now(), at, lookReady)}, nil
}

// databaseAway gives the error of a database that does not work. What a stranger may read of it is what its author meant for the
// caller.
func databaseAway(err error) error {
	if pbx.KindOf(err) == pbx.KindUnavailable {
		return err
	}
	return &pbx.Error{Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Msg: "the database does not work: the portal's log says why", Err: fmt.Errorf("unhealthy: %w", err)}
}

// mostDrift is how many places the state of the files names.
const mostDrift = 5

// filesState says how the files stand, "ok" or what is not as it should be, and when they were looked at.
func (a *api) filesState(ctx context.Context) (string, time.Time) {
	s := a.files(ctx)
	if s.Err != nil {
		a.log.WarnContext(ctx, "cannot look at the files", slog.Any("err", s.Err))
		return "cannot be looked at: the portal's log says why", s.At
	}
	var states []string
	if s.Site.Ahead() {
		states = append(states, "ahead of Asterisk")
	}
	if len(s.Site.Drift) > 0 {
		var places []string
		for _, d := range s.Site.Drift {
			places = append(places, d.Path+" "+string(d.Kind))
		}
		if more := len(places) - mostDrift; more > 0 {
			places = append(places[:mostDrift], fmt.Sprintf("and %d more", more))
		}
		states = append(states, "drift: "+strings.Join(places, ", "))
	}
	if s.Other != "" {
		states = append(states, s.Other)
	}
	if len(states) == 0 {
		return "ok", s.At
	}
	return strings.Join(states, "; "), s.At
}
