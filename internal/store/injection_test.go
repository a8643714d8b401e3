package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// Whatever a caller can choose is a value for the database, and never a piece of SQL: it selects nothing, changes nothing, and comes back
// as it was.
func TestTextsOfCallersAreValuesAndNeverSQL(t *testing.T) {
	t.Parallel()
	hostile := []string{
		`' OR '1'='1`, `x'; DROP TABLE users; --`, `x'); DELETE FROM users; --`, `" OR ""="`, `\'; DROP TABLE users; --`, `$1`, `$$; DROP TABLE users; $$`,
		`%`, `_`, `* FROM users; --`, `1 UNION SELECT hash FROM api_tokens`, `') UNION SELECT secret FROM extensions --`, `?`, `:a`, `{{.}}`,
	}
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		var users []pbx.User
		for i, text := range hostile {
			u := newUser(pbx.FirstNumber+pbx.Number(i), text+"@example.com")
			u.Name = text
			users = append(users, u)
		}
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertAccount(ctx, newAccount("anna@example.com"))
		})
		const far = 1 << 40
		for _, text := range hostile {
			// An id that is none may also be refused, by PostgreSQL.
			if _, ok, _ := s.User(t.Context(), pbx.DefaultTenant, pbx.UserID(text)); ok {
				t.Errorf("%q is a user's id", text)
			}
			if got, _ := s.Users(t.Context(), pbx.TenantID(text)); len(got) > 0 {
				t.Errorf("%q is a tenant with %d users", text, len(got))
			}
			if _, ok, _ := s.Account(t.Context(), pbx.AccountID(text)); ok {
				t.Errorf("%q is an account's id", text)
			}
			if _, ok, err := s.AccountByEmail(t.Context(), text); ok || err != nil {
				t.Errorf("%q is an account's address: %v", text, err)
			}
			if _, _, ok, _ := s.Token(t.Context(), pbx.TokenID(text)); ok {
				t.Errorf("%q is a token", text)
			}
			if _, ok, _ := s.Log(t.Context(), pbx.RunID(text)); ok {
				t.Errorf("%q is an apply", text)
			}
			if logs, _ := s.Logs(t.Context(), time.Time{}, pbx.RunID(text), 10); len(logs) > 0 {
				t.Errorf("%q finds %d applies", text, len(logs))
			}
			for _, q := range []store.EventQuery{{Actor: text}, {Action: text}, {Action: text + "."}, {Object: "x" + text}} {
				if events, err := s.EventsBefore(t.Context(), q, far, 10); len(events) > 0 || err != nil {
					t.Errorf("%+v finds %d events: %v", q, len(events), err)
				}
			}
		}
		got, err := s.Users(t.Context(), pbx.DefaultTenant)
		if diff := cmp.Diff(users, got, same); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
	})
}
