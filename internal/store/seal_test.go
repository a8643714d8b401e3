package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestSecretsAreStoredSealedAndDecryptedOnlyForTheirExtension(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a, b := newUser(1000, "a@example.com"), newUser(1001, "b@example.com")
		if err := insert(t.Context(), s, a, b); err != nil {
			t.Fatal(err)
		}
		for _, u := range []pbx.User{a, b} {
			column := ask(t, url, `SELECT secret FROM extensions WHERE id = '`+string(u.Extension.ID)+`'`)
			if key, sealed := keyring.KeyOf(column); !sealed || key != storetest.Keys(t).Current() || strings.Contains(column, u.Extension.Secret.Reveal()) {
				t.Errorf("in the column: %s", column)
			}
		}
		at, err := s.AtRest(t.Context())
		if diff := cmp.Diff(store.AtRest{Sealed: map[string]int{storetest.Keys(t).Current(): 2}}, at); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
		execute(t, url, `UPDATE extensions SET secret = (SELECT secret FROM extensions WHERE number = 1001) WHERE number = 1000`)
		if _, err := s.Users(t.Context(), pbx.DefaultTenant); err == nil || !strings.Contains(err.Error(), "extension 1000") {
			t.Errorf("another's secret was opened: error %v", err)
		}
	})
}

func TestAMissingKeyIsReportedAndAStoreWithoutKeysSealsNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if err := insert(t.Context(), s, newUser(1000, "a@example.com")); err != nil {
			t.Fatal(err)
		}
		sealedWith := storetest.Keys(t).Current()
		s.UseKeys(newKeys(t), false)
		_, err := s.Users(t.Context(), pbx.DefaultTenant)
		if unknown, ok := errors.AsType[*keyring.UnknownKeyError](err); !ok || unknown.ID != sealedWith || !strings.Contains(err.Error(), "extension 1000") {
			t.Errorf("with another key: %v", err)
		}
		if _, err := s.Reseal(t.Context()); err == nil {
			t.Error("another key sealed it again")
		}
		s.UseKeys(nil, false)
		if _, err := s.Users(t.Context(), pbx.DefaultTenant); err == nil {
			t.Error("it was opened without a key")
		}
		if err := insert(t.Context(), s, newUser(1001, "b@example.com")); err == nil {
			t.Error("a secret was stored without a key")
		}
	})
}

func TestPlaintextSecretsAreReadAndThenEncrypted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		s.UseKeys(storetest.Keys(t), true)
		users := someUsers(230) // more than fit into one batch, or two
		long := &users[7]
		long.Extension.Secret = pbx.SecretFrom(strings.Repeat("x", 200))
		users[8].Extension.Secret = pbx.SecretFrom(strings.Repeat("y", keyring.MaxText(255)))
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		if at, err := s.AtRest(t.Context()); at.Open != len(users) || err != nil {
			t.Errorf("lie open: %d, error %v", at.Open, err)
		}
		s.UseKeys(storetest.Keys(t), false)
		listed(t, s, users)
		did, err := s.Reseal(t.Context())
		if diff := cmp.Diff(store.Resealed{Rows: len(users) - 1, Left: []string{fmt.Sprint(long.Extension.Number)}}, did); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
		if at, err := s.AtRest(t.Context()); at.Open != 1 || err != nil {
			t.Errorf("still lie open: %d, error %v", at.Open, err)
		}
		listed(t, s, users)
		if path, ok := strings.CutPrefix(url, "sqlite:///"); ok { // nor does the file keep what was there before
			for _, u := range users {
				if u.Extension.Number != long.Extension.Number && (holds(t, path, u.Extension.Secret) || holds(t, path+"-wal", u.Extension.Secret)) {
					t.Errorf("the file still holds the secret of %d", u.Extension.Number)
				}
			}
		}
		if did, err = s.Reseal(t.Context()); did.Rows != 0 || err != nil {
			t.Errorf("done again: %+v, error %v", did, err)
		}
		// And back, for a program that knows nothing of keys.
		s.UseKeys(storetest.Keys(t), true)
		if did, err = s.Reseal(t.Context()); did.Rows != len(users)-1 || err != nil {
			t.Errorf("opened: %+v, error %v", did, err)
		}
		if at, err := s.AtRest(t.Context()); at.Open != len(users) || len(at.Sealed) > 0 || err != nil {
			t.Errorf("at rest %+v, error %v", at, err)
		}
	})
}

