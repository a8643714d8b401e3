package store

// SearchText gives the statement of a search of the audit trail, to ask the database for its plan.
func (s *Store) SearchText(q EventQuery, seq int64, limit int, oldestFirst bool) (query string, args []any) {
	return s.dialect.search(q, seq, limit, oldestFirst)
}

// HashesText gives the statement with which events are looked up by their numbers.
func (s *Store) HashesText() string { return s.dialect.hashesQuery() }

// EventValues gives an event as its row.
var EventValues = eventValues
