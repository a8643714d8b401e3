package httpapi

import (
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// lookReady is the look behind /readyz.
const lookReady = "a query for the version of the tables"

// toLooked says when each part was looked at, and what the look was.
func (a *api) toLooked(at pbx.Looked, files time.Time) openapi.HealthLooked {
	now := a.now()
	return openapi.HealthLooked{
		Database: dated(now, at.Database, lookReady+", and how the newest write ended"),
		Asterisk: dated(now, at.Asterisk, "core show version, on a console of Asterisk"),
		Files:    dated(now, files, "the files in place, held against what was written and what Asterisk was seen to run"),
		Audit:    dated(now, at.Audit, "the newest events of the trail, and those that signed heads name"),
		Key:      dated(now, at.Key, "the key file"),
	}
}

// dated returns a look with its time and age; nil when there was none.
func dated(now, at time.Time, look string) *openapi.HealthLook {
	if at.IsZero() {
		return nil
	}
	return &openapi.HealthLook{At: at.UTC(), AgeMs: max(now.Sub(at), 0).Milliseconds(), Look: look}
}
