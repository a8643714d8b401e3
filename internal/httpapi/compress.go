package httpapi

import (
	"net/http"
	"slices"

	"github.com/klauspost/compress/gzhttp"
)

// leastCompressed is the size in bytes below which compression saves nothing: the response fits one packet either way.
const leastCompressed = 1 << 10

// secretless lists the operations whose successful responses never contain a secret, which are compressed. It lists what may be compressed rather
// than what may not, so that a new operation cannot be included by mistake: the compressed length of a secret beside text chosen by an attacker
// reveals the secret (BREACH).
func secretless() []string {
	return []string{
		"getPlan", "listRevisions", "getRevision", "getRevisionDiff", "getRun", "listApplyLogs", "getApplyLog", "listAuditEvents", "getLive", "listAccounts", "listTokens", "listSessions",
		"listRevisionsV1", "listApplyLogsV1", "listAuditEventsV1", "listAccountsV1", "listTokensV1", "listSessionsV1",
	}
}

// compressed returns a handler that compresses the responses of an operation that contain no secrets. The list of users is without secrets only on
// request.
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

// newCompressor returns a wrapper that compresses the responses of a handler for clients that accept gzip.
func newCompressor() (func(http.Handler) http.HandlerFunc, error) {
	return gzhttp.NewWrapper(gzhttp.MinSize(leastCompressed), gzhttp.CompressionLevel(1), gzhttp.ContentTypes([]string{"application/json"}), gzhttp.EnableZstd(false))
}
