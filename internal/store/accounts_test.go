package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func hashOf(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func newAccount(email string) store.Credentials {
	return store.Credentials{
		Account:      pbx.Account{ID: pbx.AccountID(uuid.NewString()), Name: "Zoë ; --", Email: email, Role: pbx.Owner, CreatedAt: noon},
		PasswordHash: "$argon2id$…",
	}
}

func newSession(account pbx.AccountID, at time.Time) pbx.Session {
	return pbx.Session{
		ID: pbx.SessionID(uuid.NewString()), Account: account, CreatedAt: at, LastSeenAt: at, ExpiresAt: at.Add(time.Hour),
		From: "2001:db8::1", UserAgent: "Browser/1.0 (é)", Vouched: true,
	}
}

// change runs steps in one transaction that must succeed.
func change(t *testing.T, s *store.Store, steps func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := s.InTx(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
}

func TestAccountsAreReturnedAsStored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if has, err := s.HasAccounts(t.Context()); has || err != nil {
			t.Errorf("a new database has accounts: %v, error %v", has, err)
		}
		a, b := newAccount("Anna@Example.com"), newAccount("bert@example.com")
		b.Name, b.PasswordHash, b.Invited = "Bert", "", true
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccount(ctx, a), tx.InsertAccount(ctx, b))
		})
		check := func() {
			t.Helper()
			for name, read := range map[string]func() (store.Credentials, bool, error){
				"by id":      func() (store.Credentials, bool, error) { return s.Account(t.Context(), a.ID) },
				"by address": func() (store.Credentials, bool, error) { return s.AccountByEmail(t.Context(), "aNNA@example.COM") },
			} {
				got, ok, err := read()
				if diff := cmp.Diff(a, got); diff != "" || !ok || err != nil {
					t.Errorf("%s: ok %v, error %v\n%s", name, ok, err, diff)
				}
			}
			all, err := s.Accounts(t.Context())
			if diff := cmp.Diff([]pbx.Account{b.Account, a.Account}, all); diff != "" || err != nil {
				t.Errorf("error %v\n%s", err, diff)
			}
		}
		check()
		a.Name, a.Role, a.Disabled, a.PasswordHash, a.TOTPSecret, a.TOTP, a.TOTPStep, a.LastSignIn = "zoë", pbx.Auditor, true, "new", "sealed", true, 1<<40, noon.Add(time.Second)
		change(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateAccount(ctx, a) })
		check()
		if has, err := s.HasAccounts(t.Context()); !has || err != nil {
			t.Errorf("it has accounts: %v, error %v", has, err)
		}
		for name, read := range map[string]func() (store.Credentials, bool, error){
			"id": func() (store.Credentials, bool, error) {
				return s.Account(t.Context(), pbx.AccountID(uuid.NewString()))
			},
			"address": func() (store.Credentials, bool, error) { return s.AccountByEmail(t.Context(), "anna@example.com.") },
		} {
			if got, ok, err := read(); ok || err != nil || got != (store.Credentials{}) {
				t.Errorf("an %s nobody has: %+v, ok %v, error %v", name, got, ok, err)
			}
		}
	})
}

func TestTwoAccountsCannotShareAnAddressInAnySpelling(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertAccount(ctx, newAccount("anna@example.com"))
		})
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertAccount(ctx, newAccount("ANNA@example.com"))
		})
		if err == nil {
			t.Error("a second account has the same address")
		}
	})
}

func TestOnlyOwnersWhoCanSignInCountAsOtherOwners(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		me := newAccount("me@example.com")
		invited, disabled, admin := newAccount("1@example.com"), newAccount("2@example.com"), newAccount("3@example.com")
		invited.PasswordHash, disabled.Disabled, admin.Role = "", true, pbx.Admin
		for _, step := range []struct {
			add  store.Credentials
			want bool
		}{{me, false}, {invited, false}, {disabled, false}, {admin, false}, {newAccount("4@example.com"), true}} {
			change(t, s, func(ctx context.Context, tx *store.Tx) error {
				err := tx.InsertAccount(ctx, step.add)
				has, hasErr := tx.HasOtherOwner(ctx, me.ID)
				if has != step.want {
					t.Errorf("after %s: %v", step.add.Email, has)
				}
				return errors.Join(err, hasErr)
			})
		}
	})
}

