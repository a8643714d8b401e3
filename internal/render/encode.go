package render

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// maxValue is the longest value, in bytes, that goes into a file. Asterisk skips a line of 8191 bytes or more as a whole
// (main/config.c, MAX_LINE in process reading); ours stay far below.
const maxValue = 1024

// encode gives the text that stands behind "key=" so that Asterisk reads exactly this value. It is the only way for a value into
// a file. The error completes a sentence that begins with the name of the value.
func encode(value string) (string, error) {
	switch {
	case value == "":
		return "", errors.New("is empty")
	case len(value) > maxValue:
		return "", errors.New("is too long")
	case !utf8.ValidString(value):
		return "", errors.New("is not valid UTF-8")
	case strings.TrimSpace(value) != value:
		return "", errors.New("begins or ends with a blank, which Asterisk would drop")
	}
	for i := range len(value) {
		if value[i] < 0x20 || value[i] == 0x7f {
			return "", errors.New("contains a control character")
		}
	}
	// A backslash before a semicolon that Asterisk keeps, and nothing else: it takes no other escape, so a backslash that stands
	// before anything else is itself (measured with ";", ";;", ";--", "\;").
	text := strings.ReplaceAll(value, ";", `\;`)
	if value[0] == '>' { // "key=>x" reads as x; the blank is dropped
		text = " " + text
	}
	return text, nil
}

// callerID gives the value of the callerid option: what a phone shows of a call from this user.
func callerID(name, number string) string {
	if safe := pbx.CallerName(name); safe != "" {
		return `"` + safe + `" <` + number + `>`
	}
	return "<" + number + ">"
}
