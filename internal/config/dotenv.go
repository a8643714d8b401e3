package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Dotenv reads a .env file by the rules of python-dotenv, for compatibility with existing installations: NAME=value lines, with or without export, the
// name optionally in single quotes; the value in single quotes (\\ and \' are escapes), double quotes (also
// , \t, \", \\ …), either of which may contain line breaks, or unquoted (surrounding blanks and a comment after " #" are dropped); ${NAME} and
// ${NAME:-default} refer to the environment, or to an earlier line; a name without = removes an earlier line. A missing file is not an error; one that
// users other than root and the caller can write is. An error names the line, but does not quote it: it may contain a password.
func Dotenv(path string, getenv func(string) (string, bool)) (map[string]string, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	text, err := readOwn(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings: %w", err)
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 { // every name in it would be another one, and all its settings be missing
		return nil, fmt.Errorf("cannot read %s: it is not UTF-8 text; an editor may have saved it as UTF-16 (\"Unicode\"): save it as UTF-8", path)
	}
	values, line := parseDotenv(string(text), getenv)
	if line != 0 {
		return nil, fmt.Errorf("cannot read %s: line %d is not NAME=value", path, line)
	}
	return values, nil
}

// parseDotenv reads the text of a .env file. wrong is the line where unreadable text begins, 0 if there is none.
func parseDotenv(text string, getenv func(string) (string, bool)) (values map[string]string, wrong int) {
	values = map[string]string{}
	rest, line := strings.TrimPrefix(text, "\ufeff"), 1
	for rest != "" {
		found := entry.FindStringSubmatch(rest)
		if found == nil {
			return nil, line
		}
		name := found[entry.SubexpIndex("name")] + found[entry.SubexpIndex("quoted")]
		if found[entry.SubexpIndex("assign")] != "" {
			values[name] = expand(plain(found), values, getenv)
		} else {
			delete(values, name)
		}
		line += strings.Count(found[0], "\n")
		rest = rest[len(found[0]):]
	}
	return values, 0
}

// entry matches one line of a .env file with its end: an assignment, a name, a comment, or nothing. A backslash before a quote escapes it, unless
// nothing else ends the value: 'C:\' is C:\.
var entry = regexp.MustCompile(`\A[^\S\r\n]*(?:(?:export[^\S\r\n]+)?(?:'(?P<quoted>[^'\r\n]+)'|(?P<name>[^=#\s'"][^=#\s]*))[^\S\r\n]*` +
	`(?:(?P<assign>=)[^\S\r\n]*(?:'(?P<single>(?:\\'|[^'])*)'|"(?P<double>(?:\\"|[^"])*)"|(?P<bare>[^'"\r\n][^\r\n]*)?))?)?` +
	`[^\S\r\n]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\z)`)

// bareComment matches the end of an unquoted value.
var bareComment = regexp.MustCompile(`\s+#.*\z`)

// plain returns the value of an assignment without its quotes and escapes.
func plain(found []string) string {
	value := func(group string) string { return found[entry.SubexpIndex(group)] }
	switch {
	case value("single") != "":
		return strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(value("single"))
	case value("double") != "":
		return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\'`, `'`, `\n`, "\n", `\r`, "\r", `\t`, "\t", `\a`, "\a", `\b`, "\b", `\f`, "\f", `\v`, "\v").
			Replace(value("double"))
	}
	return strings.TrimRight(bareComment.ReplaceAllString(value("bare"), ""), " \t")
}

// reference matches ${NAME} and ${NAME:-default}.
var reference = regexp.MustCompile(`\$\{([^}:]*)(?::-([^}]*))?\}`)

// expand replaces the references in a value.
func expand(value string, earlier map[string]string, getenv func(string) (string, bool)) string {
	return reference.ReplaceAllStringFunc(value, func(text string) string {
		found := reference.FindStringSubmatch(text)
		if v, ok := getenv(found[1]); ok {
			return v
		}
		if v, ok := earlier[found[1]]; ok {
			return v
		}
		return found[2]
	})
}
