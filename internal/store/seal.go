package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// secrets is how texts that must not lie open are kept.
type secrets struct {
	keys *keyring.Ring
	open bool // new secrets are written as they are
}

// What things are sealed for; each with the id of its row as the owner.
const (
	forSecret   = "sip secret"
	forRevision = "revision"
	forSaved    = "saved files"
	forFactor   = "second factor"
)

// secretColumn is how many characters fit into the column secret.
const secretColumn = 255

// UseKeys gives the store the keys with which it seals and opens, before it is used. Open means that new SIP secrets and revisions are
// written as they are, for another program that reads the same tables; what is sealed is still opened.
func (s *Store) UseKeys(keys *keyring.Ring, open bool) { s.secrets = secrets{keys, open} }

var errNoKeys = errors.New("the store was given no keys")

// in gives a SIP secret the form in which it goes into its column.
func (s *secrets) in(id pbx.ExtensionID, secret pbx.Secret) (string, error) {
	text := secret.Reveal()
	switch {
	case s.keys == nil:
		return "", errNoKeys
	case s.open:
		return text, nil
	}
	return s.keys.Seal(forSecret, string(id), text)
}

// opener reads SIP secrets, those of a whole list with one. It is a destination for Scan, and takes the column without a copy on the
// heap from either driver.
type opener struct {
	keys   *keyring.Ring
	box    *keyring.Opener
	column []byte
}

// Scan takes the column from database/sql.
func (o *opener) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("a secret is a %T in the database, not a text", value)
	}
	o.column = append(o.column[:0], text...)
	return nil
}

// ScanBytes takes the column from pgx.
func (o *opener) ScanBytes(text []byte) error {
	o.column = append(o.column[:0], text...)
	return nil
}

// out gives the SIP secret of the column that was taken, sealed or not.
func (o *opener) out(id pbx.ExtensionID, n pbx.Number) (pbx.Secret, error) {
	if _, sealed := keyring.KeyOf(string(o.column[:min(len(o.column), keyring.HeaderLength)])); !sealed {
		return pbx.SecretFrom(string(o.column)), nil
	}
	if o.keys == nil {
		return pbx.Secret{}, errNoKeys
	}
	if o.box == nil {
		o.box = o.keys.Opener(forSecret)
	}
	text, err := o.box.Open(string(id), o.column)
	if err != nil {
		return pbx.Secret{}, fmt.Errorf("the secret of extension %d: %w", n, err)
	}
	return pbx.SecretFrom(text), nil
}

func (s *secrets) opener() *opener { return &opener{keys: s.keys} }

// runIn seals what a run holds of passwords: the PJSIP file and hand edits that were saved. With says which key sealed it, "" when
// there was nothing to seal; it is null where the bytes go in as they are.
func (s *secrets) runIn(id pbx.RunID, pjsip []byte, saved []pbx.File) (sealed, sealedSaved []byte, with sql.NullString, err error) {
	switch {
	case pjsip == nil && len(saved) == 0:
		return nil, nil, sql.NullString{Valid: !s.open}, nil
	case s.open:
		return pjsip, nil, with, nil
	case s.keys == nil:
		return nil, nil, with, errNoKeys
	}
	if pjsip != nil {
		if sealed, err = s.keys.SealBytes(forRevision, string(id), pjsip); err != nil {
			return nil, nil, with, err
		}
	}
	if len(saved) > 0 {
		text, err := json.Marshal(saved)
		if err != nil {
			return nil, nil, with, err
		}
		if sealedSaved, err = s.keys.SealBytes(forSaved, string(id), text); err != nil {
			return nil, nil, with, err
		}
	}
	// Should the key have been replaced between the two, the row counts as sealed with the older one, and is sealed again.
	with = sql.NullString{Valid: true}
	for _, part := range [][]byte{sealedSaved, sealed} {
		if key, ok := keyring.KeyOf(string(part[:min(len(part), keyring.HeaderLength)])); ok {
			with.String = key
		}
	}
	return sealed, sealedSaved, with, nil
}

// runOut opens what runIn sealed; what was never sealed comes back as it is.
func (s *secrets) runOut(id pbx.RunID, pjsip, sealedSaved []byte) (content []byte, saved []pbx.File, err error) {
	if content, err = s.bytesOut(forRevision, id, pjsip); err != nil {
		return nil, nil, fmt.Errorf("the files of run %s: %w", id, err)
	}
	if sealedSaved == nil {
		return content, nil, nil
	}
	text, err := s.bytesOut(forSaved, id, sealedSaved)
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the saved files of run %s: %w", id, err)
	}
	return content, saved, nil
}

func (s *secrets) bytesOut(purpose string, id pbx.RunID, content []byte) ([]byte, error) {
	if _, sealed := keyring.KeyOf(string(content[:min(len(content), keyring.HeaderLength)])); !sealed {
		return content, nil
	}
	if s.keys == nil {
		return nil, errNoKeys
	}
	return s.keys.OpenBytes(purpose, string(id), content)
}

