package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// Segment is a part of the audit trail that was exported to a file, so that its events could be removed.
type Segment struct {
	First     int64
	Prev      chain.Hash // of the event before the first
	Last      chain.Head
	File      [sha256.Size]byte // SHA-256 of the file
	At        time.Time
	Key       []byte // the key that signed it
	Signature []byte
}

const selectSegments = `SELECT first_seq, prev, last_seq, hash, file_hash, at, key, signature FROM audit_segments `

// Segments returns the archived segments in order, and the number of the oldest event in the table, 0 if there is none.
func (s *Store) Segments(ctx context.Context) (segments []Segment, oldest int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	// Segments are read first: one added in between shows only by its missing events, and the caller repeats the call.
	segments, err = gather(ctx, s.read, scanSegment, selectSegments+`ORDER BY last_seq`)
	if err == nil {
		err = s.read.QueryRowContext(ctx, `SELECT coalesce(min(seq), 0) FROM audit_events`).Scan(&oldest)
	}
	return segments, oldest, s.fault("read the archived segments of the audit trail", err)
}

func scanSegment(r row) (g Segment, err error) {
	var prev, hash, file []byte
	err = r.Scan(&g.First, &prev, &g.Last.Seq, &hash, &file, &g.At, &g.Key, &g.Signature)
	if g.At = g.At.UTC(); err != nil {
		return g, err
	}
	if len(prev) == len(g.Prev) && len(hash) == len(g.Last.Hash) && len(file) == len(g.File) { // otherwise they stay zeros, which match no signature
		g.Prev, g.Last.Hash, g.File = chain.Hash(prev), chain.Hash(hash), [sha256.Size]byte(file)
	}
	return g, nil
}

// InsertSegment records that the oldest events were archived. Its audit event is appended before, in the same transaction. KindConflict if another
// segment was recorded meanwhile.
func (t *Tx) InsertSegment(ctx context.Context, g Segment) error {
	var last sql.NullInt64
	if err := t.tx.QueryRowContext(ctx, `SELECT max(last_seq) FROM audit_segments`).Scan(&last); err != nil {
		return err
	}
	if last.Int64+1 != g.First {
		return &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeRetryExhausted, Err: errors.New("the segment begins elsewhere"),
			Msg: "another archive of the audit trail was completed meanwhile; nothing was removed: run audit archive again, with a new file",
		}
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO audit_segments (first_seq, prev, last_seq, hash, file_hash, at, key, signature) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		g.First, g.Prev[:], g.Last.Seq, g.Last.Hash[:], g.File[:], g.At, g.Key, g.Signature)
	return err
}

// DeleteArchived removes the events up to this number. The database refuses it for events that are in no segment.
func (t *Tx) DeleteArchived(ctx context.Context, to int64) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM audit_events WHERE seq <= $1`, to)
	return err
}