func TestAKeyRotationDuringOtherWritesLosesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		source := keyring.Source{StateDir: t.TempDir()}
		open := func() (*store.Store, *keyring.Ring) {
			keys, err := source.LoadOrMake()
			if err != nil {
				t.Fatal(err)
			}
			s := storetest.Open(t, url)
			s.UseKeys(keys, false)
			return s, keys
		}
		server, _ := open()
		users := someUsers(300)
		if err := insert(t.Context(), server, users[:150]...); err != nil {
			t.Fatal(err)
		}
		if err := storetest.SaveRun(t.Context(), server, sealedRun()); err != nil {
			t.Fatal(err)
		}
		s, keys := open()
		if _, err := keys.Rotate(); err != nil {
			t.Fatal(err)
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if _, err := s.Reseal(stopped); err == nil {
			t.Error("it was not stopped")
		}
		var writing sync.WaitGroup
		writing.Go(func() {
			for _, u := range users[150:] {
				if err := insert(t.Context(), server, u); err != nil {
					t.Error(err)
				}
			}
		})
		if _, err := s.Reseal(t.Context()); err != nil {
			t.Error(err)
		}
		writing.Wait()
		if did, err := s.Reseal(t.Context()); did.Rows != 0 || err != nil {
			t.Errorf("%d rows were sealed with the old key after all, error %v", did.Rows, err)
		}
		if err := keys.Forget(); err != nil {
			t.Fatal(err)
		}
		later, _ := open()
		for _, s := range []*store.Store{later, server} {
			listed(t, s, users)
			if r, _, err := s.Revision(t.Context(), 1); err != nil || len(r.Files) != 2 {
				t.Errorf("revision: %d files, error %v", len(r.Files), err)
			}
		}
	})
}

func TestContentDeletedDuringAKeyRotationStaysDeleted(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t) // SQLite has one writer at a time
	s := storetest.Open(t, url)
	r := sealedRun()
	if err := storetest.SaveRun(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	two, err := keyring.Source{Value: keyring.NewKey() + " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}.Load()
	if err != nil {
		t.Fatal(err)
	}
	s.UseKeys(two, false)
	other, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(context.WithoutCancel(t.Context())) }()
	if _, err := other.Exec(t.Context(), `BEGIN; DELETE FROM revision_files; DELETE FROM file_contents`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := s.Reseal(t.Context()); done <- err }()
	for waiting := false; !waiting; {
		err := other.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Run(t.Context(), r.Log.ID); got.Files != nil || len(got.Saved) != 1 || err != nil {
		t.Errorf("%d files are back, %d saved, error %v", len(got.Files), len(got.Saved), err)
	}
}

// sealedRun is a run with passwords wherever one can have them.
func sealedRun() pbx.Run {
	return pbx.Run{
		Log:      pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Success},
		Revision: 1, Result: pbx.Applied, Verification: pbx.Confirmed,
		Files: []pbx.File{
			{Path: pbx.PJSIPPath, Content: []byte("[1000]\npassword=topsecret\n")}, {Path: pbx.DialplanPath, Content: []byte("[synergy-internal]\n")},
		},
		Saved: []pbx.File{{Path: pbx.PJSIPPath, Content: []byte("[1000]\npassword=topsecret2\n")}},
	}
}

