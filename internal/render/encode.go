package render

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// maxValue is the maximum length of a value in a file, in bytes. Asterisk skips lines of 8191 bytes or more (maxLine); the portal's lines are much shorter.
const maxValue = 1024

// encode returns the text after "key=" that Asterisk reads as exactly this value. All values are written through it. The error completes a sentence that
// begins with the name of the value.
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
	// A semicolon is escaped with a backslash. Asterisk knows no other escape: a backslash before any other character is literal (measured with ";", ";;",
	// ";--", "\;").
	text := strings.ReplaceAll(value, ";", `\;`)
	if value[0] == '>' { // "key=>x" is read as x; the blank is dropped
		text = " " + text
	}
	return text, nil
}

// callerID returns the value of the callerid option, which phones show for a call from this user.
func callerID(name, number string) string {
	if safe := pbx.CallerName(name); safe != "" {
		return `"` + safe + `" <` + number + `>`
	}
	return "<" + number + ">"
}