// SealFactor gives the secret of an account's second factor the form in which it is kept. It never lies open: no other program reads it.
func (s *Store) SealFactor(account pbx.AccountID, secret pbx.Secret) (string, error) {
	if s.secrets.keys == nil {
		return "", errNoKeys
	}
	return s.secrets.keys.Seal(forFactor, string(account), secret.Reveal())
}

// OpenFactor opens what SealFactor gave for the same account.
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

// AtRest tells how secrets lie in the database.
type AtRest struct {
	Sealed map[string]int // how many rows each key has sealed
	Open   int            // rows that lie open
}

// AtRest counts. It needs no keys.
func (s *Store) AtRest(ctx context.Context) (AtRest, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	at := AtRest{Sealed: map[string]int{}}
	//nolint:gosec // what is put in is a constant
	rows, err := s.read.QueryContext(ctx, `
SELECT CASE WHEN secret LIKE '`+keyring.Mark+`%' THEN substr(secret, $1, $2) ELSE '' END AS with_key, count(*) FROM extensions GROUP BY 1
UNION ALL
SELECT coalesce(sealed_with, '') AS with_key, count(*) FROM apply_runs WHERE sealed_with IS NULL OR sealed_with <> '' GROUP BY 1
UNION ALL
SELECT substr(totp_secret, $1, $2) AS with_key, count(*) FROM accounts WHERE totp_secret <> '' GROUP BY 1`,
		len(keyring.Mark)+1, keyring.HeaderLength-len(keyring.Mark)-1)
	if err != nil {
		return at, s.fault("see how secrets are kept", err)
	}
	defer rows.Close()
	for rows.Next() {
		key, n := "", 0
		if err := rows.Scan(&key, &n); err != nil {
			return at, s.fault("see how secrets are kept", err)
		}
		if key == "" {
			at.Open += n
		} else {
			at.Sealed[key] += n
		}
	}
	return at, s.fault("see how secrets are kept", rows.Err())
}

// Resealed tells what Reseal did.
type Resealed struct {
	Rows int          // that have another form now
	Left []pbx.Number // extensions whose secret is too long to be sealed in its column
}

// batch is how many rows are sealed in one transaction: other writers wait for its end.
const batch = 100

// Reseal seals with the present key whatever lies open or was sealed with another; where secrets are to lie open, it opens them. It goes
// on where an earlier one ended, and others may write meanwhile. After its success nothing needs another key than the present one.
func (s *Store) Reseal(ctx context.Context) (Resealed, error) {
	var did Resealed
	for _, step := range []func(context.Context, *Tx, string) (string, int, []pbx.Number, error){s.resealSecrets, s.resealRuns, s.resealFactors} {
		for after, more := "", true; more; more = after != "" {
			var n int
			var left []pbx.Number
			var next string
			err := s.InTx(ctx, func(ctx context.Context, tx *Tx) (err error) {
				next, n, left, err = step(ctx, tx, after)
				return err
			})
			if err != nil {
				return did, err
			}
			did.Rows, did.Left, after = did.Rows+n, append(did.Left, left...), next
		}
	}
	if did.Rows > 0 && s.dialect.path != "" {
		// The pages as they were stand in the log until it is cut. Where a reader is in the way, that happens another time.
		if _, err := s.write.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
			return did, s.fault("clear the log of the database", err)
		}
	}
	return did, nil
}

// resealSecrets does so for a batch of extensions whose ids come after the given one. It gives the last id, "" when there are no more.
func (s *Store) resealSecrets(ctx context.Context, tx *Tx, after string) (last string, n int, left []pbx.Number, err error) {
	if s.secrets.keys == nil {
		return "", 0, nil, errNoKeys
	}
	if err := s.secrets.keys.Refresh(); err != nil {
		return "", 0, nil, err
	}
	where, header := `substr(secret, 1, $3) <> $2`, keyring.Mark+s.secrets.keys.Current()+":"
	if s.secrets.open {
		where, header = `substr(secret, 1, $3) = $2`, keyring.Mark
	}
	if after != "" {
		where += ` AND id > $4`
	}
	args := []any{batch, header, len(header), after}
	rows, err := tx.tx.QueryContext(ctx, `SELECT id, number, secret FROM extensions WHERE `+where+` ORDER BY id LIMIT $1`, args[:3+strings.Count(where, "$4")]...)
	if err != nil {
		return "", 0, nil, err
	}
	type one struct {
		id     pbx.ExtensionID
		number pbx.Number
		column string
		secret pbx.Secret
	}
	var all []one
	opener := s.secrets.opener()
	defer rows.Close()
	for rows.Next() {
		var e one
		if err = rows.Scan((*string)(&e.id), (*int)(&e.number), opener); err != nil {
			return "", 0, nil, err
		}
		if e.secret, err = opener.out(e.id, e.number); err != nil {
			return "", 0, nil, err
		}
		e.column = string(opener.column)
		all = append(all, e)
	}
	if err := rows.Err(); err != nil {
		return "", 0, nil, err
	}
	for _, e := range all {
		if !s.secrets.open && len(e.secret.Reveal()) > keyring.MaxText(secretColumn) {
			left = append(left, e.number)
			continue
		}
		column, err := s.secrets.in(e.id, e.secret)
		if err != nil {
			return "", 0, nil, err
		}
		// Another program on these tables may have changed the secret meanwhile: then its word stands, and lies open until the next time.
		result, err := tx.tx.ExecContext(ctx, `UPDATE extensions SET secret = $1 WHERE id = $2 AND secret = $3`, column, string(e.id), e.column)
		if err != nil {
			return "", 0, nil, err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return "", 0, nil, err
		}
		n += int(changed)
	}
	if len(all) == batch {
		last = string(all[batch-1].id)
	}
	return last, n, left, nil
}

