package directory_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// phonesOf returns the phones of a user in short.
func phonesOf(u pbx.User) string {
	var all []string
	for _, d := range directory.DevicesOf(u) {
		all = append(all, strings.TrimSpace(pbx.DeviceName(u.Extension.Number, d.Suffix)+" "+d.Name))
	}
	return strings.Join(all, ", ")
}

func named(name string) func(*pbx.Device) error {
	return func(d *pbx.Device) error { d.Name = name; return nil }
}

func TestFurtherPhonesAreAddedRenamedAndRemovedWithTheirEvents(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := directory.New(s, time.Now).WithFingerprints(func(secret pbx.Secret) (string, error) { return "print of " + secret.Reveal(), nil })
		u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(1))
		if err != nil {
			t.Fatal(err)
		}
		is := func(what string, want string, action string, before, after pbx.Facts) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			stored, err := d.Get(t.Context(), pbx.DefaultTenant, u.ID)
			listed, listErr := d.List(t.Context(), pbx.DefaultTenant, directory.Query{})
			if err != nil || listErr != nil || !stored.Same(u) || !listed.Users[0].Same(u) || phonesOf(u) != want {
				t.Errorf("%s: phones %s, want %s; stored %s, listed %s; errors %v, %v", what, phonesOf(u), want, phonesOf(stored), phonesOf(listed.Users[0]), err, listErr)
			}
			e := noted(t, s)
			if diff := cmp.Diff([]pbx.Facts{before, after}, []pbx.Facts{e.Before, e.After}); diff != "" || e.Action != action || e.Object.ID != string(u.ID) {
				t.Errorf("%s: event %s of %s\n%s", what, e.Action, e.Object.ID, diff)
			}
		}
		printOf := func(d pbx.Device) string { return "print of " + d.Secret.Reveal() }
		var desk, mobile, other pbx.Device
		u, desk, err = d.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, u.Version, " Desk ")
		is("add", "1000, 1000-2 Desk", pbx.ActionDeviceCreate, nil, pbx.Facts{"phone_2": "Desk", "secret_2": printOf(desk)})
		u, mobile, err = d.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, u.Version, "Mobile")
		is("add another", "1000, 1000-2 Desk, 1000-3 Mobile", pbx.ActionDeviceCreate, nil, pbx.Facts{"phone_3": "Mobile", "secret_3": printOf(mobile)})
		u, _, err = d.ChangeDevice(t.Context(), pbx.DefaultTenant, u.ID, mobile.ID, u.Version, named("Car"))
		is("rename", "1000, 1000-2 Desk, 1000-3 Car", pbx.ActionDeviceChange, pbx.Facts{"phone_3": "Mobile"}, pbx.Facts{"phone_3": "Car"})
		u, other, err = d.NewDeviceSecret(t.Context(), pbx.DefaultTenant, u.ID, mobile.ID, u.Version)
		is("new secret", "1000, 1000-2 Desk, 1000-3 Car", pbx.ActionDeviceSecret, pbx.Facts{"secret_3": printOf(mobile)}, pbx.Facts{"secret_3": printOf(other)})
		first := pbx.Device{Secret: u.Extension.Secret}
		u, other, err = d.NewDeviceSecret(t.Context(), pbx.DefaultTenant, u.ID, pbx.DeviceID(u.Extension.ID), u.Version)
		is("new secret of the first", "1000, 1000-2 Desk, 1000-3 Car", pbx.ActionDeviceSecret, pbx.Facts{"secret": printOf(first)}, pbx.Facts{"secret": printOf(other)})
		u, err = d.RemoveDevice(t.Context(), pbx.DefaultTenant, u.ID, desk.ID, u.Version)
		is("remove", "1000, 1000-3 Car", pbx.ActionDeviceDelete, pbx.Facts{"phone_2": "Desk", "secret_2": printOf(desk)}, nil)
		u, desk, err = d.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, u.Version, "Desk")
		is("add in the gap", "1000, 1000-2 Desk, 1000-3 Car", pbx.ActionDeviceCreate, nil, pbx.Facts{"phone_2": "Desk", "secret_2": printOf(desk)})

		secret, err := d.RevealDevice(t.Context(), pbx.DefaultTenant, u.ID, desk.ID)
		if e := noted(t, s); err != nil || secret != desk.Secret || e.Action != pbx.ActionDeviceReveal || e.After["phone"] != "1000-2" || e.After["secret"] != printOf(desk) {
			t.Errorf("error %v, event %+v", err, e)
		}
	})
}

func TestWhatCannotBeDoneWithPhonesIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := directory.New(s, time.Now)
	u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range pbx.MaxDevices - 1 {
		if u, _, err = d.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, 0, fmt.Sprint("Phone ", i)); err != nil {
			t.Fatal(err)
		}
	}
	first, desk := pbx.DeviceID(u.Extension.ID), u.Devices[0].ID
	for code, do := range map[string]func() error{
		pbx.CodeTooManyDevices: func() error {
			_, _, err := d.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, 0, "One more")
			return err
		},
		pbx.CodeInvalid: func() error {
			_, _, err := d.ChangeDevice(t.Context(), pbx.DefaultTenant, u.ID, desk, 0, named(" "))
			return err
		},
		pbx.CodeChangedMeanwhile: func() error {
			_, err := d.RemoveDevice(t.Context(), pbx.DefaultTenant, u.ID, desk, 1)
			return err
		},
		pbx.CodeFirstDevice: func() error {
			_, err := d.RemoveDevice(t.Context(), pbx.DefaultTenant, u.ID, first, 0)
			return err
		},
		pbx.CodeDeviceNotFound: func() error {
			_, _, err := d.NewDeviceSecret(t.Context(), pbx.DefaultTenant, u.ID, "2", 0)
			return err
		},
		pbx.CodeUserNotFound: func() error {
			_, err := d.RevealDevice(t.Context(), pbx.DefaultTenant, "00000000-0000-4000-8000-000000000000", desk)
			return err
		},
	} {
		if err := do(); pbx.CodeOf(err) != code {
			t.Errorf("want %s, got %v", code, err)
		}
	}
	if now, err := d.Get(t.Context(), pbx.DefaultTenant, u.ID); err != nil || !now.Same(u) {
		t.Errorf("changed to %+v, error %v", now, err)
	}
}
