package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// checkPatience is how long a check of the whole database may take.
const checkPatience = time.Minute

// Intact returns an error that names what is damaged in a SQLite file: pages, indexes, values of a form that is never written, rows whose
// counterpart is missing. PostgreSQL looks at its pages itself, as it reads them, where it keeps checksums; without says that it keeps none.
func (s *Store) Intact(ctx context.Context) (without bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if s.dialect.path == "" {
		sums := ""
		err = s.read.QueryRowContext(ctx, `SHOW data_checksums`).Scan(&sums)
		return sums == "off", s.fault("see whether the database keeps checksums", err)
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
		Msg: fmt.Sprintf("the database is damaged (%s): stop the portal, put the backup in its place, and start again", damage[0]),
	}
}