func TestTheFilesOfARunAreStoredSealed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		r := sealedRun()
		check := func(when string, sealed bool) {
			t.Helper()
			got, ok, err := s.Run(t.Context(), r.Log.ID)
			if diff := cmp.Diff(r.Files, got.Files) + cmp.Diff(r.Saved, got.Saved); diff != "" || !ok || err != nil {
				t.Errorf("%s: ok %v, error %v\n%s", when, ok, err, diff)
			}
			raw := rawRuns(t, url)
			saved := base64.StdEncoding.EncodeToString(r.Saved[0].Content)
			if strings.Contains(raw, "topsecret") == sealed || strings.Contains(raw, saved) == sealed {
				t.Errorf("%s, in the table: %s", when, raw)
			}
		}
		if err := storetest.SaveRun(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
		check("at first", true)
		older := storetest.Keys(t)
		two, err := keyring.Source{Value: keyring.NewKey() + " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}.Load()
		if err != nil {
			t.Fatal(err)
		}
		s.UseKeys(two, false)
		without := r
		without.Files = nil // those of before stay, and with them the key they are sealed with
		if err := storetest.SaveRun(t.Context(), s, without); err != nil {
			t.Fatal(err)
		}
		check("completed under another key", true)
		if at, err := s.AtRest(t.Context()); at.Sealed[older.Current()] != 1 || err != nil {
			t.Errorf("at rest %+v, error %v", at, err)
		}
		if did, err := s.Reseal(t.Context()); did.Rows != 1 || err != nil {
			t.Errorf("sealed again: %+v, error %v", did, err)
		}
		check("sealed again", true)
		if at, err := s.AtRest(t.Context()); at.Sealed[two.Current()] != 2 || len(at.Sealed) != 1 || err != nil {
			t.Errorf("at rest %+v, error %v", at, err)
		}
		s.UseKeys(two, true)
		if _, err := s.Reseal(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("opened", false)
		if err := storetest.SaveRun(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
		check("written open", false)
		s.UseKeys(older, false)
		if _, err := s.Reseal(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("sealed at last", true)
		nothing := pbx.Run{Log: pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure}}
		if err := storetest.SaveRun(t.Context(), s, nothing); err != nil {
			t.Fatal(err)
		}
		if at, err := s.AtRest(t.Context()); at.Sealed[older.Current()] != 2 || at.Open != 0 || err != nil {
			t.Errorf("at rest with a run that holds nothing: %+v, error %v", at, err)
		}
	})
}

func newKeys(t *testing.T) *keyring.Ring {
	t.Helper()
	keys, err := keyring.Source{Value: keyring.NewKey()}.Load()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func someUsers(n int) []pbx.User {
	users := make([]pbx.User, n)
	for i := range users {
		users[i] = newUser(pbx.FirstNumber+pbx.Number(i), fmt.Sprintf("%d@example.com", i))
	}
	return users
}

// listed checks that the store returns exactly these users with their secrets.
func listed(t *testing.T, s *store.Store, users []pbx.User) {
	t.Helper()
	got, err := s.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(users, got, same); diff != "" {
		t.Error(diff)
	}
}

// rawRuns returns the content of the tables of runs and their files as text.
func rawRuns(t *testing.T, url string) string {
	t.Helper()
	if strings.HasPrefix(url, "sqlite") {
		return ask(t, url, `SELECT (SELECT group_concat(story) FROM apply_runs) || coalesce((SELECT group_concat(CAST(content AS text)) FROM file_contents), '')`)
	}
	return ask(t, url, `SELECT (SELECT string_agg(story::text, '') FROM apply_runs) || coalesce((SELECT string_agg(encode(content, 'escape'), '') FROM file_contents), '')`)
}

// ask returns the single text of a query.
func ask(t *testing.T, url, query string) string {
	t.Helper()
	return storetest.Ask(t, url, query)
}

func holds(t *testing.T, path string, secret pbx.Secret) bool {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(content, []byte(secret.Reveal()))
}

func TestASecondFactorIsSealedForItsAccountAndFollowsTheKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		keys, err := keyring.Source{StateDir: t.TempDir()}.LoadOrMake()
		if err != nil {
			t.Fatal(err)
		}
		s := storetest.Open(t, url)
		s.UseKeys(keys, true) // also with plaintext SIP secrets
		a, b := newAccount("anna@example.com"), newAccount("bert@example.com")
		if a.TOTPSecret, err = s.SealFactor(a.ID, pbx.SecretFrom("canary")); err != nil || strings.Contains(a.TOTPSecret, "canary") {
			t.Fatal(a.TOTPSecret, err)
		}
		if _, err := s.OpenFactor(b.ID, a.TOTPSecret); err == nil {
			t.Error("it opens for another account")
		}
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccount(ctx, a), tx.InsertAccount(ctx, b))
		})
		if at, err := s.AtRest(t.Context()); err != nil || at.Sealed[keys.Current()] != 1 || at.Open != 0 {
			t.Errorf("%+v, error %v", at, err)
		}
		if _, err := keys.Rotate(); err != nil {
			t.Fatal(err)
		}
		if did, err := s.Reseal(t.Context()); err != nil || did.Rows != 1 {
			t.Errorf("%+v, error %v", did, err)
		}
		if err := keys.Forget(); err != nil {
			t.Fatal(err)
		}
		c, _, err := s.Account(t.Context(), a.ID)
		if err != nil || c.TOTPSecret == a.TOTPSecret {
			t.Errorf("it is still sealed with the old key, error %v", err)
		}
		if secret, err := s.OpenFactor(a.ID, c.TOTPSecret); err != nil || secret.Reveal() != "canary" {
			t.Errorf("it became %q, error %v", secret.Reveal(), err)
		}
		s.UseKeys(nil, false)
		_, sealErr := s.SealFactor(a.ID, pbx.SecretFrom("x"))
		if _, openErr := s.OpenFactor(a.ID, c.TOTPSecret); sealErr == nil || openErr == nil {
			t.Error("it is sealed or opened without a key")
		}
	})
}

