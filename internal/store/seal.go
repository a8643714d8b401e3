package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// secrets converts secrets between plaintext and their stored form.
type secrets struct {
	keys *keyring.Ring
	open bool // store new secrets as plaintext
}

// What is sealed; each with the id of its row as the owner.
const (
	forSecret   = "sip secret"
	forRevision = "revision"
	forSaved    = "saved files"
	forFactor   = "second factor"
)

// secretColumn is the length of the column secret in characters.
const secretColumn = 255

// UseKeys sets the keys that seal and open, before the store is used. open stores new SIP secrets and revisions as plaintext, for another program
// that reads the same tables; sealed ones can still be read.
func (s *Store) UseKeys(keys *keyring.Ring, open bool) {
	s.secrets = secrets{keys, open}
	s.listed.Store(nil) // it was opened with other keys
}

var errNoKeys = errors.New("the store was given no keys")

// in returns the stored form of the SIP secret of an extension or a device.
func (s *secrets) in(id string, secret pbx.Secret) (string, error) {
	text := secret.Reveal()
	switch {
	case s.keys == nil:
		return "", errNoKeys
	case s.open:
		return text, nil
	}
	return s.keys.Seal(forSecret, id, text)
}

// opener reads SIP secrets, those of a whole list with one opener. It is a destination for Scan, and reads the column from either driver without a
// heap allocation.
type opener struct {
	keys   *keyring.Ring
	box    *keyring.Opener
	column []byte
}

// Scan reads the column from database/sql.
func (o *opener) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("a secret is a %T in the database, not a text", value)
	}
	o.column = append(o.column[:0], text...)
	return nil
}

// ScanBytes reads the column from pgx.
func (o *opener) ScanBytes(text []byte) error {
	o.column = append(o.column[:0], text...)
	return nil
}

// out returns the SIP secret of the scanned column, sealed or not; name is that of the phone in messages.
func (o *opener) out(id, name string) (pbx.Secret, error) {
	if _, sealed := keyring.KeyOf(string(o.column[:min(len(o.column), keyring.HeaderLength)])); !sealed {
		return pbx.SecretFrom(string(o.column)), nil
	}
	if o.keys == nil {
		return pbx.Secret{}, errNoKeys
	}
	if o.box == nil {
		o.box = o.keys.Opener(forSecret)
	}
	text, err := o.box.Open(id, o.column)
	if err != nil {
		return pbx.Secret{}, fmt.Errorf("the secret of extension %s: %w", name, err)
	}
	return pbx.SecretFrom(text), nil
}

func (s *secrets) opener() *opener { return &opener{keys: s.keys} }

// savedIn seals the hand edits that a run saved, which contain passwords. with is the key that sealed them, "" if there was nothing to seal; it is
// null if they are stored as plaintext, and sealed is nil.
func (s *secrets) savedIn(id pbx.RunID, saved []pbx.File) (sealed []byte, with sql.NullString, err error) {
	switch {
	case len(saved) == 0:
		return nil, sql.NullString{Valid: true}, nil
	case s.open:
		return nil, with, nil
	}
	text, err := json.Marshal(saved)
	if err != nil {
		return nil, with, err
	}
	return s.bytesIn(forSaved, string(id), text)
}

// savedOut opens what savedIn sealed.
func (s *secrets) savedOut(id pbx.RunID, sealed []byte) (saved []pbx.File, err error) {
	text, err := s.bytesOut(forSaved, string(id), sealed)
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	if err != nil {
		err = fmt.Errorf("the saved files of run %s: %w", id, err)
	}
	return saved, err
}

// bytesIn seals bytes for a purpose and an owner. with is the key that sealed them; it is null if they are stored as plaintext.
func (s *secrets) bytesIn(purpose, owner string, content []byte) (kept []byte, with sql.NullString, err error) {
	switch {
	case s.open:
		return content, with, nil
	case s.keys == nil:
		return nil, with, errNoKeys
	}
	kept, err = s.keys.SealBytes(purpose, owner, content)
	with.String, with.Valid = keyring.KeyOf(string(kept[:min(len(kept), keyring.HeaderLength)]))
	return kept, with, err
}

