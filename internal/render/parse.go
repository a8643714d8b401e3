package render

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// section is a "[name]" of a configuration file with the settings below it, as Asterisk reads them.
type section struct {
	name     string
	settings []setting
}

// maxLine is the length in bytes from which Asterisk skips a line.
const maxLine = 8191

// entry is a significant line of a configuration file: the start of a section, or a setting of the current one.
type entry struct {
	section string // "" for a setting
	setting
}

// entries yields the entries of a configuration file by the rules of Asterisk's main/config.c, for the part of the language that we write. It ends with an
// error where Asterisk would drop a line, include a file, use a template or only warn: our files contain none of these.
func entries(file []byte) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		n, began := 0, false
		for raw := range strings.SplitSeq(string(file), "\n") {
			n++
			e, err := readLine(raw)
			switch {
			case err == nil && e == (entry{}):
				continue
			case err == nil && e.section == "" && !began:
				err = errors.New("is not a setting of a section")
			}
			if err != nil {
				err = fmt.Errorf("line %d %w", n, err)
			}
			began = true
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// readLine parses one line. It returns the zero entry for a blank line or a comment. The error completes a sentence that begins with the line.
func readLine(raw string) (e entry, err error) {
	if len(raw) >= maxLine {
		return e, errors.New("is so long that Asterisk skips it")
	}
	if strings.IndexByte(raw, 0) >= 0 {
		return e, errors.New("holds a NUL byte, where Asterisk ends it")
	}
	line, err := uncomment(raw)
	if err != nil {
		return e, err
	}
	switch line = trim(line); {
	case line == "":
		return e, nil
	case line[0] == '#':
		return e, errors.New("is a directive")
	case line[0] == '[':
		name, rest, ok := strings.Cut(line[1:], "]")
		if !ok || name == "" || trim(rest) != "" {
			return e, errors.New("is not a plain section")
		}
		return entry{section: name}, nil
	}
	key, value, ok := strings.Cut(line, "=")
	if !ok || strings.HasSuffix(key, "+") {
		return e, errors.New("is not a setting of a section")
	}
	return entry{setting: setting{trim(key), trim(strings.TrimPrefix(value, ">"))}}, nil
}

// parse returns the sections of a configuration file, by the rules of entries.
func parse(file []byte) ([]section, error) {
	var sections []section
	settings := make([]setting, 0, bytes.Count(file, []byte("\n"))+1) // of all sections, one after the other
	for e, err := range entries(file) {
		switch {
		case err != nil:
			return nil, err
		case e.section != "":
			sections = append(sections, section{e.section, settings[len(settings):]})
		default:
			settings = append(settings, e.setting)
			last := &sections[len(sections)-1]
			last.settings = settings[len(settings)-1-len(last.settings):]
		}
	}
	return sections, nil
}

// uncomment returns the line without its comment. A semicolon begins one unless a backslash precedes it, which is dropped; ";--" begins a multi-line
// comment, which is an error here.
func uncomment(line string) (string, error) {
	if strings.IndexByte(line, ';') < 0 {
		return line, nil
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(line, ';')
		switch {
		case i < 0:
			b.WriteString(line)
			return b.String(), nil
		case i > 0 && line[i-1] == '\\':
			b.WriteString(line[:i-1])
			b.WriteByte(';')
			line = line[i+1:]
		case strings.HasPrefix(line[i:], ";--") && !strings.HasPrefix(line[i:], ";---"):
			return "", errors.New("begins a multi-line comment")
		default:
			b.WriteString(line[:i])
			return b.String(), nil
		}
	}
}

// trim drops what Asterisk's ast_strip drops at both ends: every byte up to and including the blank.
func trim(s string) string {
	for s != "" && s[0] <= ' ' {
		s = s[1:]
	}
	for s != "" && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	return s
}
