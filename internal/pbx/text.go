package pbx

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/unicode/norm"
)

// Text is compared, searched and displayed as it reads, not by its code points: a name can be written with composed or decomposed letters, with
// blanks of any width, and with direction marks added by a mail program.

// mostMarks is the maximum number of marks on one letter. Scripts need up to four; norm itself splits sequences of more than thirty.
const mostMarks = 16

// Normalize returns the stored form of text that a person typed: composed (NFC), without invisible characters, with one blank for blanks of any
// kind, and none at either end. Joiners and variation selectors stay if they change what is seen, as in Persian names, ideographs and emoji.
// Control characters and line breaks inside the text stay as well; the rules of each field state whether they are permitted.
// Normalize(Normalize(text)) is Normalize(text), and text that is not valid UTF-8 is only trimmed.
func Normalize(text string) string {
	text = strings.TrimSpace(text)
	if !utf8.ValidString(text) || isPlain(text) {
		return text
	}
	for range 8 { // removals can bring together what composes; at most two rounds were observed
		next := normalizeOnce(text)
		if next == text {
			break
		}
		text = next
	}
	return text
}

// isPlain reports whether a trimmed text is normalized already because it is ASCII with single blanks.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf || text[i] == ' ' && text[i-1] == ' ' {
			return false
		}
	}
	return true
}

func normalizeOnce(text string) string {
	kept := make([]rune, 0, len(text))
	marks, blank, before := 0, false, rune(0) // before: the last character, not counting accents on it
	runes := []rune(norm.NFD.String(text))
	for i, r := range runes {
		switch {
		case isBlank(r):
			blank, before = len(kept) > 0, 0
			continue
		case isInvisible(r) && !matters(r, before, visibleAfter(runes[i+1:])):
			continue
		case unicode.IsMark(r):
			if marks++; marks > mostMarks {
				continue
			}
		default:
			marks = 0
		}
		if blank {
			kept = append(kept, ' ')
		}
		blank = false
		kept = append(kept, r)
		if isInvisible(r) || !unicode.Is(unicode.Mn, r) || !unicode.Is(unicode.Inherited, r) {
			before = r
		}
	}
	return strings.TrimSpace(norm.NFC.String(string(kept)))
}

// isBlank reports whether a character is displayed as empty space within a line.
func isBlank(r rune) bool {
	return unicode.Is(unicode.Zs, r) || r == '\u2800' // BRAILLE PATTERN BLANK
}

// isInvisible reports whether a character is not displayed by itself (Default_Ignorable_Code_Point of Unicode): joiners, direction marks, soft
// hyphens, fillers, variation selectors, tags.
func isInvisible(r rune) bool {
	switch {
	case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return true
	case unicode.Is(unicode.Cf, r): // except signs that enclose digits, and the layout of hieroglyphs
		return !unicode.Is(unicode.Prepended_Concatenation_Mark, r) && (r < 0x13430 || r > 0x1345F)
	}
	return false
}

// isJoiner reports the two invisible characters that ordinary names of some scripts, and emoji, need.
func isJoiner(r rune) bool { return r == '\u200c' || r == '\u200d' }

// visibleAfter returns the first visible character.
func visibleAfter(runes []rune) rune {
	for _, r := range runes {
		if !isInvisible(r) {
			return r
		}
	}
	return 0
}

// matters reports whether an invisible character changes the display of the characters around it.
func matters(r, before, after rune) bool {
	pictured := unicode.In(before, unicode.S, unicode.Po, unicode.Nd)
	switch {
	case r == '\u200d' && (unicode.In(before, unicode.So, unicode.Sk) || before == '\ufe0f'):
		return unicode.Is(unicode.So, after) // parts of one emoji
	case isJoiner(r):
		letters := (unicode.IsLetter(before) || unicode.IsMark(before)) && (unicode.IsLetter(after) || unicode.IsMark(after))
		return letters && !unicode.In(before, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Han, unicode.Common, unicode.Inherited)
	case r == '\ufe0e' || r == '\ufe0f':
		return pictured || unicode.Is(unicode.Han, before)
	case unicode.Is(unicode.Variation_Selector, r):
		return unicode.In(before, unicode.Han, unicode.Mongolian)
	}
	return false
}

// Fold returns the form in which texts are searched: the same for texts that differ only in case, accents, widths and the kind of quotation mark or
// hyphen.
func Fold(text string) string {
	text = Normalize(text)
	if isPlain(text) {
		return strings.ToLower(text)
	}
	var b strings.Builder
	for _, r := range strings.ToLower(norm.NFKD.String(text)) {
		switch {
		case isInvisible(r), unicode.Is(unicode.Mn, r) && unicode.In(r, unicode.Inherited, unicode.Hebrew, unicode.Arabic) && r != '\u3099' && r != '\u309a':
		case unicode.Is(unicode.Pd, r), r == '\u2212':
			b.WriteByte('-')
		default:
			b.WriteString(plainLetter(r))
		}
	}
	return norm.NFKD.String(strings.Join(strings.Fields(b.String()), " "))
}