func TestASessionIsFoundByItsHashTogetherWithItsAccount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a := newAccount("anna@example.com")
		old, session := newSession(a.ID, noon.Add(-time.Hour)), newSession(a.ID, noon)
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccount(ctx, a), tx.InsertSession(ctx, old, hashOf("old")), tx.InsertSession(ctx, session, hashOf("new")))
		})
		check := func() {
			t.Helper()
			got, account, ok, err := s.Session(t.Context(), hashOf("new"))
			if diff := cmp.Diff(session, got) + cmp.Diff(a.Account, account); diff != "" || !ok || err != nil {
				t.Errorf("ok %v, error %v\n%s", ok, err, diff)
			}
		}
		check()
		if _, _, ok, err := s.Session(t.Context(), hashOf("old")); ok || err != nil {
			t.Errorf("one that was over when the next began is still there: %v, error %v", ok, err)
		}
		if got, account, ok, err := s.Session(t.Context(), []byte("new")); ok || err != nil || got != (pbx.Session{}) || account != (pbx.Account{}) {
			t.Errorf("the token itself is taken for its hash: %+v, %+v, %v, error %v", got, account, ok, err)
		}
		session.LastSeenAt = noon.Add(time.Minute)
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.SeeSession(ctx, session.ID, session.LastSeenAt), tx.SeeSession(ctx, session.ID, noon))
		})
		check()
		other := newSession(a.ID, noon.Add(time.Minute))
		change(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.InsertSession(ctx, other, hashOf("other")) })
		all, err := s.Sessions(t.Context(), a.ID)
		if diff := cmp.Diff([]pbx.Session{other, session}, all); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
	})
}

func TestSessionsEndOneByOneOrAllAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a, b := newAccount("anna@example.com"), newAccount("bert@example.com")
		sessions := map[string]pbx.Session{}
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			err := errors.Join(tx.InsertAccount(ctx, a), tx.InsertAccount(ctx, b))
			for name, account := range map[string]pbx.AccountID{"a1": a.ID, "a2": a.ID, "a3": a.ID, "b1": b.ID} {
				sessions[name] = newSession(account, noon)
				err = errors.Join(err, tx.InsertSession(ctx, sessions[name], hashOf(name)))
			}
			return err
		})
		left := func() (n int) {
			for name := range sessions {
				if _, _, ok, err := s.Session(t.Context(), hashOf(name)); ok && err == nil {
					n++
				}
			}
			return n
		}
		for _, step := range []struct {
			what string
			do   func(context.Context, *store.Tx) error
			left int
		}{
			{"another's session", func(ctx context.Context, tx *store.Tx) error {
				had, err := tx.DeleteSession(ctx, a.ID, sessions["b1"].ID)
				if had {
					t.Error("it was taken for one's own")
				}
				return err
			}, 4},
			{"one by its hash", func(ctx context.Context, tx *store.Tx) error { return tx.DeleteSessionByHash(ctx, hashOf("a1")) }, 3},
			{"all but one", func(ctx context.Context, tx *store.Tx) error {
				return tx.DeleteOtherSessions(ctx, a.ID, sessions["a3"].ID)
			}, 2},
			{"one by its id", func(ctx context.Context, tx *store.Tx) error {
				had, err := tx.DeleteSession(ctx, b.ID, sessions["b1"].ID)
				if !had {
					t.Error("it was not there")
				}
				return err
			}, 1},
			{"all", func(ctx context.Context, tx *store.Tx) error { return tx.DeleteSessions(ctx, a.ID) }, 0},
		} {
			change(t, s, step.do)
			if n := left(); n != step.left {
				t.Errorf("%s: %d sessions left, want %d", step.what, n, step.left)
			}
		}
	})
}

func TestAnAccountHasOneLinkAtATime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a := newAccount("anna@example.com")
		setup := store.OneTimeCode{Purpose: pbx.LinkSetup, CreatedAt: noon, ExpiresAt: noon.Add(time.Minute)}
		reset := store.OneTimeCode{Purpose: pbx.LinkReset, Account: a.ID, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccount(ctx, a),
				tx.ReplaceOneTimeCode(ctx, setup, hashOf("setup 1")), tx.ReplaceOneTimeCode(ctx, setup, hashOf("setup 2")),
				tx.ReplaceOneTimeCode(ctx, reset, hashOf("reset 1")), tx.ReplaceOneTimeCode(ctx, reset, hashOf("reset 2")))
		})
		wants := map[string]store.OneTimeCode{"setup 2": setup, "reset 2": reset}
		check := func(code string) {
			t.Helper()
			want, there := wants[code]
			got, ok, err := s.OneTimeCode(t.Context(), hashOf(code))
			if diff := cmp.Diff(want, got); diff != "" || ok != there || err != nil {
				t.Errorf("%s: ok %v, error %v\n%s", code, ok, err, diff)
			}
		}
		for _, code := range []string{"setup 1", "setup 2", "reset 1", "reset 2"} {
			check(code)
		}
		change(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteOneTimeCodes(ctx, a.ID) })
		delete(wants, "reset 2")
		check("reset 2")
		check("setup 2")
		change(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteOneTimeCodes(ctx, "") })
		delete(wants, "setup 2")
		check("setup 2")
	})
}

func TestARecoveryCodeWorksOnceAndForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a, b := newAccount("anna@example.com"), newAccount("bert@example.com")
		use := func(id pbx.AccountID, code string, want bool) {
			t.Helper()
			change(t, s, func(ctx context.Context, tx *store.Tx) error {
				had, err := tx.UseRecoveryCode(ctx, id, hashOf(code))
				if had != want {
					t.Errorf("%s: %v", code, had)
				}
				return err
			})
		}
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccount(ctx, a), tx.InsertAccount(ctx, b), tx.ReplaceRecoveryCodes(ctx, a.ID, [][]byte{hashOf("1"), hashOf("2")}))
		})
		use(b.ID, "1", false)
		use(a.ID, "3", false)
		use(a.ID, "1", true)
		use(a.ID, "1", false)
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.ReplaceRecoveryCodes(ctx, a.ID, [][]byte{hashOf("3")})
		})
		use(a.ID, "2", false)
		use(a.ID, "3", true)
	})
}

func TestNothingOfADeletedAccountIsLeft(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a := newAccount("anna@example.com")
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccount(ctx, a), tx.InsertSession(ctx, newSession(a.ID, noon), hashOf("s")),
				tx.ReplaceRecoveryCodes(ctx, a.ID, [][]byte{hashOf("r")}),
				tx.ReplaceOneTimeCode(ctx, store.OneTimeCode{Purpose: pbx.LinkReset, Account: a.ID, CreatedAt: noon, ExpiresAt: noon}, hashOf("c")))
		})
		change(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteAccount(ctx, a.ID) })
		_, account, accountErr := s.Account(t.Context(), a.ID)
		_, _, session, sessionErr := s.Session(t.Context(), hashOf("s"))
		_, code, codeErr := s.OneTimeCode(t.Context(), hashOf("c"))
		if err := errors.Join(accountErr, sessionErr, codeErr); account || session || code || err != nil {
			t.Errorf("account %v, session %v, code %v, error %v", account, session, code, err)
		}
	})
}

func TestTokensAreReturnedAsStored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		maker := pbx.AccountID(uuid.NewString())
		plain := pbx.Token{ID: "aaaa", Name: "b", Role: pbx.Applier, CreatedAt: noon}
		full := pbx.Token{
			ID: "bbbb", Name: "A", Role: pbx.Admin, Scopes: []pbx.Permission{pbx.UsersRead, pbx.ApplyRun}, CreatedAt: noon, CreatedBy: maker,
			ExpiresAt: noon.Add(time.Hour),
		}
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertToken(ctx, plain, hashOf("1")), tx.InsertToken(ctx, full, hashOf("2")))
		})
		check := func() {
			t.Helper()
			for i, want := range []pbx.Token{plain, full} {
				got, hash, ok, err := s.Token(t.Context(), want.ID)
				if diff := cmp.Diff(want, got) + cmp.Diff(hashOf([]string{"1", "2"}[i]), hash); diff != "" || !ok || err != nil {
					t.Errorf("%s: ok %v, error %v\n%s", want.ID, ok, err, diff)
				}
			}
			all, _, err := s.Tokens(t.Context(), "", 500, true)
			if diff := cmp.Diff([]pbx.Token{full, plain}, all); diff != "" || err != nil {
				t.Errorf("error %v\n%s", err, diff)
			}
		}
		check()
		plain.LastUsedAt = noon.Add(time.Minute)
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.SeeToken(ctx, "aaaa", plain.LastUsedAt), tx.SeeToken(ctx, "aaaa", noon))
		})
		check()
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			made, err := tx.TokensOf(ctx, maker)
			if diff := cmp.Diff([]pbx.Token{full}, made); diff != "" {
				t.Error(diff)
			}
			return errors.Join(err, tx.RevokeToken(ctx, "bbbb", noon), tx.RevokeToken(ctx, "bbbb", noon.Add(time.Hour)))
		})
		full.RevokedAt = noon
		check()
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			made, err := tx.TokensOf(ctx, maker)
			if got, ok, tokenErr := tx.Token(ctx, "bbbb"); len(made) > 0 || !ok || tokenErr != nil || !cmp.Equal(got, full) {
				t.Errorf("of the maker %v; %+v, ok %v, error %v", made, got, ok, tokenErr)
			}
			return err
		})
		if _, _, ok, err := s.Token(t.Context(), "cccc"); ok || err != nil {
			t.Errorf("one that is not there: %v, error %v", ok, err)
		}
	})
}

// Ignoring an unknown scope, perhaps the only one, could give a token more permissions.
func TestATokenWithAnUnknownScopeIsNotRead(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		change(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertToken(ctx, pbx.Token{ID: "aaaa", Name: "a", Role: pbx.Owner, Scopes: []pbx.Permission{"moon:land"}, CreatedAt: noon}, hashOf("1"))
		})
		if got, _, ok, err := s.Token(t.Context(), "aaaa"); ok || err == nil {
			t.Errorf("%+v, ok %v, error %v", got, ok, err)
		}
	})
}
