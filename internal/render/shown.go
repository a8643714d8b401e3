package render

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Diff returns the change of each file from one set of files to another, as a unified diff without secrets and hashes: an unchanged secret is "[hidden]" on both
// sides, a changed one is "[hidden]" before and "[hidden, new]" after. Only lines that the portal writes are shown, exactly in the form in which it
// writes them; of all others only the number is shown. The positions of a hunk are lines of the files; its lengths count the lines that are shown.
func Diff(fromName string, from []pbx.File, toName string, to []pbx.File) []pbx.FileDiff {
	var diffs []pbx.FileDiff
	for _, f := range pbx.GeneratedFiles() {
		before, after, text := pbx.ContentOf(from, f.Path), pbx.ContentOf(to, f.Path), ""
		if f.Optional && before == nil && after == nil {
			continue
		}
		if !bytes.Equal(before, after) {
			a, b := differing(f.Path, before, after)
			earlier := map[string]string{}
			x, y := shower{noted: earlier}, shower{noted: map[string]string{}, earlier: earlier}
			if a, b := x.show(f.Path, a), y.show(f.Path, b); !bytes.Equal(a, b) {
				text = placed(string(diff.Diff(fromName+": "+f.Path, a, toName+": "+f.Path, b)), x.places, y.places)
			}
		}
		diffs = append(diffs, pbx.FileDiff{Path: f.Path, Text: text})
	}
	return diffs
}

// placed returns a diff of the shown lines of two files with line numbers of the files in its hunks. a and b are those of the shown lines.
func placed(text string, a, b []int) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		var aFrom, aLines, bFrom, bLines int
		if n, _ := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &aFrom, &aLines, &bFrom, &bLines); n == 4 {
			line = fmt.Sprintf("@@ -%d,%d +%d,%d @@\n", lineAt(a, aFrom), aLines, lineAt(b, bFrom), bLines)
		}
		out.WriteString(line)
	}
	return out.String()
}

// lineAt returns the number, in the file, of the shown line n; 0 for 0.
func lineAt(places []int, n int) int {
	if n == 0 {
		return 0
	}
	return places[n-1]
}

// shower writes the visible part of a file.
type shower struct {
	out     bytes.Buffer
	places  []int             // the line of the file of each line in out
	at      int               // the current line of the file
	hidden  []string          // lines since the last one that was shown
	from    int               // the line of the file of the first of them
	blocks  int               // number of blocks of hidden lines
	noted   map[string]string // what was hidden in this file, by position
	earlier map[string]string // what was hidden in the file before; nil if this is the file before
}

