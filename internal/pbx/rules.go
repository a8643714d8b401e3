package pbx

import (
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What the settings of phones and calls default to, in seconds but for the digests.
const (
	DefaultDigestAlgorithms = "MD5,SHA-256" // MD5 first: older phones answer the first challenge or none
	DefaultRingTimeout      = 25
	DefaultRTPTimeout       = 120
	DefaultRTPTimeoutHold   = 600
)

// MaxText is the longest name, e-mail address or trigger, in characters.
const MaxText = 255

// NewUser is what a caller says of a user to be created.
type NewUser struct {
	Name  string
	Email string
}

// Clean returns the user with its texts normalized, or an Error of KindInvalid that names every field that breaks a rule.
func (n NewUser) Clean() (NewUser, error) {
	n.Name, n.Email = Normalize(n.Name), normalizeEmail(n.Email)
	return n, Invalid(faults(nameFault(n.Name), emailFault("email", n.Email))...)
}

// CleanName returns the name of a person normalized, or an Error of KindInvalid that says what is wrong with it.
func CleanName(text string) (string, error) {
	text = Normalize(text)
	return text, Invalid(faults(nameFault(text))...)
}

// nameFault says what is wrong with the normalized name of a person; it has no code when nothing is.
func nameFault(text string) FieldError { return textFault("name", text, "give the person's name") }

// CleanEmail returns an e-mail address normalized, or an Error of KindInvalid that says what is wrong with it.
func CleanEmail(text string) (string, error) {
	text = normalizeEmail(text)
	return text, Invalid(faults(emailFault("email", text))...)
}

// NewAccount is what a caller says of an account to be created.
type NewAccount struct {
	Name  string
	Email string
	Role  Role
}

// Clean returns the account with its texts normalized, or an Error of KindInvalid that names every field that breaks a rule.
func (n NewAccount) Clean() (NewAccount, error) {
	u, err := NewUser{Name: n.Name, Email: n.Email}.Clean() // a person is named and reached the same way at the phone and at the portal
	fields := append(FieldsOf(err), faults(roleFault("role", n.Role))...)
	return NewAccount{u.Name, u.Email, n.Role}, Invalid(fields...)
}

// NewToken is what a caller says of an API token to be created.
type NewToken struct {
	Name   string
	Role   Role
	Scopes []Permission  // of the role's permissions; nil: all of them
	Lives  time.Duration // 0: until it is revoked
}

// MaxTokenLife is the longest time a token can be given, beside living until it is revoked.
const MaxTokenLife = 10 * 365 * 24 * time.Hour

// Clean returns the token with its name normalized and its scopes in order, or an Error of KindInvalid that names every field that breaks a rule.
func (n NewToken) Clean() (NewToken, error) {
	n.Name = Normalize(n.Name)
	fields := faults(textFault("name", n.Name, "say which program the token is for"), roleFault("role", n.Role))
	for _, s := range n.Scopes {
		if slices.Contains(Roles(), n.Role) && !n.Role.May(s) {
			fields = append(fields, FieldError{
				Field: "scopes", Code: FieldBeyondRole,
				Message: fmt.Sprintf("%q is none of what the role %s may do: choose of %v", string(s), n.Role, n.Role.Permissions()),
			})
			break
		}
	}
	if n.Scopes != nil {
		n.Scopes = slices.DeleteFunc(n.Role.Permissions(), func(p Permission) bool { return !slices.Contains(n.Scopes, p) })
	}
	if n.Lives < 0 || n.Lives > MaxTokenLife {
		days := int(MaxTokenLife.Hours()) / 24
		fields = append(fields, FieldError{Field: "expires", Code: FieldRange, Message: fmt.Sprintf("must be a time of at most %d days from now", days), Most: days})
	}
	return n, Invalid(fields...)
}

// faults leaves out the fields with which nothing is wrong.
func faults(fields ...FieldError) []FieldError {
	return slices.DeleteFunc(fields, func(f FieldError) bool { return f.Code == "" })
}

// roleFault says what is wrong with a role; it has no code when nothing is.
func roleFault(field string, r Role) FieldError {
	if slices.Contains(Roles(), r) {
		return FieldError{}
	}
	return FieldError{Field: field, Code: FieldChoice, Message: fmt.Sprintf("must be one of %v", Roles())}
}

// CleanTriggeredBy returns the text that says who asked for an apply, normalized, or an Error of KindInvalid.
func CleanTriggeredBy(text string) (string, error) {
	text = Normalize(text)
	if wrong := faults(textFault("triggered_by", text, "say who or what asks for the apply")); len(wrong) > 0 {
		return "", Invalid(wrong...)
	}
	return text, nil
}

// Invalid makes the Error for these fields, nil when there are none.
func Invalid(fields ...FieldError) error {
	if len(fields) == 0 {
		return nil
	}
	return &Error{Kind: KindInvalid, Code: CodeInvalid, Msg: "the input is not valid", Fields: fields}
}

// textFault says what is wrong with a normalized one-line text of 1–255 characters; it has no code when nothing is.
func textFault(field, text, whenEmpty string) FieldError {
	switch n := utf8.RuneCountInString(text); {
	case text == "":
		return FieldError{Field: field, Code: FieldMissing, Message: "must not be empty: " + whenEmpty}
	case !utf8.ValidString(text):
		return FieldError{Field: field, Code: FieldEncoding, Message: "must be valid UTF-8"}
	case n > MaxText:
		return tooLong(field, n)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) && !unicode.Is(unicode.Cf, r) { // what Normalize has left of these shows
			return FieldError{
				Field: field, Code: FieldInvisible,
				Message: fmt.Sprintf("must not contain control characters or line breaks (%U)", r),
			}
		}
	}
	if !strings.ContainsFunc(text, visible) {
		return FieldError{Field: field, Code: FieldInvisible, Message: "must have at least one character that can be seen"}
	}
	return FieldError{}
}

