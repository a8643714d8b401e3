package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func newDevice(name string) pbx.Device {
	return pbx.Device{ID: pbx.DeviceID(uuid.NewString()), Name: name, Secret: pbx.NewSecret(), CreatedAt: noon}
}

// update stores a change of a user.
func update(ctx context.Context, s *store.Store, was, now pbx.User) error {
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.UpdateUser(ctx, was, now, noon, event(ctx, pbx.ActionUserChange))
		return err
	})
}

// withPhones returns a user, as stored, with further phones.
func withPhones(t *testing.T, s *store.Store, names ...string) pbx.User {
	t.Helper()
	u := someUsers(1)[0]
	if err := insert(t.Context(), s, u); err != nil {
		t.Fatal(err)
	}
	was := stored(t, s)
	now := was
	for _, name := range names {
		var err error
		if now, err = now.WithDevice(newDevice(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := update(t.Context(), s, was, now); err != nil {
		t.Fatal(err)
	}
	return stored(t, s)
}

// stored returns the only user.
func stored(t *testing.T, s *store.Store) pbx.User {
	t.Helper()
	users, err := s.Users(t.Context(), pbx.DefaultTenant)
	if err != nil || len(users) != 1 {
		t.Fatalf("%d users, error %v", len(users), err)
	}
	return users[0]
}

func TestSecretsOfFurtherPhonesAreSealedAndFollowTheKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		u := withPhones(t, s, "Desk", "Möbile|1")
		raw := func() string { return ask(t, url, `SELECT string_agg(secret, ' ') FROM devices`) }
		isSealed := func() bool {
			return !strings.Contains(raw(), u.Devices[0].Secret.Reveal()) && !strings.Contains(raw(), u.Devices[1].Secret.Reveal())
		}
		if !isSealed() || u.Version != 2 {
			t.Errorf("version %d, stored as %s", u.Version, raw())
		}
		for _, open := range []bool{true, false} {
			s.UseKeys(storetest.Keys(t), open)
			if did, err := s.Reseal(t.Context()); err != nil || did.Rows != 3 || isSealed() == open {
				t.Errorf("%d rows, error %v, stored as %s", did.Rows, err, raw())
			}
			if n, err := s.Uncovered(t.Context()); n != 0 || err != nil {
				t.Errorf("%d uncovered, error %v", n, err)
			}
			listed(t, storetest.Open(t, url), []pbx.User{u})
		}
	})
}

func TestADamagedOrMissingRowOfAPhoneIsNoticed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		u := withPhones(t, s, "Desk", "Mobile")
		off, on := `DROP TRIGGER devices_changed; `, `CREATE TRIGGER devices_changed AFTER UPDATE ON devices BEGIN SELECT 1; END`
		if !strings.HasPrefix(url, "sqlite") {
			off, on = `ALTER TABLE devices DISABLE TRIGGER devices_changed; `, `ALTER TABLE devices ENABLE ALWAYS TRIGGER devices_changed`
		}
		first := "'" + string(u.Devices[0].ID) + "'"
		for _, damage := range []string{
			`UPDATE devices SET name = 'desk' WHERE id = ` + first, `UPDATE devices SET suffix = 4 WHERE id = ` + first,
			`UPDATE devices SET secret = 'x' WHERE id = ` + first, `UPDATE devices SET name = 'Desk` + "\x1f" + `' WHERE id = ` + first,
		} {
			execute(t, url, off+damage)
			fresh := storetest.Open(t, url)
			if _, err := fresh.Users(t.Context(), pbx.DefaultTenant); pbx.CodeOf(err) != pbx.CodeDatabaseDamaged {
				t.Errorf("%s: error %v", damage, err)
			}
			if _, err := fresh.CheckedUsers(t.Context(), pbx.DefaultTenant); pbx.CodeOf(err) != pbx.CodeDatabaseDamaged {
				t.Errorf("%s: error %v", damage, err)
			}
			execute(t, url, on)
		}
	})
}

func TestThePhonesOfADeletedUserAreGone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		u := withPhones(t, s, "Desk")
		if err := storetest.Try(t, url, `DELETE FROM users WHERE id = '`+string(u.ID)+`'`); err != nil { // SQLite does not mind foreign keys here
			t.Fatal(err)
		}
		if n := ask(t, url, `SELECT count(*) FROM devices`); n != "0" {
			t.Errorf("%s phones are left", n)
		}
	})
}