func TestAMissingKeyFileIsNotReportedAsAnUnavailableDatabase(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		source := keyring.Source{StateDir: t.TempDir()}
		keys, err := source.LoadOrMake()
		if err != nil {
			t.Fatal(err)
		}
		s.UseKeys(keys, false)
		path := filepath.Join(source.StateDir, keyring.FileName)
		for name, harm := range map[string]func() error{
			"gone":   func() error { return os.Rename(path, path+".kept") },
			"broken": func() error { return os.WriteFile(path, []byte("no key"), 0o600) },
		} {
			kept, err := os.ReadFile(path)
			if err == nil {
				err = harm()
			}
			if err != nil {
				t.Fatal(err)
			}
			_, factorErr := s.SealFactor("a0000000-0000-0000-0000-000000000001", pbx.NewSecret())
			for what, err := range map[string]error{
				"user": insert(t.Context(), s, newUser(1000, "a@example.com")), "run": storetest.SaveRun(t.Context(), s, sealedRun()), "factor": factorErr,
			} {
				e, ok := errors.AsType[*pbx.Error](err)
				if !ok || e.Kind != pbx.KindUnavailable || e.Code == pbx.CodeDatabaseAway || !strings.Contains(e.Msg, "key file") || !strings.Contains(e.Msg, "from its copy") {
					t.Errorf("%s with a key file that is %s: %v", what, name, err)
				}
				if ok && strings.Contains(e.Msg, path) {
					t.Errorf("%s: the caller is told where the key file is: %s", what, e.Msg)
				}
			}
			if err := os.WriteFile(path, kept, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := insert(t.Context(), s, newUser(1000, "a@example.com")); err != nil {
			t.Errorf("with the key file back in its place: %v", err)
		}
	})
}
