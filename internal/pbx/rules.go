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

// Defaults of the settings of phones and calls, in seconds except for the digests.
const (
	DefaultDigestAlgorithms = "MD5,SHA-256" // MD5 first: older phones answer the first challenge or none
	DefaultRingTimeout      = 25
	DefaultRTPTimeout       = 120
	DefaultRTPTimeoutHold   = 600
)

// MaxText is the maximum length of a name, e-mail address or trigger, in characters.
const MaxText = 255

// NewUser is the input for creating a user.
type NewUser struct {
	Name          string
	Email         string
	EmailOptional bool // the user may be without an e-mail address

	Pool   ThingID // that the number is assigned from; "": the default one
	Number Number  // of a pool of users; 0: one is assigned
}

// Clean returns the user with normalized texts, or an Error of KindInvalid that names every invalid field.
func (n NewUser) Clean() (NewUser, error) {
	n.Name, n.Email = Normalize(n.Name), normalizeEmail(n.Email)
	email := emailFault("email", n.Email)
	if n.EmailOptional && n.Email == "" {
		email = FieldError{}
	}
	fields := []FieldError{nameFault(n.Name), email}
	if n.Number != 0 {
		fields = append(fields, numberFault("number", strconv.Itoa(int(n.Number))))
	}
	if n.Number != 0 && n.Pool != "" {
		fields = append(fields, FieldError{Field: "pool", Code: FieldUnknown, Message: "must be left out if a number is given: the number decides the pool"})
	}
	return n, Invalid(faults(fields...)...)
}

// CleanChange returns the user with normalized texts, or an Error of KindInvalid that names every field that differs from was and is invalid.
func (u User) CleanChange(was User) (User, error) {
	u.Name, u.Email = Normalize(u.Name), normalizeEmail(u.Email)
	var fields []FieldError
	if u.Name != was.Name {
		fields = append(fields, nameFault(u.Name))
	}
	if u.Email != was.Email && u.Email != "" {
		fields = append(fields, emailFault("email", u.Email))
	}
	if u.Extension.Number != was.Extension.Number {
		fields = append(fields, numberFault("number", strconv.Itoa(int(u.Extension.Number))))
	}
	fields = append(fields, u.Calls.clean(was.Calls)...)
	return u, Invalid(faults(fields...)...)
}

// CleanName returns a name in normalized form, or an Error of KindInvalid.
func CleanName(text string) (string, error) {
	text = Normalize(text)
	return text, Invalid(faults(nameFault(text))...)
}

// nameFault returns what is wrong with a normalized name; its code is empty if nothing is.
func nameFault(text string) FieldError { return textFault("name", text, "give the person's name") }

// CleanEmail returns an e-mail address in normalized form, or an Error of KindInvalid.
func CleanEmail(text string) (string, error) {
	text = normalizeEmail(text)
	return text, Invalid(faults(emailFault("email", text))...)
}

// NewAccount is the input for creating an account.
type NewAccount struct {
	Name  string
	Email string
	Role  Role
}

// Clean returns the account with normalized texts, or an Error of KindInvalid that names every invalid field.
func (n NewAccount) Clean() (NewAccount, error) {
	u, err := NewUser{Name: n.Name, Email: n.Email}.Clean() // the same rules for names and addresses as for users
	fields := append(FieldsOf(err), faults(roleFault("role", n.Role))...)
	return NewAccount{u.Name, u.Email, n.Role}, Invalid(fields...)
}

// NewToken is the input for creating an API token.
type NewToken struct {
	Name   string
	Role   Role
	Scopes []Permission  // a subset of the role's permissions; nil: all of them
	Lives  time.Duration // 0: until it is revoked
}

// MaxTokenLife is the maximum lifetime of a token that expires.
const MaxTokenLife = 10 * 365 * 24 * time.Hour

// Clean returns the token with a normalized name and sorted scopes, or an Error of KindInvalid that names every invalid field.
func (n NewToken) Clean() (NewToken, error) {
	n.Name = Normalize(n.Name)
	fields := faults(textFault("name", n.Name, "say which program the token is for"), roleFault("role", n.Role))
	for _, s := range n.Scopes {
		if slices.Contains(Roles(), n.Role) && !n.Role.May(s) {
			fields = append(fields, FieldError{
				Field: "scopes", Code: FieldBeyondRole,
				Message: fmt.Sprintf("%q is not a permission of the role %s: choose from %v", string(s), n.Role, n.Role.Permissions()),
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

// faults returns the fields with a fault.
func faults(fields ...FieldError) []FieldError {
	return slices.DeleteFunc(fields, func(f FieldError) bool { return f.Code == "" })
}

// roleFault returns what is wrong with a role; its code is empty if nothing is.
func roleFault(field string, r Role) FieldError {
	if slices.Contains(Roles(), r) {
		return FieldError{}
	}
	return FieldError{Field: field, Code: FieldChoice, Message: fmt.Sprintf("must be one of %v", Roles())}
}

// CleanTriggeredBy returns the text that names the source of an apply in normalized form, or an Error of KindInvalid.
func CleanTriggeredBy(text string) (string, error) {
	text = Normalize(text)
	if wrong := faults(textFault("triggered_by", text, "say who or what asks for the apply")); len(wrong) > 0 {
		return "", Invalid(wrong...)
	}
	return text, nil
}

// Invalid returns the Error for these fields, nil if there are none.
func Invalid(fields ...FieldError) error {
	if len(fields) == 0 {
		return nil
	}
	return &Error{Kind: KindInvalid, Code: CodeInvalid, Msg: "the input is not valid", Fields: fields}
}

// textFault returns what is wrong with a normalized one-line text of 1–255 characters; its code is empty if nothing is.
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
		if !unicode.IsPrint(r) && !unicode.Is(unicode.Cf, r) { // Normalize keeps only visible ones of these
			return FieldError{
				Field: field, Code: FieldInvisible,
				Message: fmt.Sprintf("must not contain control characters or line breaks (%U)", r),
			}
		}
	}
	if !strings.ContainsFunc(text, visible) {
		return FieldError{Field: field, Code: FieldInvisible, Message: "must have at least one visible character"}
	}
	return FieldError{}
}

func tooLong(field string, n int) FieldError {
	return FieldError{Field: field, Code: FieldTooLong, Message: fmt.Sprintf("must have at most %d characters, has %d", MaxText, n), Most: MaxText}
}

// visible reports whether a character of a name is visible by itself. Blanks and combining marks are not.
func visible(r rune) bool {
	return unicode.IsPrint(r) && !isBlank(r) && !unicode.IsMark(r) && !isInvisible(r)
}

// emailFault returns what is wrong with a normalized e-mail address; its code is empty if nothing is. The accepted form is what mail servers
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

// CanonicalID returns an id in its stored form; ok is false if the text is not a UUID.
func CanonicalID[T ~string](id T) (_ T, ok bool) {
	if !uuid.MatchString(string(id)) {
		return id, false
	}
	return T(strings.ToLower(string(id))), true
}

// ParseNumber parses an extension number in canonical form; ok is false for any other text.
func ParseNumber(text string) (n Number, ok bool) {
	i, err := strconv.Atoi(text)
	n = Number(i)
	return n, err == nil && n >= MinNumber && n <= MaxNumber && strconv.Itoa(i) == text
}
