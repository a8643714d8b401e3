package store

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// HostSource states how objects of the host were found.
type HostSource string

// The sources of objects of the host.
const (
	HostFiles   HostSource = "files"   // Asterisk's configuration files
	HostRunning HostSource = "running" // the running Asterisk
)

const selectHost = `SELECT objects FROM host_objects WHERE source = $1`

// NoteHost replaces the objects known from one source. It writes only if they have changed.
func (s *Store) NoteHost(ctx context.Context, source HostSource, objects []pbx.HostObject) error {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	text, err := json.Marshal(append([]pbx.HostObject{}, objects...))
	if err != nil {
		return err
	}
	was, ok, err := found(scanText(s.read.QueryRowContext(ctx, selectHost, string(source))))
	if err != nil || was == string(text) || !ok && len(objects) == 0 {
		return s.fault("read the objects of the host", err)
	}
	return s.again(ctx, "record the objects of the host", func() error {
		tx, err := s.beginBeside(ctx)
		if err != nil {
			return err
		}
		defer tx.rollback()
		if _, err := tx.tx.ExecContext(ctx, `INSERT INTO host_objects (source, objects) VALUES ($1, $2)
ON CONFLICT (source) DO UPDATE SET objects = excluded.objects`, string(source), string(text)); err != nil {
			return err
		}
		return tx.commit(ctx)
	})
}

// Host returns the objects known from one source.
func (s *Store) Host(ctx context.Context, source HostSource) ([]pbx.HostObject, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	text, ok, err := found(scanText(s.read.QueryRowContext(ctx, selectHost, string(source))))
	if err != nil || !ok {
		return nil, s.fault("read the objects of the host", err)
	}
	return hostObjects(text)
}

// scanText scans a row of one text.
func scanText(r row) (text string, err error) {
	err = r.Scan(&text)
	return text, err
}

// hostObjects parses concatenated JSON arrays of objects.
func hostObjects(text string) (all []pbx.HostObject, err error) {
	for arrays := json.NewDecoder(strings.NewReader(text)); ; {
		var some []pbx.HostObject
		if err := arrays.Decode(&some); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
}
