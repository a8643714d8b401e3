package httpapi

import (
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// lookReady describes the check behind /readyz.
const lookReady = "a query for the version of the tables"

// toLooked returns when each part was checked, and how.
func (a *api) toLooked(at pbx.Looked, files time.Time) openapi.HealthLooked {
	now := a.now()
	return openapi.HealthLooked{
		Database: dated(now, at.Database, lookReady+", and the result of the newest write"),
		Asterisk: dated(now, at.Asterisk, "core show version, on a console of Asterisk"),
		Files:    dated(now, files, "the current files, compared with the last write and the verified configuration"),
		Audit:    dated(now, at.Audit, "the newest events of the trail, and those named by signed heads"),
		Key:      dated(now, at.Key, "the key file"),
	}
}

// dated returns a check with its time and age; nil if there was none.
func dated(now, at time.Time, look string) *openapi.HealthLook {
	if at.IsZero() {
		return nil
	}
	return &openapi.HealthLook{At: at.UTC(), AgeMs: max(now.Sub(at), 0).Milliseconds(), Look: look}
}