// show returns the visible part of a part of the file at path.
func (s *shower) show(path string, p part) []byte {
	s.at = p.line
	section, lines := p.section, strings.Split(string(p.text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	for len(lines) > 0 {
		if strings.HasPrefix(lines[0], "[") {
			section = lines[0]
		}
		end := 1 // a section ends where the next begins
		for end < len(lines) && !strings.HasPrefix(lines[end], "[") {
			end++
		}
		if pbx.ModuleOf(path) == pbx.Dialplan {
			s.context(path, section, lines[:end])
		} else {
			s.object(path, lines[:end])
		}
		lines = lines[end:]
	}
	s.flush()
	return s.out.Bytes()
}

// line shows the current line as it is, or with this text instead.
func (s *shower) line(text string) {
	s.flush()
	s.out.WriteString(text + "\n")
	s.places = append(s.places, s.at)
}

// hide counts a line that the portal did not write.
func (s *shower) hide(text string) {
	if len(s.hidden) == 0 {
		s.from = s.at
	}
	s.hidden = append(s.hidden, text)
}

// flush writes how many lines were hidden.
func (s *shower) flush() {
	if len(s.hidden) == 0 {
		return
	}
	lines := "lines"
	if len(s.hidden) == 1 {
		lines = "line"
	}
	place := fmt.Sprintf("lines %d", s.blocks)
	fmt.Fprintf(&s.out, "… %d %s not written by the portal, hidden%s\n", len(s.hidden), lines, s.news(place, strings.Join(s.hidden, "\n")))
	s.places = append(s.places, s.from)
	s.blocks++
	s.hidden = nil
}

// news records what is hidden at a position, and returns a note if something else was hidden there in the file before.
func (s *shower) news(place, secret string) string {
	s.noted[place] = secret
	if old, known := s.earlier[place]; known && old != secret {
		return ", new"
	}
	return ""
}

// isComment reports whether a line is one of the header, or empty.
func isComment(line string) bool { return line == "" || line+"\n" == header }

// context shows lines of a section of the dialplan, which begins with the line section; "" for what precedes the first.
func (s *shower) context(path, section string, lines []string) {
	name := strings.TrimSuffix(strings.TrimPrefix(section, "["), "]")
	var steps []string // of the current extension, as we write them
	for i, text := range lines {
		s.at++
		exten, isExten := strings.CutPrefix(text, "exten => ")
		if isExten {
			steps = nil
			if name == pbx.Context {
				number, _, _ := strings.Cut(exten, ",")
				_, ring, _ := strings.Cut(strings.TrimSuffix(text, ")"), ",1,Dial(PJSIP/"+number+",")
				steps = stepLines(number, ring)
			}
		}
		switch {
		case isComment(text), i == 0 && text == section && isOurContext(path, name), slices.Contains(steps, text):
			s.line(text)
		case path == pbx.LibraryPath && (strings.Contains("\n"+libraryNow, "\n"+text+"\n") || strings.Contains(libraryBefore, "\n"+text+"\n")):
			s.line(text)
		case isExten && isOurLine(name, exten), isInclude(name, text):
			s.line(text)
		default:
			s.hide(text)
		}
	}
}

// isOurContext reports whether the portal writes a context of this name to the file at path.
func isOurContext(path, name string) bool {
	switch path {
	case pbx.DialplanPath:
		return name == pbx.Context
	case pbx.CallflowPath:
		return name == userContext || name == phonesContext || name == codesContext || name == hintsContext || kindIn(name).context != ""
	}
	return false // the lines of the library include those that begin its contexts
}

// isInclude reports whether a line of a context is one with which the portal includes another.
func isInclude(context, text string) bool {
	return context == pbx.Context && (text == "include => "+codesContext || text == "include => "+hintsContext)
}

// isOurLine reports whether a line of a context, without "exten => ", is one that the portal writes for an extension with one step.
func isOurLine(context, exten string) bool {
	step, err := parseStep(setting{"exten", exten}, pbx.Step{})
	step.Context = context
	return err == nil && isOurStep(step)
}

// isOurStep reports whether a step is one that the portal writes for an extension with one step.
func isOurStep(s pbx.Step) bool {
	switch _, isNumber := pbx.ParseNumber(s.Exten); s.Context {
	case pbx.Context:
		context, key, _ := strings.Cut(strings.TrimSuffix(s.Args, ",1"), ",")
		return isNumber && (s == disabledNumber(s.Exten) || s == enter(s.Exten, userContext, s.Exten) ||
			s == enter(s.Exten, context, key) && kindIn(context).isKey(key))
	case userContext:
		_, ours := diallingOf(&piece{owner: pbx.Thing{Key: s.Exten}, steps: []pbx.Step{s}})
		return isNumber && (ours && s.Priority == 1 || s == disabledObject(s.Exten))
	case phonesContext:
		return isNumber && isPhonesObject(s)
	case limitContext:
		limit, err := strconv.Atoi(s.Args)
		return isNumber && err == nil && s == limitObject(s.Exten, limit)
	case codesContext, hintsContext:
		return slices.Contains(codeSteps(pbx.MinNumber, 10*pbx.MinNumber, 100*pbx.MinNumber, 1000*pbx.MinNumber, pbx.MaxNumber), s)
	}
	k := kindIn(s.Context)
	args := k.arguments(&s)
	for i, arg := range args {
		if !k.fields[i].valid(arg) {
			return false
		}
	}
	return k.isKey(s.Exten) && s.Priority == 1 && args != nil
}

// stepLines returns the lines that we write for an extension; ring is the text of the ring time. It returns none if number is not an extension number.
func stepLines(number, ring string) []string {
	n, ok := pbx.ParseNumber(number)
	if !ok {
		return nil
	}
	var text bytes.Buffer
	for _, s := range appendUserSteps(nil, strconv.Itoa(int(n)), ringOf(ring)) {
		writeStep(&text, s)
	}
	return strings.Split(text.String(), "\n")
}

// ringOf returns the ring time in the second argument of Dial, in seconds, and the default for any text that we do not write.
func ringOf(text string) int {
	if n, _ := strconv.Atoi(text); n > 0 && isCount(text) {
		return n
	}
	return pbx.DefaultRingTimeout
}

// isCount reports whether a text is a whole number of seconds as we write it.
func isCount(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 0 && strconv.Itoa(n) == text
}

// object shows a section of the PJSIP file, or the lines before the first section. If the hash of a section matches its settings, the portal wrote them;
// otherwise only the settings that are the same for every user are shown.
func (s *shower) object(path string, lines []string) {
	id := strings.TrimSuffix(strings.TrimPrefix(lines[0], "["), "]")
	n, _, ours := pbx.ParseDeviceName(id)
	ours = (ours || path != pbx.PJSIPPath && isWhole(lines[1:])) && lines[0] == "["+id+"]"
	whole := ours && isWhole(lines[1:])
	var usual []setting
	if ours && !whole {
		usual = usualSettings(n, id)
	}
	for i, text := range lines {
		s.at++
		key, value, _ := strings.Cut(text, "=")
		switch {
		case isComment(text), i == 0 && ours:
			s.line(text)
		case !ours:
			s.hide(text)
		case slices.Contains(secretKeys(), key):
			algorithm := "" // shown: it distinguishes the two lines
			if name, _, _ := strings.Cut(value, ":"); key == "password_digest" && (name == "MD5" || name == "SHA-256") {
				algorithm = name + ":"
			}
			s.line(key + "=" + algorithm + "[hidden" + s.news(id+key+algorithm, value) + "]")
		case key == pbx.HashAttribute && isHash(value):
		case whole, slices.Contains(usual, setting{key, value}), ours && (key == "rtp_timeout" || key == "rtp_timeout_hold") && isCount(value):
			s.line(text)
		default:
			s.hide(text)
		}
	}
}

// secretKeys returns the settings of PJSIP objects that hold a secret.
func secretKeys() []string {
	return []string{"password", "password_digest", "md5_cred", "oauth_secret", "refresh_token"}
}

// usualSettings returns the settings of the objects of a phone that do not depend on the user or the host, except the number and the id.
func usualSettings(n pbx.Number, id string) []setting {
	p := phone{number: n}
	all := slices.Concat(Options{}.endpoint(p, id), passwordAuth(p, id), Options{DigestRealm: "-"}.auth(p, id), aor())
	return slices.DeleteFunc(all, func(s setting) bool {
		return s.key == "callerid" || s.key == "realm" || s.key == "password" || s.key == "password_digest" || s.key == pbx.HashAttribute
	})
}

// isHash reports whether a value has the form of the hash of an object.
func isHash(value string) bool {
	raw, err := hex.DecodeString(value)
	return err == nil && len(raw) == hashBytes && value == strings.ToLower(value)
}

// isWhole reports whether the lines of a section, up to the blank one at its end, are settings exactly as the portal writes them, followed by their
// hash.
func isWhole(lines []string) bool {
	var settings []setting
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for _, text := range lines {
		e, err := readLine(text)
		written, encodeErr := encode(e.value)
		if err != nil || encodeErr != nil || e.key+"="+written != text {
			return false
		}
		settings = append(settings, e.setting)
	}
	return sealed(settings)
}

// sealed reports whether the last setting is the hash of the others.
func sealed(settings []setting) bool {
	last := len(settings) - 1
	if last < 0 || settings[last].key != pbx.HashAttribute {
		return false
	}
	return seal(slices.Clone(settings))[last] == settings[last]
}

// OurStep returns a dialplan step as text for people. It omits the application of a step that the portal would not write: it may contain a secret.
func OurStep(s pbx.Step) string {
	own, isNumber := pbx.ParseNumber(s.Exten)
	if s.Context == pbx.Context && !isNumber {
		return "of an extension that is not the portal's"
	}
	place := s.Place()
	if s.Context == pbx.Context {
		place = s.Exten
	}
	full := fmt.Sprintf("%s,%d,%s(%s)", place, s.Priority, s.App, s.Args)
	switch dialled, ring, _ := strings.Cut(strings.TrimPrefix(s.Args, "PJSIP/"), ","); {
	case isOurStep(s):
		return full
	case s.Context != pbx.Context:
		if _, p, err := readLibrary(); err == nil && slices.Contains(p.steps, s) {
			return full
		}
		return fmt.Sprintf("%s,%d", place, s.Priority)
	default:
		if n, ok := pbx.ParseNumber(dialled); ok { // perhaps not its own
			own = n
		}
		for _, written := range appendUserSteps(nil, strconv.Itoa(int(own)), ringOf(ring)) {
			if written.App == s.App && written.Args == s.Args {
				return full
			}
		}
		return s.Exten + "," + strconv.Itoa(s.Priority) + ",(not as the portal writes it)"
	}
}