// resealFactors does so for the second factors of all accounts, which are few.
func (s *Store) resealFactors(ctx context.Context, tx *Tx, _ string) (_ string, n int, _ []pbx.Number, err error) {
	if s.secrets.keys == nil {
		return "", 0, nil, errNoKeys
	}
	header := keyring.Mark + s.secrets.keys.Current() + ":"
	rows, err := tx.tx.QueryContext(ctx, `SELECT id, totp_secret FROM accounts WHERE totp_secret <> '' AND substr(totp_secret, 1, $1) <> $2 ORDER BY id`,
		len(header), header)
	if err != nil {
		return "", 0, nil, err
	}
	defer rows.Close()
	sealed := map[pbx.AccountID]string{}
	for rows.Next() {
		var id pbx.AccountID
		var column string
		if err := rows.Scan((*string)(&id), &column); err != nil {
			return "", 0, nil, err
		}
		secret, err := s.OpenFactor(id, column)
		if err != nil {
			return "", 0, nil, err
		}
		if sealed[id], err = s.SealFactor(id, secret); err != nil {
			return "", 0, nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return "", 0, nil, err
	}
	for id, column := range sealed {
		if _, err := tx.tx.ExecContext(ctx, `UPDATE accounts SET totp_secret = $1 WHERE id = $2`, column, string(id)); err != nil {
			return "", 0, nil, err
		}
	}
	return "", len(sealed), nil, nil
}

// runBatch is how many runs are sealed in one transaction; each may hold a file of a thousand users.
const runBatch = 10

// resealRuns does so for a batch of runs whose ids come after the given one.
func (s *Store) resealRuns(ctx context.Context, tx *Tx, after string) (last string, n int, _ []pbx.Number, err error) {
	if s.secrets.keys == nil {
		return "", 0, nil, errNoKeys
	}
	where, args := `sealed_with <> ''`, []any{runBatch}
	if !s.secrets.open {
		where, args = `(sealed_with IS NULL OR sealed_with NOT IN ('', $2))`, append(args, s.secrets.keys.Current())
	}
	if after != "" {
		args = append(args, after)
		where += fmt.Sprintf(` AND id > $%d`, len(args))
	}
	rows, err := tx.tx.QueryContext(ctx, `SELECT id, pjsip, `+s.dialect.jsonOut("story")+` FROM apply_runs WHERE `+where+` ORDER BY id LIMIT $1`, args...)
	if err != nil {
		return "", 0, nil, err
	}
	type one struct {
		id    string
		pjsip []byte
		story string
	}
	var all []one
	defer rows.Close()
	for rows.Next() {
		var r one
		if err := rows.Scan(&r.id, &r.pjsip, &r.story); err != nil {
			return "", 0, nil, err
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return "", 0, nil, err
	}
	for _, r := range all {
		id := pbx.RunID(r.id)
		var told storyJSON
		if err := json.Unmarshal([]byte(r.story), &told); err != nil {
			return "", 0, nil, fmt.Errorf("story of %s: %w", id, err)
		}
		pjsip, saved, err := s.secrets.runOut(id, r.pjsip, told.Sealed)
		if err != nil {
			return "", 0, nil, err
		}
		if told.Sealed == nil {
			saved = told.Saved
		}
		pjsip, sealed, with, err := s.secrets.runIn(id, pjsip, saved)
		if err != nil {
			return "", 0, nil, err
		}
		if told.Saved, told.Sealed = saved, sealed; sealed != nil {
			told.Saved = nil
		}
		story, err := json.Marshal(told)
		if err != nil {
			return "", 0, nil, err
		}
		if _, err := tx.tx.ExecContext(ctx, `UPDATE apply_runs SET pjsip = $1, story = `+s.dialect.jsonIn("$2")+`, sealed_with = $3 WHERE id = $4`,
			pjsip, string(story), with, r.id); err != nil {
			return "", 0, nil, err
		}
		n++
	}
	if len(all) == runBatch {
		last = all[runBatch-1].id
	}
	return last, n, nil, nil
}
