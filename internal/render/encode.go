package render

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
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

// callerNameBytes is how much of a caller's name Asterisk keeps: it cuts behind 79 bytes, also amid a character. The rest is reserve
// for what it puts around.
const callerNameBytes = 72

// callerID gives the value of the callerid option: what a phone shows of a call from this user.
func callerID(name, number string) string {
	if safe := callerName(name); safe != "" {
		return `"` + safe + `" <` + number + `>`
	}
	return "<" + number + ">"
}

// callerName gives the part of a name that is safe wherever Asterisk, a dialplan or a phone puts it: letters, marks, digits and a
// few signs that mean nothing to any of them. Everything else becomes a blank, and blanks are joined.
func callerName(name string) string {
	var b strings.Builder
	blank := false
	for _, r := range name {
		if !(unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(`.-_',()/@+:!?&#*`, r)) || r == utf8.RuneError {
			blank = true
			continue
		}
		need := utf8.RuneLen(r)
		if blank && b.Len() > 0 {
			need++
		}
		if b.Len()+need > callerNameBytes {
			break
		}
		if blank && b.Len() > 0 {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteRune(r)
	}
	return b.String()
}
