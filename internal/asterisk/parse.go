package asterisk

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrUnparsable means that an answer is not what Asterisk prints for the query, or is incomplete: it proves neither that there are objects nor that
// there are none.
var ErrUnparsable = errors.New("the answer cannot be understood")

// errLinesLost is an ErrUnparsable: an answer lists less than it announces, or does not end. Asterisk drops a line that its console has not read within
// 100 ms, which happens on a busy machine; the next answer may be whole.
var errLinesLost = fmt.Errorf("%w", ErrUnparsable)

// ErrNoSuchCommand means that this Asterisk does not know the command, usually because a module is not loaded.
var ErrNoSuchCommand = errors.New("asterisk does not know the command")

// Extension is one step of the dialplan. A hint has the priority -1, the App "hint" and its device as AppData. An include of a context has the priority 0,
// the App "include" and the included context as AppData, and no Exten.
type Extension struct {
	Exten    string
	Priority int
	App      string
	AppData  string
	File     string // the file that defines it, without its folder; "" if it is not from a file
	Included bool   // it is in a context that the requested one includes
}

// The priorities of what is no step: that of hints, as Asterisk numbers it, and that of includes.
const (
	HintPriority    = -1
	IncludePriority = 0
)

// Contact is a current contact of an address of record.
type Contact struct {
	AOR string
	// URI is cut by Asterisk at the end of its column, which is after about 50 characters less those of AOR.
	URI string
	// Status is Asterisk's short word for the contact: Avail, Unavail, NonQual or Unknown.
	Status string
}

// parseObjects reads what `pjsip list …` prints and returns the text after the label of each object, in order: a title, a rule, a line for each object,
// and their count. The count must match: it distinguishes a complete list from a truncated one. Any other line makes it a different answer. Lists of
// registrations have no labels: their title is <Registration/ServerURI…>.
func parseObjects(answer, label string) ([]string, error) {
	if err := refused(answer); err != nil {
		return nil, err
	}
	if strings.TrimSpace(answer) == "No objects found." {
		return nil, nil
	}
	var objects []string
	title, rule, bare, total := false, false, false, -1
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		object, isObject := strings.CutPrefix(line, label+":  ")
		count, isCount := strings.CutPrefix(line, "Objects found: ")
		name, _, isTitle := strings.Cut(line, ":  <")
		switch {
		case line == "":
		case !title && isTitle && strings.HasSuffix(name, label): // Auth is titled I/OAuth
			title = true
		case !title && strings.HasPrefix(line, "<"+label+"/"):
			title, bare = true, true
		case title && !rule && strings.Trim(line, "=") == "":
			rule = true
		case rule && total < 0 && isObject:
			objects = append(objects, object)
		case rule && total < 0 && isCount:
			n, err := strconv.Atoi(count)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("%w: unexpected line %q", ErrUnparsable, clip(line))
			}
			total = n
		case rule && total < 0 && bare && strings.Contains(line, "/"):
			objects = append(objects, line)
		default:
			return nil, fmt.Errorf("%w: unexpected line %q", ErrUnparsable, clip(line))
		}
	}
	if total != len(objects) {
		return nil, fmt.Errorf("%w: %d objects are listed, %d are announced", errLinesLost, len(objects), max(0, total))
	}
	return objects, nil
}

