package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// Dotenv reads a .env file by the rules of python-dotenv, as existing installations have it: NAME=value lines, with export before them or
// not, the name in single quotes or not; the value in single quotes (\\ and \' are escapes), double quotes (\n, \t, \", \\ … too), either of
// which may hold line breaks, or none (blanks and a comment behind " #" go); ${NAME} and ${NAME:-default} stand for the environment, or for
// an earlier line; a name without = takes back an earlier line. A missing file is no error and gives nothing; one that others than root and
// the caller can have put there is refused. An error names the line, and not what stands there: it may be a password.
func Dotenv(path string, getenv func(string) (string, bool)) (map[string]string, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	text, err := readOwn(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings: %w", err)
	}
	values, line := parseDotenv(string(text), getenv)
	if line != 0 {
		return nil, fmt.Errorf("cannot read %s: line %d is not NAME=value", path, line)
	}
	return values, nil
}

// parseDotenv reads the text of a .env file. What it cannot read begins in the line that it gives, which is 0 where there is none.
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

// entry matches one line of a .env file with its end: an assignment, a name alone, a comment, or nothing. A backslash before a quote escapes
// it, but where nothing else ends the value that quote does: 'C:\' is C:\.
var entry = regexp.MustCompile(`\A[^\S\r\n]*(?:(?:export[^\S\r\n]+)?(?:'(?P<quoted>[^'\r\n]+)'|(?P<name>[^=#\s'"][^=#\s]*))[^\S\r\n]*` +
	`(?:(?P<assign>=)[^\S\r\n]*(?:'(?P<single>(?:\\'|[^'])*)'|"(?P<double>(?:\\"|[^"])*)"|(?P<bare>[^'"\r\n][^\r\n]*)?))?)?` +
	`[^\S\r\n]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\z)`)

// bareComment is what ends a value without quotes.
var bareComment = regexp.MustCompile(`\s+#.*\z`)

// plain gives the value of an assignment without its quotes and escapes.
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

// expand puts in what the references of a value stand for.
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
