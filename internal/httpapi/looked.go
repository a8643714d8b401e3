package httpapi

import (
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// toLooked says when each part was looked at, and what the look was.
func (a *api) toLooked(at pbx.Looked, files time.Time) openapi.HealthLooked {
	now := a.now()
	dated := func(at time.Time, look string) *openapi.HealthLook {
		if at.IsZero() {
			return nil
		}
		return &openapi.HealthLook{At: at.UTC(), AgeMs: max(now.Sub(at), 0).Milliseconds(), Look: look}
	}
	return openapi.HealthLooked{
		Database: dated(at.Database, "a query to the database"),
		Asterisk: dated(at.Asterisk, "core show version, on a console of Asterisk"),
		Files:    dated(files, "the files in place, held against what was written and what Asterisk was seen to run"),
		Audit:    dated(at.Audit, "the newest events of the trail, and those that signed heads name"),
		Key:      dated(at.Key, "the key file"),
	}
}