// parseIDs reads a list of objects and returns their sorted ids. An id is followed by a slash (endpoint/caller ID, auth/user name) or the blanks of a
// column.
func parseIDs(answer, label string) ([]string, error) {
	objects, err := parseObjects(answer, label)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(objects))
	for _, object := range objects {
		id, _, _ := strings.Cut(object, "/")
		id, _, _ = strings.Cut(id, "  ")
		if id == "" {
			return nil, fmt.Errorf("%w: an object without a name", ErrUnparsable)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// parseTransports reads what `pjsip list transports` prints: `transport-udp             udp      3     96  0.0.0.0:5060`.
func parseTransports(answer string) ([]Transport, error) {
	objects, err := parseObjects(answer, "Transport")
	if err != nil {
		return nil, err
	}
	var all []Transport
	for _, object := range objects {
		fields := strings.Fields(object)
		if len(fields) < 5 {
			return nil, fmt.Errorf("%w: unexpected transport %q", ErrUnparsable, clip(object))
		}
		all = append(all, Transport{fields[0], fields[1], fields[len(fields)-1]})
	}
	return all, nil
}

// codecLine matches a line of the list of codecs.
var codecLine = regexp.MustCompile(`(?m)^ *\d+ audio +\S+ +([a-z0-9]+) `)

// parseCodecs reads what `core show codecs audio` prints: `      23 audio speex        speex16               40 (SpeeX 16khz)`.
func parseCodecs(answer string) (names []string, err error) {
	for _, m := range codecLine.FindAllStringSubmatch(answer, -1) {
		if m[1] != "none" { // the format of no sound
			names = append(names, m[1])
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrUnparsable, clip(answer))
	}
	slices.Sort(names)
	return names, nil
}

// parseContacts reads what `pjsip list contacts` prints: `1000/sip:1000@192.0.2.7:5060   81c2a9a3f2 Avail   3.141`.
func parseContacts(answer string) ([]Contact, error) {
	objects, err := parseObjects(answer, "Contact")
	if err != nil {
		return nil, err
	}
	contacts := make([]Contact, 0, len(objects))
	for _, object := range objects {
		aor, rest, ok := strings.Cut(object, "/")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 4 {
			return nil, fmt.Errorf("%w: unexpected contact %q", ErrUnparsable, clip(object))
		}
		last := len(fields) - 1
		uri := strings.Join(fields[:last-2], " ")
		contacts = append(contacts, Contact{AOR: aor, URI: uri, Status: fields[last-1]})
	}
	slices.SortFunc(contacts, func(a, b Contact) int {
		return strings.Compare(a.AOR+"/"+a.URI, b.AOR+"/"+b.URI)
	})
	return contacts, nil
}

// parseExtensions reads what `dialplan show CONTEXT` prints, or `dialplan show EXTEN@CONTEXT`, which shows included contexts as well. That the context
// does not exist is a valid answer. The last line counts extensions, steps and contexts; all must match, and an unknown line makes it a different
// answer.
func parseExtensions(answer, context string) (steps []Extension, exists bool, err error) {
	if err := refused(answer); err != nil {
		return nil, false, err
	}
	missing := fmt.Sprintf("There is no existence of '%s' context", context)
	if first, rest, _ := strings.Cut(strings.TrimSpace(answer), "\n"); first == missing && (rest == "" || commandFailed(rest)) {
		return nil, false, nil
	}
	extens, contexts, included, complete := 0, 0, false, false
	var includes []Extension
	current := ""
	for line := range strings.Lines(answer) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "":
		case complete:
			return nil, false, fmt.Errorf("%w: text after its last line: %q", ErrUnparsable, clip(line))
		case strings.HasPrefix(line, "[ Context '"+context+"' created by '") && contexts == 0, strings.HasPrefix(line, "[ Included context '"):
			contexts++
			included = strings.HasPrefix(line, "[ Included context '")
		case strings.HasPrefix(line, "-= "):
			wantExtens, wantSteps, wantContexts, ok := parseTotals(line)
			if !ok || wantExtens != extens || wantSteps != len(steps) || wantContexts != contexts {
				return nil, false, fmt.Errorf("%w: it lists %d extensions with %d priorities in %d contexts and ends with %q",
					errLinesLost, extens, len(steps), contexts, clip(line))
			}
			complete = true
		case contexts > 0 && isStep(line):
			left, step, ok := splitStep(line)
			if !ok {
				return nil, false, fmt.Errorf("%w: unexpected line %q", ErrUnparsable, clip(line))
			}
			if name, isNew := extensionName(left); isNew {
				current = name
				extens++
			}
			step.Exten, step.Included = current, included
			steps = append(steps, step)
		case contexts > 0 && !included && strings.HasSuffix(line, "]") && strings.HasPrefix(line, includeLine):
			name, _, ok := strings.Cut(strings.TrimLeft(line[len(includeLine):], " '"), "'")
			if !ok {
				return nil, false, fmt.Errorf("%w: unexpected line %q", ErrUnparsable, clip(line))
			}
			includes = append(includes, Extension{Priority: IncludePriority, App: "include", AppData: name})
		case contexts > 0 && strings.HasSuffix(line, "]") && isNoStep(line):
		default:
			return nil, false, fmt.Errorf("%w: unexpected line %q", ErrUnparsable, clip(line))
		}
	}
	if !complete {
		return nil, false, fmt.Errorf("%w: its last line is missing", errLinesLost)
	}
	return append(steps, includes...), true, nil
}

