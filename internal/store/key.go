package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// OtherKeyError means that the database is sealed with a key that is not available: it belongs to another host, or is lost.
type OtherKeyError struct{ ID string }

// Error names the key.
func (e *OtherKeyError) Error() string {
	return fmt.Sprintf("the database is in use with key %s", e.ID)
}

const selectKey = `SELECT key_id FROM sealing_key`

// NoteKey records the first of these keys as the installation's sealing key, with the event that newEvent returns; was is the id of the key before,
// "" for the first. It does nothing if that key is recorded already. The error is an OtherKeyError if the recorded key is not among these: of
// several hosts that create a key at once, the first wins. Sealing is allowed once NoteKey has succeeded.
func (s *Store) NoteKey(ctx context.Context, keys *keyring.Ring, newEvent func(was string) pbx.AuditEvent) error {
	return s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		if err := keys.Refresh(); err != nil {
			return err
		}
		return tx.noteKey(ctx, keys, newEvent)
	})
}

func (t *Tx) noteKey(ctx context.Context, keys *keyring.Ring, newEvent func(was string) pbx.AuditEvent) error {
	was, err := keyIn(t.tx.QueryRowContext(ctx, selectKey))
	switch {
	case err != nil:
		return err
	case was == keys.Current():
		return nil
	case was != "" && !keys.Has(was):
		return &OtherKeyError{was}
	}
	return t.setKey(ctx, keys.Current(), newEvent(was))
}

// setKey records a key, whichever was recorded before.
func (t *Tx) setKey(ctx context.Context, id string, event pbx.AuditEvent) error {
	if _, err := t.tx.ExecContext(ctx, `INSERT INTO sealing_key (one, key_id, since) VALUES (1, $1, $2)
ON CONFLICT (one) DO UPDATE SET key_id = excluded.key_id, since = excluded.since`, id, event.At); err != nil {
		return err
	}
	return t.AppendEvent(ctx, event)
}

// keyIn reads the recorded key; "" if there is none.
func keyIn(r row) (id string, err error) {
	if err = r.Scan(&id); errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return id, err
}
