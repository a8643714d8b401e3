package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// OtherKeyError says that the installation seals with a key that is not at hand: another host has made it, or it is lost.
type OtherKeyError struct{ ID string }

// Error names the key.
func (e *OtherKeyError) Error() string {
	return fmt.Sprintf("the database is in use with key %s", e.ID)
}

const selectKey = `SELECT key_id FROM sealing_key`

// NoteKey notes that the installation seals with the first of these keys, with the event that tell gives for it; was is the id of the one
// before, "" where none was noted yet. It changes nothing where that is noted already, and the error is an OtherKeyError where the noted key is
// not among them: of several hosts that make a key at the same moment, one is first. Whoever has noted his keys may seal.
func (s *Store) NoteKey(ctx context.Context, keys *keyring.Ring, tell func(was string) pbx.AuditEvent) error {
	return s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		if err := keys.Refresh(); err != nil {
			return err
		}
		return tx.noteKey(ctx, keys, tell)
	})
}

func (t *Tx) noteKey(ctx context.Context, keys *keyring.Ring, tell func(was string) pbx.AuditEvent) error {
	was, err := keyIn(t.tx.QueryRowContext(ctx, selectKey))
	switch {
	case err != nil:
		return err
	case was == keys.Current():
		return nil
	case was != "" && !keys.Has(was):
		return &OtherKeyError{was}
	}
	return t.setKey(ctx, keys.Current(), tell(was))
}

// setKey notes a key, whichever was noted before.
func (t *Tx) setKey(ctx context.Context, id string, event pbx.AuditEvent) error {
	if _, err := t.tx.ExecContext(ctx, `INSERT INTO sealing_key (one, key_id, since) VALUES (1, $1, $2)
ON CONFLICT (one) DO UPDATE SET key_id = excluded.key_id, since = excluded.since`, id, event.At); err != nil {
		return err
	}
	return t.AppendEvent(ctx, event)
}

// keyIn reads the noted key; "" where there is none.
func keyIn(r row) (id string, err error) {
	if err = r.Scan(&id); errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return id, err
}
