package live

import (
	"net"
	"strings"
	"unicode"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Maximum lengths of texts, in characters.
const (
	longestName  = 80
	longestAgent = 120
	longestPlace = 80
)

// mostMarks is how many marks may be combined with one letter: scripts need two, abuse has fifty.
const mostMarks = 3

// clean makes an untrusted text safe to show: printable characters only, in one line, of at most that many characters.
func clean(text string, most int) string {
	var b strings.Builder
	length, marks, blank := 0, 0, false
	for _, r := range text {
		switch {
		case unicode.IsMark(r), r == '\u200c', r == '\u200d': // the two joiners belong to ordinary names of some scripts, and to emoji
			if marks++; marks > mostMarks || length == 0 || blank {
				continue
			}
		case unicode.IsSpace(r) || !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			blank = length > 0 // also for unprintable characters, so that two words do not become one
			continue
		default:
			marks = 0
		}
		needed := 1
		if blank {
			needed = 2
		}
		if length+needed > most {
			b.WriteRune('…')
			break
		}
		if blank {
			b.WriteByte(' ')
		}
		length, blank = length+needed, false
		b.WriteRune(r)
	}
	return b.String()
}

// extensions are the users' numbers outside the pool; nil means all numbers. A number of the pool is always an extension: the phone of a deleted user
// works until the next apply.
type extensions map[pbx.Number]bool

// parse returns the extension that a text names; ok is false if it names none.
func (x extensions) parse(text string) (n pbx.Number, ok bool) {
	n, ok = pbx.ParseNumber(text)
	return n, ok && (x == nil || n.InPool() || x[n])
}

// hasPhone reports whether one of these extensions has the phone that registers with this name.
func (x extensions) hasPhone(aor string) bool {
	n, _, ok := pbx.ParseDeviceName(aor)
	return ok && (x == nil || n.InPool() || x[n])
}

// ofChannel returns the extension in the name of a channel, PJSIP/1000-00000001, or PJSIP/1000-2-00000001 of a further phone. Asterisk makes the name from the authenticated endpoint; a caller
// id is not authenticated.
func (x extensions) ofChannel(channel string) (pbx.Number, bool) {
	rest, ok := strings.CutPrefix(channel, "PJSIP/")
	number, suffix, dash := strings.Cut(rest, "-")
	if !ok || !dash || suffix == "" {
		return 0, false
	}
	return x.parse(number)
}

// place returns the host:port of a SIP address.
func place(uri string) string {
	_, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return clean(uri, longestPlace)
	}
	rest, _, _ = strings.Cut(rest, ";")
	rest, _, _ = strings.Cut(rest, "?")
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	if _, _, err := net.SplitHostPort(rest); err != nil {
		rest = strings.Trim(rest, "[]")
		rest = net.JoinHostPort(rest, "5060") // the default port of SIP
	}
	return clean(rest, longestPlace)
}

// known returns a text, "" for Asterisk's word for none.
func known(text string) string {
	if text == "<unknown>" {
		return ""
	}
	return text
}
