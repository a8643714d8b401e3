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

// GetHealth returns the health of the portal and its parts.
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

// unlooked returns the state of a part, unless it is "ok" without a check.
func unlooked(state string, look *openapi.HealthLook) string {
	if state == "ok" && look == nil {
		return "not known yet: try again in a moment"
	}
	return state
}

// GetLivez responds while the process runs; it checks nothing else.
func (a *api) GetLivez(context.Context, openapi.GetLivezRequestObject) (openapi.GetLivezResponseObject, error) {
	return openapi.GetLivez200JSONResponse{Status: openapi.AliveStatusOk}, nil
}

// GetReadyz reports whether the portal can serve requests: the database responds, and has the tables that this program needs.
func (a *api) GetReadyz(ctx context.Context, _ openapi.GetReadyzRequestObject) (openapi.GetReadyzResponseObject, error) {
	at, err := a.ready(ctx)
	if err != nil {
		return nil, databaseAway(err)
	}
	return openapi.GetReadyz200JSONResponse{Status: openapi.ReadyStatusOk, Database: *dated(a.now(), at, lookReady)}, nil
}

// databaseAway returns the error of an unavailable database. Unauthenticated clients see only the text meant for callers.
func databaseAway(err error) error {
	if pbx.KindOf(err) == pbx.KindUnavailable {
		return err
	}
	return &pbx.Error{Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Msg: "the database cannot be used: see the portal's log for the reason", Err: fmt.Errorf("unhealthy: %w", err)}
}

// mostDrift is the maximum number of drifted paths in the state of the files.
const mostDrift = 5

// filesState returns the state of the files, "ok" or a description of the problem, and when they were checked.
func (a *api) filesState(ctx context.Context) (string, time.Time) {
	s := a.files(ctx)
	if s.Err != nil {
		a.log.WarnContext(ctx, "cannot check the files", slog.Any("err", s.Err))
		return "cannot be checked: see the portal's log for the reason", s.At
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