// bytesOut opens what bytesIn sealed; plaintext is returned as it is.
func (s *secrets) bytesOut(purpose, owner string, content []byte) ([]byte, error) {
	if _, sealed := keyring.KeyOf(string(content[:min(len(content), keyring.HeaderLength)])); !sealed {
		return content, nil
	}
	if s.keys == nil {
		return nil, errNoKeys
	}
	return s.keys.OpenBytes(purpose, owner, content)
}

// SealFactor returns the stored form of the secret of an account's second factor. It is always sealed: no other program reads it.
func (s *Store) SealFactor(account pbx.AccountID, secret pbx.Secret) (string, error) {
	if s.secrets.keys == nil {
		return "", errNoKeys
	}
	sealed, err := s.secrets.keys.Seal(forFactor, string(account), secret.Reveal())
	return sealed, s.fault("seal a second factor", err)
}

// OpenFactor opens a secret that SealFactor sealed for the same account.
func (s *Store) OpenFactor(account pbx.AccountID, sealed string) (pbx.Secret, error) {
	if s.secrets.keys == nil {
		return pbx.Secret{}, errNoKeys
	}
	text, err := s.secrets.keys.Open(forFactor, string(account), sealed)
	if err != nil {
		return pbx.Secret{}, fmt.Errorf("the second factor of account %s: %w", account, err)
	}
	return pbx.SecretFrom(text), nil
}

// AtRest describes how secrets are stored in the database.
type AtRest struct {
	Key    string         // the sealing key that the installation has recorded; "" for none
	Sealed map[string]int // the number of rows that each key has sealed
	Open   int            // the number of plaintext rows
}

// AtRest counts sealed and plaintext rows. It needs no keys.
func (s *Store) AtRest(ctx context.Context) (AtRest, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	at := AtRest{Sealed: map[string]int{}}
	query := `SELECT coalesce(sealed_with, '') AS with_key, count(*) FROM apply_runs WHERE sealed_with IS NULL OR sealed_with <> '' GROUP BY 1
UNION ALL SELECT coalesce(sealed_with, '') AS with_key, count(*) FROM file_contents WHERE sealed_with IS NULL OR sealed_with <> '' GROUP BY 1`
	for _, c := range sealedColumns() {
		//nolint:gosec // the inserted names are constants
		query += fmt.Sprintf(` UNION ALL SELECT CASE WHEN %[1]s LIKE '%[2]s%%' THEN substr(%[1]s, $1, $2) ELSE '' END AS with_key, count(*)
FROM %[3]s WHERE %[1]s <> '' GROUP BY 1`, c.column, keyring.Mark, c.table)
	}
	rows, err := s.read.QueryContext(ctx, query, len(keyring.Mark)+1, keyring.HeaderLength-len(keyring.Mark)-1)
	if err != nil {
		return at, s.fault("count the sealed secrets", err)
	}
	defer rows.Close()
	for rows.Next() {
		key, n := "", 0
		if err := rows.Scan(&key, &n); err != nil {
			return at, s.fault("count the sealed secrets", err)
		}
		if key == "" {
			at.Open += n
		} else {
			at.Sealed[key] += n
		}
	}
	if err = rows.Err(); err == nil {
		at.Key, err = keyIn(s.read.QueryRowContext(ctx, selectKey))
	}
	return at, s.fault("count the sealed secrets", err)
}

// Resealed is the result of Reseal.
type Resealed struct {
	Rows int      // the number of converted rows
	Left []string // extensions whose secret is too long for the column when sealed
}

// batch is the number of rows sealed in one transaction: other writers wait for it.
const batch = 25

