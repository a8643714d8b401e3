package httpapi

import (
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// userSize is an estimate of the JSON size of a user, so that the buffer of a list seldom grows.
const userSize = 400

// appendUserList appends a UserList of the contract as the paths at the root have it: without whether users are enabled, which clients of these do not know.
func appendUserList(b []byte, p directory.Page) []byte { return appendUserListWith(b, p, false) }

// appendUserListWith appends a UserList of the contract, byte for byte as encoding/json encodes the generated type; with is whether its users have the field
// enabled.
func appendUserListWith(b []byte, p directory.Page, with bool) []byte {
	b = slices.Grow(b, len(p.Users)*userSize+64)
	b = append(b, '{')
	if p.Next != 0 {
		b = append(b, `"next_cursor":"`...)
		b = strconv.AppendInt(b, int64(p.Next), 10)
		b = append(b, `",`...)
	}
	b = append(b, `"users":[`...)
	for i, u := range p.Users {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendUserWith(b, u, with)
	}
	return append(b, "]}\n"...)
}

// appendUser appends a User of the contract as the paths at the root have it.
func appendUser(b []byte, u pbx.User) []byte { return appendUserWith(b, u, false) }

// appendUserWith appends a User of the contract; with is whether it has the field enabled. SIP secrets leave the program over HTTP only here.
func appendUserWith(b []byte, u pbx.User, with bool) []byte {
	b = append(b, `{"created_at":"`...)
	b = appendTime(b, u.CreatedAt)
	b = append(b, `","email":`...)
	b = appendString(b, u.Email)
	if with {
		b = append(b, `,"enabled":`...)
		b = strconv.AppendBool(b, !u.Disabled)
	}
	b = append(b, `,"extension":{"caller_name":`...)
	b = appendString(b, pbx.CallerName(u.Name))
	b = append(b, `,"created_at":"`...)
	b = appendTime(b, u.Extension.CreatedAt)
	b = append(b, `","id":`...)
	b = appendString(b, string(u.Extension.ID))
	b = append(b, `,"number":`...)
	b = strconv.AppendInt(b, int64(u.Extension.Number), 10)
	if secret := u.Extension.Secret.Reveal(); secret != "" { // see withoutSecrets
		b = append(b, `,"secret":`...)
		b = appendString(b, secret)
	}
	b = append(b, `},"id":`...)
	b = appendString(b, string(u.ID))
	b = append(b, `,"name":`...)
	b = appendString(b, u.Name)
	b = append(b, `,"tenant_id":`...)
	b = appendString(b, string(u.TenantID))
	return append(b, '}')
}

// appendTime appends a time as RFC 3339 in UTC.
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, time.RFC3339Nano)
}

// appendString appends a JSON string. Like encoding/json it escapes characters with a meaning in HTML or JavaScript, and replaces invalid UTF-8 by
// U+FFFD.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				b = append(append(b, s[start:i]...), `\ufffd`...)
				start = i + n
			case r == '\u2028' || r == '\u2029':
				b = append(append(b, s[start:i]...), `\u202`...)
				b = append(b, hex[r&0xf])
				start = i + n
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&0xf])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