// plainLetter returns the ASCII replacement of a letter or sign that has no decomposition in Unicode.
func plainLetter(r rune) string {
	switch r {
	case '‘', '’', '‚', '‛', '′', 'ʼ', 'ʻ', '`', '´':
		return "'"
	case '“', '”', '„', '‟', '″', '«', '»':
		return `"`
	case '⁄', '∕':
		return "/"
	case 'ß':
		return "ss"
	case 'æ':
		return "ae"
	case 'œ':
		return "oe"
	case 'þ':
		return "th"
	case 'ø':
		return "o"
	case 'ł':
		return "l"
	case 'đ', 'ð':
		return "d"
	case 'ħ':
		return "h"
	case 'ı':
		return "i"
	case 'ς':
		return "σ"
	}
	return string(r)
}

// FoldEmail returns the form in which e-mail addresses are compared.
func FoldEmail(text string) string { return strings.ToLower(normalizeEmail(text)) }

// normalizeEmail returns the stored form of an address: normalized, with full-width letters and signs replaced by ASCII.
func normalizeEmail(text string) string { return Normalize(norm.NFKC.String(Normalize(text))) }

// Password returns a password in the form that is hashed, after RFC 8265 (OpaqueString): blanks of all kinds are U+0020, and letters are composed,
// so that it does not depend on the keyboard or program it was typed with. Blanks at its ends count. Invisible characters are removed, where that
// standard refuses the password.
func Password(text string) string {
	if !utf8.ValidString(text) {
		return text
	}
	return norm.NFC.String(strings.Map(func(r rune) rune {
		switch {
		case isInvisible(r):
			return -1
		case unicode.Is(unicode.Zs, r):
			return ' '
		}
		return r
	}, norm.NFC.String(text)))
}

// Code returns a one-time code in the form that is compared: its letters, in upper case, and its digits, as ASCII. People type displayed blanks and
// hyphens, and keyboards have full-width digits and those of other scripts.
func Code(text string) string {
	return norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsDigit(r):
			return '0' + digitValue(r)
		case unicode.IsLetter(r):
			return unicode.ToUpper(r)
		}
		return -1
	}, norm.NFKC.String(text)))
}

// digitValue returns the value of a decimal digit of any script; Unicode has them in tens.
func digitValue(r rune) rune {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) { //nolint:gosec // a code point
			return (r - rune(t.Lo)) % 10 //nolint:gosec // a code point
		}
	}
	return 0
}

// callerNameBytes is how much of a caller's name Asterisk keeps: it truncates after 79 bytes, even within a character. The rest is reserved for
// what it adds.
const callerNameBytes = 72

// CallerName returns a user's name as shown on phones: characters with a meaning in Asterisk, a dialplan or SIP become blanks, and it is truncated
// between two graphemes if it is too long for Asterisk. If it is empty, phones show the number alone.
func CallerName(name string) string {
	var b strings.Builder
	blank, state, rest := false, -1, Normalize(name)
	if len(rest) <= callerNameBytes && isPlain(rest) && !strings.ContainsFunc(rest, func(r rune) bool { return !isHarmless(r) }) {
		return rest // the usual case
	}
	for rest != "" {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if whole := cluster; strings.ContainsFunc(whole, func(r rune) bool { return !isHarmless(r) }) {
			cluster = strings.Map(func(r rune) rune {
				if !isHarmless(r) || isInvisible(r) { // what joined it to the rest
					return -1
				}
				return r
			}, whole)
		}
		if first, size := utf8.DecodeRuneInString(cluster); first == ' ' || size == 0 || isInvisible(first) {
			blank = b.Len() > 0
			continue
		} else if len(cluster) > callerNameBytes { // a stack of marks
			cluster = cluster[:size]
		}
		need := len(cluster)
		if blank {
			need++
		}
		if b.Len()+need > callerNameBytes {
			break
		}
		if blank {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteString(cluster)
	}
	return strings.TrimSpace(b.String()) // a sign that encloses digits makes one grapheme with a blank after it
}

// isHarmless reports whether a character of a name can be used in a caller id: it is printed or part of a printed one, and has no meaning to any
// parser on the way to a phone. Emoji (U+1F000 and up) are omitted, because desk phones cannot display them.
func isHarmless(r rune) bool {
	if strings.ContainsRune("\"\\;<>[]{}$=%|^`~", r) || r == utf8.RuneError || r >= 0x1f000 && r <= 0x1faff {
		return false
	}
	return unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) // kept by Normalize
}