// Reseal seals with the present key everything that is plaintext or sealed with another key; where SIP secrets are to be plaintext, it opens them.
// It continues after an interruption, and tolerates concurrent writers. After its success no key but the present one is needed.
func (s *Store) Reseal(ctx context.Context) (did Resealed, err error) {
	if s.secrets.keys == nil {
		return did, errNoKeys
	}
	for _, c := range sealedColumns() {
		if err = s.batches(ctx, &did, func(ctx context.Context, tx *Tx, after string) (Resealed, string, error) {
			return tx.resealColumn(ctx, c, after)
		}); err != nil {
			return did, err
		}
	}
	for _, reseal := range []func(*Tx, context.Context, string) (Resealed, string, error){(*Tx).resealRuns, (*Tx).resealContents} {
		if err = s.batches(ctx, &did, func(ctx context.Context, tx *Tx, after string) (Resealed, string, error) {
			return reseal(tx, ctx, after)
		}); err != nil {
			return did, err
		}
	}
	if err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return tx.forgetAnswers(ctx) }); err != nil {
		return did, err
	}
	return did, s.Clear(ctx)
}

// Clear removes overwritten content from the log of a SQLite database: earlier versions of pages remain there until it is truncated, also after an
// interrupted run. If a reader prevents it, a later call does it.
func (s *Store) Clear(ctx context.Context) error {
	if s.dialect.path == "" {
		return nil
	}
	_, err := s.write.ExecContext(ctx, `PRAGMA busy_timeout = `+busyOther+`; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = `+busyWriter)
	return s.fault("clear the log of the database", err)
}

// batches runs step in one transaction after another, and adds up the results; each continues behind the row where the one before ended, until step
// returns "".
func (s *Store) batches(ctx context.Context, did *Resealed, step func(context.Context, *Tx, string) (Resealed, string, error)) error {
	after := ""
	for {
		var now Resealed
		last := ""
		err := s.InTx(ctx, func(ctx context.Context, tx *Tx) (err error) {
			// Under the writers' lock: later writers see this key or a newer one.
			if err = tx.secrets.keys.Refresh(); err != nil {
				return err
			}
			now, last, err = step(ctx, tx, after)
			return err
		})
		if err != nil {
			return err
		}
		did.Rows, did.Left, after = did.Rows+now.Rows, append(did.Left, now.Left...), last
		if last == "" {
			return nil
		}
	}
}

// sealedColumn is a column of sealed texts, each bound to the id of its row.
type sealedColumn struct {
	table, column string
	name          string // the column with the name of the row in messages
	purpose       string
	limit         int  // the maximum length of a sealed text
	mayOpen       bool // SECRET_STORAGE=plain leaves it as plaintext
}

func sealedColumns() []sealedColumn {
	return []sealedColumn{
		{"extensions", "secret", "number", forSecret, keyring.MaxText(secretColumn), true},
		{"devices", "secret", "name", forSecret, keyring.MaxText(secretColumn), true},
		{"accounts", "totp_secret", "email", forFactor, math.MaxInt, false},
	}
}

