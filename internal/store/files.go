package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// keptFile is a file of a revision in its stored form: its content is compressed, and sealed if it may hold passwords.
type keptFile struct {
	path, id   string
	content    []byte // nil: it is stored already
	sealedWith sql.NullString
}

// keepFiles returns the stored form of files. Content that another revision has as well is neither compressed nor sealed again.
func (s *Store) keepFiles(ctx context.Context, files []pbx.File) ([]keptFile, error) {
	kept := make([]keptFile, len(files))
	for i, f := range files {
		sum := sha256.Sum256(f.Content)
		kept[i] = keptFile{path: f.Path, id: hex.EncodeToString(sum[:])}
		stored, err := s.hasContent(ctx, kept[i].id)
		if err != nil {
			return nil, err
		}
		if stored {
			continue
		}
		if kept[i].content, err = packed(f.Content); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if holdsPasswords(f.Path) {
			kept[i].content, kept[i].sealedWith, err = s.secrets.bytesIn(forRevision, kept[i].id, kept[i].content)
		} else {
			kept[i].sealedWith.Valid = true
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return kept, nil
}

// holdsPasswords reports whether a generated file may hold passwords: any but those of the dialplan.
func holdsPasswords(path string) bool {
	return pbx.ModuleOf(path) != pbx.Dialplan
}

// hasContent reports whether a content is stored in the form in which it would be stored now.
func (s *Store) hasContent(ctx context.Context, id string) (bool, error) {
	var with sql.NullString
	err := s.read.QueryRowContext(ctx, `SELECT sealed_with FROM file_contents WHERE id = $1`, id).Scan(&with)
	_, ok, err := found(with, err)
	return ok && (with.Valid && with.String == "" || s.secrets.current(with)), err
}

// saveFiles replaces the files of a run.
func (t *Tx) saveFiles(ctx context.Context, id pbx.RunID, files []keptFile) error {
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM revision_files WHERE run_id = $1`, string(id)); err != nil {
		return err
	}
	for _, f := range files {
		if f.content != nil {
			if _, err := t.tx.ExecContext(ctx, `INSERT INTO file_contents (id, content, sealed_with) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET content = excluded.content, sealed_with = excluded.sealed_with`, f.id, f.content, f.sealedWith); err != nil {
				return err
			}
		}
		if _, err := t.tx.ExecContext(ctx, `INSERT INTO revision_files (run_id, path, content_id) VALUES ($1, $2, $3)`, string(id), f.path, f.id); err != nil {
			return err
		}
	}
	return nil
}

// filesOf returns the files of a run in their order in a revision, nil if they are not kept.
func (s *Store) filesOf(ctx context.Context, id pbx.RunID) ([]pbx.File, error) {
	files, err := gather(ctx, s.read, func(from row) (pbx.File, error) {
		var f pbx.File
		var content string
		if err := from.Scan(&f.Path, &content, &f.Content); err != nil {
			return f, err
		}
		opened, err := s.secrets.bytesOut(forRevision, content, f.Content)
		if err == nil {
			f.Content, err = unpacked(opened)
		}
		if err != nil {
			err = fmt.Errorf("the file %s of run %s: %w", f.Path, id, err)
		}
		return f, err
	}, `SELECT f.path, c.id, c.content FROM revision_files f JOIN file_contents c ON c.id = f.content_id WHERE f.run_id = $1`, string(id))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	order := func(f pbx.File) int {
		return slices.IndexFunc(pbx.GeneratedFiles(), func(g pbx.GeneratedFile) bool { return g.Path == f.Path })
	}
	slices.SortFunc(files, func(a, b pbx.File) int {
		if by := order(a) - order(b); by != 0 {
			return by
		}
		return strings.Compare(a.Path, b.Path)
	})
	return files, nil
}

// unused is the condition for contents that no revision has any more.
const unused = `NOT EXISTS (SELECT 1 FROM revision_files f WHERE f.content_id = file_contents.id)`

// dropContents deletes the contents that no revision has any more.
func (t *Tx) dropContents(ctx context.Context) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM file_contents WHERE `+unused)
	return err
}

// current reports whether a row sealed with a key, null for a plaintext one, is as it would be stored now.
func (s *secrets) current(with sql.NullString) bool {
	if s.open || s.keys == nil {
		return s.open && !with.Valid
	}
	return with.Valid && with.String == s.keys.Current()
}

// contentBatch is the number of contents sealed in one transaction; each may be a file of a thousand users.
const contentBatch = 10

// resealContents seals a batch of contents whose ids follow after, as resealRuns does.
func (t *Tx) resealContents(ctx context.Context, after string) (did Resealed, last string, err error) {
	where, args := t.toReseal(contentBatch, after)
	all, err := gather(ctx, t.tx, func(from row) (c keptFile, err error) {
		err = from.Scan(&c.id, &c.content)
		return c, err
	}, `SELECT id, content FROM file_contents WHERE `+where+` ORDER BY id LIMIT $1`+t.dialect.lockRows, args...)
	if err != nil {
		return did, "", err
	}
	for _, c := range all {
		content, err := t.secrets.bytesOut(forRevision, c.id, c.content)
		var with sql.NullString
		if err == nil {
			content, with, err = t.secrets.bytesIn(forRevision, c.id, content)
		}
		if err != nil {
			return did, "", fmt.Errorf("the file %s: %w", c.id, err)
		}
		if _, err := t.tx.ExecContext(ctx, `UPDATE file_contents SET content = $1, sealed_with = $2 WHERE id = $3`, content, with, c.id); err != nil {
			return did, "", err
		}
		did.Rows++
	}
	if len(all) == contentBatch {
		last = all[contentBatch-1].id
	}
	return did, last, nil
}
