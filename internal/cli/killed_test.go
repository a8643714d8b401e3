package cli_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// repeatable sends a request to create a user with an idempotency key, and returns the response and whether it is marked as that of an earlier request.
func (s *server) repeatable(ctx context.Context, key, body string) (a answer, replayed bool, err error) {
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/api/v1/users", strings.NewReader(body))
	if err != nil {
		return a, false, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text)}, resp.Header.Get("Idempotent-Replayed") == "true", err
}

func TestARequestThatIsRepeatedAfterItsProcessWasKilledHasCreatedOneUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSettings(t)
		s["DATABASE_URL"] = url
		srv := s.serve(t)
		// Storing the response takes until the process is killed: the user is committed, and the response is known to nothing else.
		hold := []string{`CREATE TRIGGER hold BEFORE UPDATE OF answer ON idempotency_keys BEGIN
			SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT 100000000000); END`, `DROP TRIGGER hold`}
		if strings.HasPrefix(url, "postgres") {
			hold = []string{
				`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
				CREATE TRIGGER hold BEFORE UPDATE OF answer ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION hold()`,
				`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
				DROP TRIGGER hold ON idempotency_keys; DROP FUNCTION hold()`,
			}
		}
		for _, at := range []struct{ name, held, release, committed string }{
			{"before its response was stored", hold[0], hold[1], `SELECT count(*) FROM idempotency_keys WHERE answer IS NULL AND request_key = `},
			{"when its response was stored", "", "", `SELECT count(*) FROM idempotency_keys WHERE answer IS NOT NULL AND request_key = `},
		} {
			if at.held != "" {
				storetest.Execute(t, url, at.held)
			}
			body := `{"name":"Killed ` + at.name + `","email":"` + at.name[:4] + `@example.com"}`
			lost := make(chan error, 1)
			go func() {
				_, _, err := srv.repeatable(t.Context(), at.name, body)
				lost <- err
			}()
			eventually(t, "the user is committed", func() bool { return strings.TrimSpace(storetest.Ask(t, url, at.committed+`'`+at.name+`'`)) == "1" })
			if err := srv.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := <-lost; err == nil && at.held != "" {
				t.Fatal("the process responded before it was killed: nothing was tried")
			}
			if at.release != "" {
				storetest.Execute(t, url, at.release)
			}
			token := srv.token
			srv = s.serve(t)
			srv.token = token
			var first answer
			for n := range 3 {
				got, replayed, err := srv.repeatable(t.Context(), at.name, body)
				if n == 0 {
					first = got
				}
				if err != nil || got != first || got.status != 201 || !replayed || secretOfV1(t, got.body) == "" {
					t.Errorf("killed %s, repeated for the %d. time: %v %v, replayed: %v", at.name, n+1, got, err, replayed)
				}
			}
			id, _ := decode(t, first.body)["id"].(string)
			for query, want := range map[string]string{
				`SELECT count(*) FROM users WHERE name = 'Killed ` + at.name + `'`:                                             "1",
				`SELECT count(*) FROM users WHERE id = '` + id + `'`:                                                           "1",
				`SELECT count(*) FROM audit_events WHERE action = 'user.create' AND object_id = '` + id + `'`:                  "1",
				`SELECT count(*) FROM audit_events WHERE action = 'user.create' AND object_name LIKE 'Killed ` + at.name + `'`: "1",
			} {
				if got := strings.TrimSpace(storetest.Ask(t, url, query)); got != want {
					t.Errorf("killed %s: %s is %s", at.name, query, got)
				}
			}
		}
	})
}

func secretOfV1(t *testing.T, body string) string {
	t.Helper()
	secret, _ := decode(t, body)["secret"].(string)
	return secret
}
