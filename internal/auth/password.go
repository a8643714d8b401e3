package auth

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Length of a password, in characters.
const (
	MinPassword = 12
	MaxPassword = 128
)

// Words that make a password easy to guess. common.txt is this project's own list of common and product-related words. The source of english.txt is
// named in words/COPYING.
var (
	//go:embed words/common.txt
	commonText string
	//go:embed words/english.txt
	englishText string
)

// words returns the weight of each known word. The lists are parsed when the first password is chosen.
//
//nolint:gochecknoglobals // a table that is made once and never changed
var words = sync.OnceValue(func() map[string]int {
	table := map[string]int{}
	for list, weight := range map[string]int{commonText: wordWeight, englishText: englishWeight} {
		for word := range strings.FieldsSeq(list) {
			if w, known := table[word]; !known || weight < w {
				table[word] = weight
			}
		}
	}
	return table
})

// Weights of the parts of a password, roughly half the bits needed to guess them, and the minimum for a whole password. The weight of a password is
// the smallest over all its decompositions.
const (
	runWeight     = 1 // 1234, aaaa, qwert
	digitWeight   = 2 // also a sign
	yearWeight    = 2
	wordWeight    = 4
	letterWeight  = 4
	englishWeight = 6
	enoughWeight  = 16

	fewestDifferent = 5
	longestWord     = 20
)

// cleanPassword returns an Error of KindInvalid if this user may not use the password. There are no rules on character classes: they make passwords
// harder to remember, not harder to guess.
func cleanPassword(field string, password pbx.Secret, name, email string) error {
	if fault := passwordFault(pbx.Password(password.Reveal()), name, email); fault.Code != "" {
		fault.Field = field
		return pbx.Invalid(fault)
	}
	return nil
}

// passwordFault describes what is wrong with a password; its code is empty if nothing is.
func passwordFault(text, name, email string) pbx.FieldError {
	n := utf8.RuneCountInString(text)
	switch {
	case !utf8.ValidString(text):
		return pbx.FieldError{Code: pbx.FieldEncoding, Message: "must be valid UTF-8"}
	case n < MinPassword:
		return pbx.FieldError{
			Code: pbx.FieldTooShort, Least: MinPassword,
			Message: fmt.Sprintf("must have at least %d characters, has %d: a few unrelated words are easy to remember", MinPassword, n),
		}
	case n > MaxPassword:
		return pbx.FieldError{Code: pbx.FieldTooLong, Most: MaxPassword, Message: fmt.Sprintf("must have at most %d characters, has %d", MaxPassword, n)}
	case different(text) < fewestDifferent:
		return pbx.FieldError{Code: pbx.FieldMonotonous, Message: "has too few different characters: choose another"}
	case weigh(text, ownWords(name, email)) < enoughWeight:
		return pbx.FieldError{
			Code: pbx.FieldGuessable,
			Message: "is too easy to guess: it consists of common words, your name or address, or adjacent keys; " +
				"use four unrelated words, or a password manager",
		}
	}
	return pbx.FieldError{}
}

// different counts the distinct characters of a text.
func different(text string) int {
	seen := map[rune]bool{}
	for _, r := range strings.ToLower(text) {
		seen[r] = true
	}
	return len(seen)
}

// ownWords returns the words that someone acquainted with the user would try first.
func ownWords(name, email string) map[string]bool {
	own := map[string]bool{}
	letters := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for _, text := range []string{name, email} {
		text = strings.ToLower(text)
		own[strings.Join(strings.FieldsFunc(text, letters), "")] = true
		for _, word := range strings.FieldsFunc(text, letters) {
			own[word] = true
		}
	}
	for word := range own {
		if utf8.RuneCountInString(word) < 3 {
			delete(own, word)
		}
	}
	return own
}

// weigh returns the weight of a password: that of its lightest decomposition into words, runs and single characters. The user's own words weigh
// nothing.
func weigh(text string, own map[string]bool) int {
	plain := []rune(strings.ToLower(text))
	read := []rune(strings.Map(unleet, string(plain))) // as meant by users who write p4ssw0rd
	best := make([]int, len(plain)+1)
	for end := 1; end <= len(plain); end++ {
		best[end] = best[end-1] + letterWeight
		if r := plain[end-1]; !unicode.IsLetter(r) && r < utf8.RuneSelf {
			best[end] = best[end-1] + digitWeight
		}
		for start := max(0, end-longestWord); start < end-2; start++ {
			if weight, known := partWeight(string(plain[start:end]), string(read[start:end]), own); known {
				best[end] = min(best[end], best[start]+weight)
			}
		}
		for start := end - 3; start >= 0 && isRun(plain[start:end]); start-- {
			best[end] = min(best[end], best[start]+runWeight)
		}
		for n := 3; 2*n <= end; n++ { // repetitions
			if slices.Equal(plain[end-2*n:end-n], plain[end-n:end]) {
				best[end] = min(best[end], best[end-n]+runWeight)
			}
		}
	}
	return best[len(plain)]
}

// partWeight returns the weight of a part of a password, as typed or with substitutions undone, if it is a known word.
func partWeight(plain, read string, own map[string]bool) (weight int, known bool) {
	if own[plain] || own[read] {
		return 0, true
	}
	if len(plain) == 4 && (plain[:2] == "19" || plain[:2] == "20") && strings.Trim(plain, "0123456789") == "" {
		return yearWeight, true
	}
	for _, text := range []string{plain, read} {
		if w, ok := words()[text]; ok && (!known || w < weight) {
			weight, known = w, true
		}
	}
	return weight, known
}

// unleet returns the letter that a digit or sign substitutes.
func unleet(r rune) rune {
	switch r {
	case '0':
		return 'o'
	case '1', '!', '|':
		return 'i'
	case '3':
		return 'e'
	case '4', '@':
		return 'a'
	case '5', '$':
		return 's'
	case '7', '+':
		return 't'
	case '8':
		return 'b'
	}
	return r
}

// keyRows are keyboard rows and other common sequences.
const keyRows = "abcdefghijklmnopqrstuvwxyz 01234567890 qwertyuiop qwertzuiop azertyuiop asdfghjkl qsdfghjklm zxcvbnm yxcvbnm wxcvbn !@#$%^&*() 1qaz2wsx3edc4rfv5tgb6yhn7ujm 1q2w3e4r5t6y7u8i9o0p"

// isRun reports whether the characters are all the same, or adjacent in a row of keys, in either direction.
func isRun(part []rune) bool {
	text := string(part)
	if strings.Count(text, string(part[0])) == len(part) {
		return true
	}
	if strings.Contains(text, " ") {
		return false
	}
	backwards := make([]rune, 0, len(part))
	for i := len(part) - 1; i >= 0; i-- {
		backwards = append(backwards, part[i])
	}
	return strings.Contains(keyRows, text) || strings.Contains(keyRows, string(backwards))
}