// commandFailed recognises the line with which Asterisk ends an answer that is not a success.
func commandFailed(line string) bool {
	return strings.HasPrefix(line, "Command '") && strings.HasSuffix(line, "' failed.") && !strings.Contains(line, "\n")
}

// isStep recognises steps by their position; includes, switches and ignore patterns start with their name.
func isStep(line string) bool {
	return strings.HasPrefix(line, "  '") || strings.HasPrefix(line, "     ")
}

// includeLine begins a line that includes a context.
const includeLine = "  Include => "

// isNoStep recognises the lines of a context that are not steps, by the names Asterisk gives them (main/pbx.c, show_dialplan_helper).
func isNoStep(line string) bool {
	return strings.HasPrefix(line, includeLine) || strings.HasPrefix(line, "  Ignore pattern => ") || strings.HasPrefix(line, "  Alt. Switch => ")
}

// splitStep splits `  '1000' =>         1. Dial(PJSIP/1000)                           [file.conf:7]`. The name may be longer than its column, so the
// step is found after the arrow, or after the blanks or the label of a line that continues an extension.
func splitStep(line string) (left string, step Extension, ok bool) {
	end := strings.LastIndex(line, " [")
	if end < 0 || !strings.HasSuffix(line, "]") {
		return "", Extension{}, false
	}
	body := line[:end]
	file, _, ok := strings.Cut(line[end+2:len(line)-1], ":") // otherwise the module that made it
	if !ok {
		file = ""
	}
	var right string
	if strings.HasPrefix(body, "  '") {
		at := strings.Index(body, "' => ")
		if cid := strings.Index(body, "') => "); cid >= 0 && (at < 0 || cid < at) {
			at = cid + 1
		}
		if at < 0 {
			return "", Extension{}, false
		}
		left, right = body[:at], body[at+len("' =>"):]
	} else {
		right = strings.TrimLeft(body, " ")
		if strings.HasPrefix(right, "[") {
			_, right, ok = strings.Cut(right, "] ")
			if !ok {
				return "", Extension{}, false
			}
		}
	}
	right = strings.TrimSpace(right)
	if watched, isHint := strings.CutPrefix(right, "hint: "); isHint {
		return left, Extension{Priority: HintPriority, App: "hint", AppData: watched, File: file}, true
	}
	number, call, ok := strings.Cut(right, ". ")
	if !ok {
		return "", Extension{}, false
	}
	priority, err := strconv.Atoi(number)
	app, data, hasData := strings.Cut(call, "(")
	if err != nil || priority < 1 || !hasData || !strings.HasSuffix(data, ")") {
		return "", Extension{}, false
	}
	return left, Extension{Priority: priority, App: app, AppData: strings.TrimSuffix(data, ")"), File: file}, true
}

// extensionName reads the left column: `  '1000` begins an extension, `  '1000' (CID match '5')` one for some callers.
func extensionName(left string) (string, bool) {
	name, ok := strings.CutPrefix(left, "  '")
	if !ok {
		return "", false
	}
	name, cid, hasCID := strings.Cut(name, "' (CID match '")
	if hasCID {
		return name + "/" + strings.TrimSuffix(cid, "'"), true
	}
	return name, true
}