func tooLong(field string, n int) FieldError {
	return FieldError{Field: field, Code: FieldTooLong, Message: fmt.Sprintf("must have at most %d characters, has %d", MaxText, n), Most: MaxText}
}

// visible reports whether a character of a name shows by itself. Blanks do not, nor marks on other characters.
func visible(r rune) bool {
	return unicode.IsPrint(r) && !isBlank(r) && !unicode.IsMark(r) && !isInvisible(r)
}

// emailFault says what is wrong with a normalized e-mail address; it has no code when nothing is. The accepted form is what mail servers
// deliver to: an unquoted local part and a domain name, in ASCII (RFC 5321 section 4.1.2, without quoted strings and literals).
func emailFault(field, text string) FieldError {
	const example = "give an address like anna@example.com"
	if text == "" {
		return FieldError{Field: field, Code: FieldMissing, Message: "must not be empty: " + example}
	}
	if n := utf8.RuneCountInString(text); n > MaxText {
		return tooLong(field, n)
	}
	for _, r := range text {
		if r > unicode.MaxASCII {
			return FieldError{Field: field, Code: FieldASCII, Message: "must be written in ASCII: use the xn-- form of an international domain"}
		}
	}
	parsed, err := mail.ParseAddress(text)
	local, domain, _ := strings.Cut(text, "@")
	if err != nil || parsed.Address != text || parsed.Name != "" || len(local) > 64 || strings.ContainsAny(text, "\"\\()<>,;: \t") || !isDomain(domain) {
		return FieldError{Field: field, Code: FieldEmail, Message: "is not an e-mail address: " + example}
	}
	return FieldError{}
}

// isDomain reports whether the text is a domain name of letters, digits and hyphens (RFC 1035 section 2.3.1).
func isDomain(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}

// uuid matches a UUID in its text form, with letters of either case.
var uuid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// CanonicalID gives an id in the form in which it is stored; ok is false for a text that is no UUID, which nothing has.
func CanonicalID[T ~string](id T) (_ T, ok bool) {
	if !uuid.MatchString(string(id)) {
		return id, false
	}
	return T(strings.ToLower(string(id))), true
}

// ParseNumber reads a number of the pool, in the one form in which it is written; ok is false for any other text.
func ParseNumber(text string) (n Number, ok bool) {
	i, err := strconv.Atoi(text)
	n = Number(i)
	return n, err == nil && n >= FirstNumber && n <= LastNumber && strconv.Itoa(i) == text
}
