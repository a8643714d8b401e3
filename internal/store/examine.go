package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// checkPatience bounds a check of the whole database.
const checkPatience = time.Minute

// Intact returns an error that names what is damaged in a SQLite file: pages, indexes, malformed values, or rows with a missing counterpart.
// PostgreSQL checks its pages on reading if checksums are on; without reports that they are off.
func (s *Store) Intact(ctx context.Context) (without bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if s.dialect.path == "" {
		sums := ""
		err = s.read.QueryRowContext(ctx, `SHOW data_checksums`).Scan(&sums)
		return sums == "off", s.fault("check whether the database has checksums", err)
	}
	var damage []string
	for _, check := range []string{
		`SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`,
		`SELECT 'a row of ' || "table" || ' has no counterpart in ' || parent FROM pragma_foreign_key_check`,
	} {
		found, err := gather(ctx, s.read, func(r row) (text string, err error) { err = r.Scan(&text); return text, err }, check)
		if err != nil {
			return false, s.fault("check the database", err)
		}
		damage = append(damage, found...)
	}
	if len(damage) == 0 {
		return false, nil
	}
	return false, &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: fmt.Errorf("damage: %s", strings.Join(damage, "; ")),
		Msg: fmt.Sprintf("the database is damaged (%s): stop the portal, restore a backup, and start the portal", damage[0]),
	}
}