// parseTotals reads `-= 1000 extensions (2000 priorities) in 1 context. =-`.
func parseTotals(line string) (extens, steps, contexts int, ok bool) {
	found := totals.FindStringSubmatch(line)
	if found == nil {
		return 0, 0, 0, false
	}
	extens, err := strconv.Atoi(found[1])
	steps, err2 := strconv.Atoi(found[2])
	contexts, err3 := strconv.Atoi(found[3])
	return extens, steps, contexts, errors.Join(err, err2, err3) == nil
}

var (
	totals  = regexp.MustCompile(`^-= (\d+) extensions? \((\d+) priorit(?:y|ies)\) in (\d+) contexts?\. =-$`)
	version = regexp.MustCompile(`^Asterisk (\S+) built by .+ on .+$`)
)

// parseVersion reads `Asterisk 22.10.1 built by …` and returns the number.
func parseVersion(answer string) (string, error) {
	if err := refused(answer); err != nil {
		return "", err
	}
	if found := version.FindStringSubmatch(strings.TrimSpace(answer)); found != nil {
		return found[1], nil
	}
	return "", fmt.Errorf("%w: it is no version: %q", ErrUnparsable, clip(answer))
}

// parseModules reads the first column of `module show` and returns the modules that run.
func parseModules(answer string) ([]string, error) {
	if err := refused(answer); err != nil {
		return nil, err
	}
	var running []string
	listed, total := 0, -1
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if count, ok := strings.CutSuffix(line, " modules loaded"); ok {
			n, err := strconv.Atoi(count)
			if err != nil {
				return nil, fmt.Errorf("%w: unexpected line %q", ErrUnparsable, clip(line))
			}
			total = n
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if name == "" || name == "Module" && strings.Contains(rest, "Use Count") {
			continue
		}
		listed++
		if !strings.Contains(rest, " Not Running ") {
			running = append(running, name)
		}
	}
	if total != listed {
		return nil, fmt.Errorf("%w: %d modules are listed, %d are announced", ErrUnparsable, listed, max(0, total))
	}
	slices.Sort(running)
	return running, nil
}

// parseReload interprets the answer to a reload command; done is the line that means success on its own. Any other line shows that this is not, or not
// only, the expected answer.
func parseReload(answer, done string) ReloadState {
	state, lines := ReloadUnclear, 0
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if line != "" {
			lines++
		}
		found := ReloadUnclear
		switch {
		case line == done:
			found = Reloaded
		case line == "A module reload request is already in progress; please be patient":
			found = ReloadInProgress
		case line == "Asterisk cannot reload a module yet; request queued":
			found = ReloadQueued
		case strings.HasPrefix(line, "No such module '"), strings.HasPrefix(line, "No such command '"),
			strings.HasSuffix(line, "does not support reloads"), strings.Contains(line, "was not properly initialized"):
			found = ReloadNotLoaded
		case strings.HasSuffix(line, "reported a reload failure"), strings.HasSuffix(line, "' failed."):
			found = ReloadFailed
		}
		// A refusal outweighs a success beside it.
		if found != ReloadUnclear && (state == ReloadUnclear || state == Reloaded) {
			state = found
		}
	}
	if state == Reloaded && lines > 1 {
		return ReloadUnclear
	}
	return state
}

// refused recognises the answers with which Asterisk can reject any command.
func refused(answer string) error {
	text := strings.TrimSpace(answer)
	if text == "" {
		return fmt.Errorf("%w: it is empty", ErrUnparsable)
	}
	if strings.HasPrefix(text, "No such command '") {
		return fmt.Errorf("%w: %s", ErrNoSuchCommand, clip(text))
	}
	return nil
}

// clip shortens an answer for error messages.
func clip(text string) string {
	const most = 80
	text = strings.ToValidUTF8(strings.TrimSpace(text), "?")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
