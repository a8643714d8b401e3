package httpapi

import (
	"net/http"
	"slices"

	"github.com/klauspost/compress/gzhttp"
)

// leastCompressed is the size in bytes below which compressing an answer saves nothing: it fits one packet either way.
const leastCompressed = 1 << 10

// secretless lists the operations whose successful answers never hold a secret, the ones that are compressed. The list is of what may be
// compressed, not of what may not: the length of a compressed text that holds a secret beside text of somebody's choice tells of the secret
// (BREACH), and an operation that is added later must not get there by being forgotten.
func secretless() []string {
	return []string{
		"getPlan", "listRevisions", "getRevision", "getRevisionDiff", "getRun", "listApplyLogs", "getApplyLog", "listAuditEvents", "getLive", "listAccounts", "listTokens", "listSessions",
	}
}

// compressed returns a handler that compresses the answers of an operation where they hold no secret. The list of users is one without
// secrets only where the request asks for that.
func (a *api) compressed(operationID string, next http.HandlerFunc) http.HandlerFunc {
	small := a.gzip(next)
	switch {
	case slices.Contains(secretless(), operationID):
		return small
	case operationID == "listUsers":
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("secrets") == "false" {
				small(w, r)
				return
			}
			w.Header().Add("Vary", "Accept-Encoding")
			next(w, r)
		}
	}
	return next
}

// newCompressor returns what compresses the answers of a handler for clients that take gzip.
func newCompressor() (func(http.Handler) http.HandlerFunc, error) {
	return gzhttp.NewWrapper(gzhttp.MinSize(leastCompressed), gzhttp.CompressionLevel(1), gzhttp.ContentTypes([]string{"application/json"}), gzhttp.EnableZstd(false))
}
