package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// hashBytes is the length of the hash that names the content of an object.
const hashBytes = 6

// seal appends the hash of all settings of an object as its last setting.
func seal(settings []setting) []setting {
	text := make([]byte, 0, 1024) // more than the settings of a usual object take
	last := len(settings) - 1
	for _, s := range settings[:last] {
		text = append(append(append(append(text, s.key...), '='), s.value...), '\n')
	}
	sum := sha256.Sum256(text)
	settings[last].value = hex.EncodeToString(sum[:hashBytes])
	return settings
}

// endpoint returns the settings for what the phone of a user may do, and how Asterisk talks to it.
func (s Options) endpoint(u pbx.User) []setting {
	id := strconv.Itoa(int(u.Extension.Number))
	return seal([]setting{
		{"type", "endpoint"},
		{"context", pbx.Context},
		{"disallow", "all"},
		{"allow", "ulaw,alaw"},
		{"auth", id},
		{"aors", id},
		{"callerid", callerID(u.Name, id)},
		// A request is matched to this endpoint by its authentication user, never by its source address.
		{"identify_by", "auth_username,username"},
		// A dialled prefix of a number is an unknown number (404). Asterisk's default answers 484, and a phone then waits for more digits.
		{"allow_overlap", "no"},
		// Phones behind NAT: media stays with Asterisk, and is sent to where the phone's packets came from.
		{"direct_media", "no"},
		{"rtp_symmetric", "yes"},
		{"force_rport", "yes"},
		{"rewrite_contact", "yes"},
		// A call whose phone died ends; Asterisk's default is to keep it until it is hung up by hand.
		{"rtp_timeout", seconds(s.RTPTimeout, pbx.DefaultRTPTimeout)},
		{"rtp_timeout_hold", seconds(s.RTPTimeoutHold, pbx.DefaultRTPTimeoutHold)},
		{pbx.HashAttribute, ""},
	})
}

// auth returns the settings with which the phone authenticates: its secret.
func auth(u pbx.User) []setting {
	id := strconv.Itoa(int(u.Extension.Number))
	return seal([]setting{
		{"type", "auth"},
		{"auth_type", "userpass"},
		{"username", id},
		{"password", u.Extension.Secret.Reveal()},
		{pbx.HashAttribute, ""},
	})
}

// aor returns the settings for where the phone can be reached; the same for every user.
func aor() []setting {
	return seal([]setting{
		{"type", "aor"},
		{"max_contacts", "1"},
		// The newest registration replaces the one before. Without it a phone that returns on another port is rejected with 403, and so is the new owner
		// of a number while the former owner's phone is registered.
		{"remove_existing", "yes"},
		{"qualify_frequency", "60"},
		// A phone that requests no expiry renews every five minutes, not every hour as is Asterisk's default; none gets longer than an hour.
		{"default_expiration", "300"},
		{"maximum_expiration", "3600"},
		{pbx.HashAttribute, ""},
	})
}

// appendObjects appends the objects of an extension, in order, in the syntax of Asterisk's configuration files, and reads them back.
func appendObjects(file []byte, n pbx.Number, x extension) ([]byte, error) {
	from := len(file)
	for _, settings := range [][]setting{x.endpoint, x.auth, x.aor} {
		file = append(strconv.AppendInt(append(file, "\n["...), int64(n), 10), "]\n"...)
		for _, s := range settings {
			text, err := encode(s.value)
			if err != nil {
				return nil, refused(fmt.Sprintf("the %s of extension %d cannot be written for Asterisk: it %v. "+
					"Delete the user and create it again", s.key, n, err))
			}
			file = append(append(append(append(file, s.key...), '='), text...), '\n')
		}
	}
	return file, readBack(file[from:], n, x)
}
