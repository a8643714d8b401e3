//go:build linux

package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// fewestRotation is the number of kill points that a search of rotate-key must have visited.
const fewestRotation = 40

// A rotation of the key is killed before its first, second, third … system call that changes something, until it completes
// undisturbed. After each kill everything can be decrypted with the key file in its present state.
func TestARotationOfTheKeyKilledBeforeAnySystemCallLosesNothingAtLength(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		k := newKeyed(t, url)
		start, points, violations := now(), map[string]int{}, 0
		seen, phase := map[string]bool{}, rand.IntN(sparse())
		for ended := false; !ended && violations < enough; {
			where := k.killAtNext(t, seen, phase, "rotate-key", "--forget")
			ended = where == ""
			for _, fault := range k.examine(t) {
				violations++
				t.Errorf("killed before %s: %s", where, fault)
			}
			if !ended {
				name, _, _ := strings.Cut(where, " ")
				points[name]++
			}
		}
		total := 0
		for _, n := range points {
			total += n
		}
		t.Logf("%d kill points, %d violations, %s: %s", total, violations, now().Sub(start).Round(time.Second/10), tally(points))
		if points["renameat"] != 2 || total < fewestRotation/sparse() {
			t.Errorf("only %d kill points, expected at least %d, with both times the key file is replaced", total, fewestRotation/sparse())
		}
	})
}

// killAtNext runs the portal and kills it at the first call that was not seen yet: the first rename, the second, and so on. The database
// grows with each run, so the number of a call does not identify it. phase shifts the points of a sparse search. It returns the point, "" if the portal ended.
func (k *keyed) killAtNext(t *testing.T, seen map[string]bool, phase int, args ...string) (where string) {
	t.Helper()
	random := regexp.MustCompile(`\.new-[0-9a-f]+$`)
	calls := map[string]int{}
	code, out, refused := k.trace(t, args, func(_ int, c call) bool {
		name := random.ReplaceAllString(c.String(), "")
		calls[name]++
		point := fmt.Sprintf("%s (%d)", name, calls[name])
		if seen[point] {
			return true
		}
		seen[point] = true
		if (len(seen)+phase)%sparse() == 0 || strings.HasPrefix(point, "rename") {
			where = point
		}
		return where == ""
	})
	switch {
	case refused:
		t.Fatal("processes may not be traced here, and this search knows no other way")
	case where == "" && code != 0:
		t.Errorf("undisturbed it ended with exit code %d:\n%s", code, out)
	}
	return where
}

// keyed is a portal without an Asterisk, whose database holds a sealed value of each kind.
type keyed struct {
	*site
	secrets map[pbx.UserID]string
	account pbx.AccountID
	factor  string
	stored  pbx.Run
	ids     map[string]bool // of all keys ever used
}

