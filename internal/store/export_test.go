package store

import (
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// SearchText returns the statement of a search of the audit trail, for EXPLAIN.
func (s *Store) SearchText(q EventQuery, seq int64, limit int, oldestFirst bool) (query string, args []any) {
	return s.dialect.search(q, seq, limit, oldestFirst)
}

// HashesText returns the statement that looks up events by their numbers.
func (s *Store) HashesText() string { return s.dialect.hashesQuery() }

// EventValues returns an event as its row.
var EventValues = eventValues

// ThingQueries returns the queries about things and numbers whose cost must not grow with the number of users or things, for EXPLAIN.
func ThingQueries() map[string][]any {
	const id, tenant = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-0000-0000-000000000000"
	return map[string][]any{
		itemByID:                            {tenant, "ring_group", id},
		named:                               {tenant, "ring_group", "sales"},
		holder:                              {"600", tenant},
		usesOf(pbx.Ref{Kind: pbx.KindUser}): {id},
		usesOf(pbx.Ref{Kind: "ring_group"}): {id},
		takenNumbers:                        {1000, 1999, time.Unix(0, 0).UTC()},
	}
}
