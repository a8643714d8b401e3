package pbx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DeviceID identifies a further phone of a user: a UUID in its canonical lower-case text form.
type DeviceID string

// Device is a further phone of a user, with a secret of its own. The first phone is that of the extension, and is no Device.
type Device struct {
	ID        DeviceID
	Suffix    int // from 2 to MaxDevices: it registers as 1000-2
	Name      string
	Secret    Secret
	CreatedAt time.Time // UTC, microseconds
}

// The suffixes of the phones of a user: the first has none in its name.
const (
	FirstDevice = 1
	MaxDevices  = 5
)

// DeviceName returns the name that a phone registers with: the number, and for further phones the suffix: 1000, 1000-2.
func DeviceName(n Number, suffix int) string {
	if suffix <= FirstDevice {
		return strconv.Itoa(int(n))
	}
	return strconv.Itoa(int(n)) + "-" + strconv.Itoa(suffix)
}

// ParseDeviceName parses what DeviceName returns; ok is false for any other text.
func ParseDeviceName(text string) (n Number, suffix int, ok bool) {
	number, rest, further := strings.Cut(text, "-")
	suffix = FirstDevice
	if further {
		if len(rest) != 1 || rest[0] <= '0'+FirstDevice || rest[0] > '0'+MaxDevices {
			return 0, 0, false
		}
		suffix = int(rest[0] - '0')
	}
	n, ok = ParseNumber(number)
	return n, suffix, ok
}

// Device returns a further phone by its id; ok is false if the user has none with it.
func (u User) Device(id DeviceID) (d Device, ok bool) {
	i := slices.IndexFunc(u.Devices, func(d Device) bool { return d.ID == id })
	if i < 0 {
		return Device{}, false
	}
	return u.Devices[i], true
}

// WithDevice returns the user with a further phone, which gets the lowest free suffix, or replaces the one with the same id. The error is one of
// KindInvalid for the name, or of KindConflict if the user has MaxDevices phones.
func (u User) WithDevice(d Device) (User, error) {
	d.Name = Normalize(d.Name)
	if err := Invalid(faults(textFault("name", d.Name, "say which phone it is, such as Desk or Mobile"))...); err != nil {
		return u, err
	}
	u.Devices = slices.Clone(u.Devices)
	if i := slices.IndexFunc(u.Devices, func(other Device) bool { return other.ID == d.ID }); i >= 0 {
		u.Devices[i] = d
		return u, nil
	}
	i := 0
	for d.Suffix = FirstDevice + 1; i < len(u.Devices) && u.Devices[i].Suffix == d.Suffix; i++ {
		d.Suffix++
	}
	if d.Suffix > MaxDevices {
		return u, &Error{
			Kind: KindConflict, Code: CodeTooManyDevices,
			Msg: fmt.Sprintf("%s has %d phones, which is the maximum: remove one that is no longer needed, and add this one again", u.Name, MaxDevices),
		}
	}
	u.Devices = slices.Insert(u.Devices, i, d)
	return u, nil
}

// WithoutDevice returns the user without a further phone.
func (u User) WithoutDevice(id DeviceID) User {
	u.Devices = slices.DeleteFunc(slices.Clone(u.Devices), func(d Device) bool { return d.ID == id })
	return u
}

// Same reports whether two users are the same in every field.
func (u User) Same(other User) bool {
	return u.ID == other.ID && u.TenantID == other.TenantID && u.Name == other.Name && u.Email == other.Email && u.Extension == other.Extension &&
		u.Disabled == other.Disabled && u.Calls == other.Calls && slices.Equal(u.Devices, other.Devices) && u.Version == other.Version && u.CreatedAt.Equal(other.CreatedAt) &&
		u.UpdatedAt.Equal(other.UpdatedAt)
}