// resealColumn seals a batch of rows whose ids follow after. It returns the last id, "" if there are no more.
func (t *Tx) resealColumn(ctx context.Context, c sealedColumn, after string) (did Resealed, last string, err error) {
	keys, open := t.secrets.keys, t.secrets.open && c.mayOpen
	where, header := fmt.Sprintf(`%[1]s <> '' AND substr(%[1]s, 1, $3) <> $2`, c.column), keyring.Mark+keys.Current()+":"
	if open {
		where, header = fmt.Sprintf(`substr(%s, 1, $3) = $2`, c.column), keyring.Mark
	}
	args := []any{batch, header, len(header)}
	if after != "" {
		where, args = where+` AND id > $4`, append(args, after)
	}
	type one struct{ id, name, text string }
	all, err := gather(ctx, t.tx, func(from row) (r one, err error) {
		err = from.Scan(&r.id, &r.name, &r.text)
		return r, err
	}, fmt.Sprintf(`SELECT id, CAST(%s AS text), %s FROM %s WHERE %s ORDER BY id LIMIT $1`, c.name, c.column, c.table, where), args...)
	if err != nil {
		return did, "", err
	}
	for _, r := range all {
		text := r.text
		if _, sealed := keyring.KeyOf(text); sealed {
			if text, err = keys.Open(c.purpose, r.id, text); err != nil {
				return did, "", fmt.Errorf("%s of %s in %s: %w", c.column, r.name, c.table, err)
			}
		}
		if !open && len(text) > c.limit {
			did.Left = append(did.Left, r.name)
			continue
		}
		if !open {
			if text, err = keys.Seal(c.purpose, r.id, text); err != nil {
				return did, "", err
			}
		}
		// Another program on these tables may have changed the row meanwhile: its value stays, as plaintext until the next call.
		var moved bool
		switch c.table {
		case "extensions":
			moved, err = t.secretIn(ctx, r.id, r.text, text)
		case "devices":
			moved, err = t.deviceSecretIn(ctx, r.id, r.text, text)
		default:
			moved, err = changed(t.tx.ExecContext(ctx, fmt.Sprintf(`UPDATE %[1]s SET %[2]s = $1 WHERE id = $2 AND %[2]s = $3`, c.table, c.column), text, r.id, r.text))
		}
		if err != nil {
			return did, "", err
		}
		if moved {
			did.Rows++
		}
	}
	if len(all) == batch {
		last = all[batch-1].id
	}
	return did, last, nil
}

// toReseal returns the end of a query, up to its order, for at most limit rows behind an id that are not sealed as they would be now.
func (t *Tx) toReseal(limit int, after string) (where string, args []any) {
	where, args = `sealed_with <> ''`, []any{limit}
	if !t.secrets.open {
		where, args = `(sealed_with IS NULL OR sealed_with NOT IN ('', $2))`, append(args, t.secrets.keys.Current())
	}
	if after != "" {
		args = append(args, after)
		where += fmt.Sprintf(` AND id > $%d`, len(args))
	}
	return where, args
}

// resealRuns seals the saved hand edits of a batch of runs. An apply writes its run without the writers' lock: concurrent changes must not be lost.
func (t *Tx) resealRuns(ctx context.Context, after string) (did Resealed, last string, err error) {
	where, args := t.toReseal(batch, after)
	type one struct{ id, story string }
	all, err := gather(ctx, t.tx, func(from row) (r one, err error) {
		err = from.Scan(&r.id, &r.story)
		return r, err
	}, `SELECT id, `+t.dialect.jsonOut("story")+` FROM apply_runs WHERE `+where+` ORDER BY id LIMIT $1`+t.dialect.lockRows, args...)
	if err != nil {
		return did, "", err
	}
	for _, r := range all {
		id := pbx.RunID(r.id)
		told, err := readStory(id, r.story)
		if err == nil && told.Sealed != nil {
			told.Saved, err = t.secrets.savedOut(id, told.Sealed)
		}
		if err != nil {
			return did, "", err
		}
		sealed, with, err := t.secrets.savedIn(id, told.Saved)
		if err != nil {
			return did, "", err
		}
		if told.Sealed = sealed; sealed != nil {
			told.Saved = nil
		}
		story, err := json.Marshal(told)
		if err != nil {
			return did, "", err
		}
		if _, err := t.tx.ExecContext(ctx, `UPDATE apply_runs SET story = `+t.dialect.jsonIn("$1")+`, sealed_with = $2 WHERE id = $3`,
			string(story), with, r.id); err != nil {
			return did, "", err
		}
		did.Rows++
	}
	if len(all) == batch {
		last = all[batch-1].id
	}
	return did, last, nil
}