func newKeyed(t *testing.T, url string) *keyed {
	t.Helper()
	dir := t.TempDir()
	k := &keyed{
		site: &site{
			asterisk: &lab.Asterisk{ConfigDir: dir, ControlSocket: filepath.Join(dir, "none.ctl")},
			env: map[string]string{
				"DATABASE_URL": url, "STATE_DIR": t.TempDir(), "ASTERISK_CONFIG_DIR": dir, "ASTERISK_CONTROL": filepath.Join(dir, "none.ctl"),
			},
		},
		secrets: map[pbx.UserID]string{}, account: pbx.AccountID(uuid.NewString()), factor: "JBSWY3DPEHPK3PXP", ids: map[string]bool{},
	}
	k.must(t, "migrate") // creates the key
	db, keys := k.look(t)
	defer db.Close()
	d := directory.New(db, now)
	for i := range 3 {
		u, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: fmt.Sprint("User ", i), Email: fmt.Sprintf("u%d@example.com", i)})
		if err != nil {
			t.Fatal(err)
		}
		k.secrets[u.ID] = u.Extension.Secret.Reveal()
	}
	sealed, err := db.SealFactor(k.account, pbx.SecretFrom(k.factor))
	if err != nil {
		t.Fatal(err)
	}
	err = db.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.InsertAccount(ctx, store.Credentials{TOTPSecret: sealed, Account: pbx.Account{
			ID: k.account, Name: "Olga", Email: "olga@example.com", Role: pbx.Owner, TOTP: true, CreatedAt: now().UTC(),
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	k.stored = pbx.Run{
		Log:      pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: now().UTC(), TriggeredBy: "test", Outcome: pbx.Success},
		Revision: 1, Result: pbx.Applied, Verification: pbx.Confirmed,
		Files: []pbx.File{{Path: pbx.PJSIPPath, Content: []byte("password=one")}, {Path: pbx.DialplanPath, Content: []byte("exten")}},
		Saved: []pbx.File{{Path: pbx.PJSIPPath, Content: []byte("password=two")}},
	}
	if err := storetest.SaveRun(t.Context(), db, k.stored); err != nil {
		t.Fatal(err)
	}
	k.ids[keys.Current()] = true
	return k
}

// look opens the database with the keys in the key file.
func (k *keyed) look(t *testing.T) (*store.Store, *keyring.Ring) {
	t.Helper()
	keys, err := keyring.Source{StateDir: k.env["STATE_DIR"]}.Load()
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(k.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	db.UseKeys(keys, false)
	return db, keys
}

// examine checks the state after a killed rotation, continues as an administrator would, and checks again.
func (k *keyed) examine(t *testing.T) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	// (a) The portal starts, and everything can be decrypted.
	var code int
	var errs string
	within(t.Context(), 10*time.Second, func() bool { // PostgreSQL notices the death of a client when its statement has ended
		code, _, errs = k.run(t, "user", "list")
		return code != 5
	})
	if code != 0 {
		fault("it does not start: exit code %d, %s", code, errs)
	}
	faults = append(faults, k.opens(t)...)

	// (b) Another rotation completes, and older keys decrypt nothing.
	within(t.Context(), 10*time.Second, func() bool {
		code, _, errs = k.run(t, "rotate-key", "--forget")
		return code != 4
	})
	if code != 0 {
		fault("the next rotation: exit code %d, %s", code, errs)
	}
	faults = append(faults, k.opens(t)...)
	db, keys := k.look(t)
	defer db.Close()
	if at, err := db.AtRest(t.Context()); err != nil || len(at.Sealed) != 1 || at.Sealed[keys.Current()] != 6 || at.Key != keys.Current() || at.Open != 0 {
		fault("key %s; at rest: %+v, %v", keys.Current(), at, err)
	}
	text, err := os.ReadFile(filepath.Join(k.env["STATE_DIR"], keyring.FileName))
	if err != nil || strings.Count(string(text), "\n") != 1 {
		fault("the key file has %d keys, %v", strings.Count(string(text), "\n"), err)
	}
	left, err := filepath.Glob(filepath.Join(k.env["STATE_DIR"], "secret.key?*"))
	if err != nil || len(left) > 0 {
		fault("left over: %v, %v", left, err)
	}
	k.ids[keys.Current()] = true
	if strings.HasPrefix(k.env["DATABASE_URL"], "sqlite") {
		all := storetest.Everything(t, k.env["DATABASE_URL"])
		for id := range k.ids {
			if id != keys.Current() && strings.Contains(all, keyring.Mark+id) {
				fault("the files of the database still contain a value sealed with key %s", id)
			}
		}
	}

	// (c) The audit trail has every key.
	return append(faults, k.audited(t, keys.Current())...)
}

// opens compares the decrypted values in the database with the original ones.
func (k *keyed) opens(t *testing.T) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	db, _ := k.look(t)
	defer db.Close()
	users, err := db.Users(t.Context(), pbx.DefaultTenant)
	if err != nil || len(users) != len(k.secrets) {
		fault("%d users, %v", len(users), err)
	}
	for _, u := range users {
		if u.Extension.Secret.Reveal() != k.secrets[u.ID] {
			fault("the secret of %s is another", u.Name)
		}
	}
	c, ok, err := db.Account(t.Context(), k.account)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if factor, err := db.OpenFactor(k.account, c.TOTPSecret); err != nil || factor.Reveal() != k.factor {
		fault("the second factor is another, %v", err)
	}
	run, ok, err := db.Run(t.Context(), k.stored.Log.ID)
	if err != nil || !ok || len(run.Files) != 2 || len(run.Saved) != 1 ||
		string(run.Files[0].Content) != "password=one" || string(run.Saved[0].Content) != "password=two" {
		fault("the revision is another: %v, %v", run, err)
	}
	return faults
}

// audited checks that the audit trail has each key that was ever used, in one sequence that ends with the present one.
func (k *keyed) audited(t *testing.T, current string) (faults []string) {
	t.Helper()
	if code, out, errs := k.run(t, "audit", "verify"); code != 0 {
		faults = append(faults, fmt.Sprintf("audit verify: %d, %s%s", code, out, errs))
	}
	last := ""
	for line := range strings.Lines(k.must(t, "audit", "export")) {
		var entry struct {
			Event struct {
				Action        string
				Before, After map[string]string
			}
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		switch e := entry.Event; e.Action {
		case "key.use", "key.rotate":
			if e.Before["key"] != last {
				faults = append(faults, fmt.Sprintf("the trail goes from key %s to %s, and leaves %s out", last, e.After["key"], e.Before["key"]))
			}
			last = e.After["key"]
		}
	}
	if last != current {
		faults = append(faults, fmt.Sprintf("the trail ends with key %s, and the present one is %s", last, current))
	}
	return faults
}
