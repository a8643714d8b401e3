package store

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// HostSource says how objects of the host were found.
type HostSource string

// The sources of objects of the host.
const (
	HostFiles   HostSource = "files"   // Asterisk's configuration files
	HostRunning HostSource = "running" // the running Asterisk
)

const selectHost = `SELECT objects FROM host_objects WHERE source = $1`

// NoteHost replaces what is known of the host from one source. It writes only if that has changed.
func (s *Store) NoteHost(ctx context.Context, source HostSource, objects []pbx.HostObject) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	text, err := json.Marshal(append([]pbx.HostObject{}, objects...))
	if err != nil {
		return err
	}
	was, ok, err := found(scanText(s.read.QueryRowContext(ctx, selectHost, string(source))))
	if err != nil || was == string(text) || !ok && len(objects) == 0 {
		return s.fault("read what the host has", err)
	}
	return s.again(ctx, "note what the host has", func() error {
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

// Host returns what is known of the host from one source.
func (s *Store) Host(ctx context.Context, source HostSource) ([]pbx.HostObject, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	text, ok, err := found(scanText(s.read.QueryRowContext(ctx, selectHost, string(source))))
	if err != nil || !ok {
		return nil, s.fault("read what the host has", err)
	}
	return hostObjects(text)
}

// scanText reads a row of one text.
func scanText(r row) (text string, err error) {
	err = r.Scan(&text)
	return text, err
}

// hostObjects reads JSON arrays of objects, one behind the other.
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
