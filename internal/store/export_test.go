package store

// SearchText returns the statement of a search of the audit trail, for EXPLAIN.
func (s *Store) SearchText(q EventQuery, seq int64, limit int, oldestFirst bool) (query string, args []any) {
	return s.dialect.search(q, seq, limit, oldestFirst)
}

// HashesText returns the statement that looks up events by their numbers.
func (s *Store) HashesText() string { return s.dialect.hashesQuery() }

// EventValues returns an event as its row.
var EventValues = eventValues
