package node

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// hostFiles returns the administrator's files that a module of Asterisk reads, together with all that they include.
func hostFiles(module pbx.Module) (names []string) {
	for _, f := range pbx.GeneratedFiles() {
		if f.Module == module && !slices.Contains(names, f.Parent) {
			names = append(names, f.Parent)
		}
	}
	if module == pbx.PJSIP {
		names = append(names, "pjsip_wizard.conf")
	}
	return names
}

// Declared returns the objects with the name of a phone, and extensions with an extension number, that Asterisk's configuration files define beside the portal's own. A missing file defines
// none; an unreadable one is an error, returned together with what the others define.
func (l *Local) Declared(ctx context.Context) (all []pbx.HostObject, err error) {
	if err := l.there(); err != nil {
		return nil, err
	}
	theirs := sync.OnceValue(func() string { return l.theirs(ctx) })
	for _, name := range hostFiles(pbx.PJSIP) {
		h, readErr := l.readHost(name, theirs)
		err = errors.Join(err, readErr)
		all = append(all, h.objects()...)
		if slices.ContainsFunc(pbx.GeneratedFiles(), func(f pbx.GeneratedFile) bool { return f.Parent == name }) {
			all = append(all, h.refers...)
		}
	}
	for _, name := range hostFiles(pbx.Dialplan) {
		h, readErr := l.readHost(name, theirs)
		err = errors.Join(err, readErr)
		all = append(all, h.extensions()...)
	}
	return pbx.JoinHostObjects(all, nil), err
}

// written returns the names of the sections that the administrator's files define for PJSIP objects, as far as the portal can read them.
func (l *Local) written(ctx context.Context) map[string]bool {
	names := map[string]bool{}
	theirs := sync.OnceValue(func() string { return l.theirs(ctx) })
	for _, name := range hostFiles(pbx.PJSIP) {
		h, _ := l.readHost(name, theirs) // as far as it could be read
		for _, s := range h.sections {
			if !s.shape && !s.adds {
				names[s.name] = true
			}
		}
	}
	return names
}

// hostSection is one section of the administrator's files.
type hostSection struct {
	name   string
	file   string
	line   int
	shape  bool // a template, which is no object by itself
	adds   bool // it only adds to a section that these files do not define
	types  []string
	extens []hostExten
	exten  string // the extension to which "same" adds
}

// hostExten is one step of a dialplan section.
type hostExten struct {
	name string
	file string
	line int
}

// hostReader reads a file of Asterisk and all it includes as Asterisk's main/config.c does, as far as names matter: sections, what they inherit from
// templates, types of PJSIP objects, and extensions.
type hostReader struct {
	local    *Local
	others   includes
	theirs   func() string // returns the configuration folder as Asterisk names it
	read     int           // number of files read, including repetitions
	own      []string      // the folders of the portal's files
	sections []*hostSection
	refers   []pbx.HostObject // sections that refer to objects which the files do not define
	err      error
}

// readHost reads one of the administrator's files. A result with an error covers what could be read.
func (l *Local) readHost(name string, theirs func() string) (*hostReader, error) {
	h := &hostReader{local: l, theirs: theirs}
	for _, name := range folders() {
		if dir, err := filepath.EvalSymlinks(filepath.Join(l.dir, name)); err == nil {
			h.own = append(h.own, dir+"/")
		}
	}
	h.file(filepath.Join(l.dir, name), nil, 0)
	return h, h.err
}

// isOwn reports whether a file is in the portal's folders: other files there are drift, and refused as such.
func (h *hostReader) isOwn(name string) bool {
	there, err := filepath.EvalSymlinks(name)
	return err == nil && slices.ContainsFunc(h.own, func(dir string) bool { return strings.HasPrefix(there, dir) })
}

// deepest is the maximum depth of includes: Asterisk's MAX_INCLUDE_LEVEL.
const deepest = 10

// file reads a file that is included in a section, nil for none, at a depth. As in Asterisk its first lines belong to that section, to which the
// including file returns afterwards.
func (h *hostReader) file(name string, current *hostSection, depth int) {
	if h.read++; h.read > mostIncludes || depth > deepest || h.isOwn(name) {
		return
	}
	text, _, err := regular.Read(name, largestConfig)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.err = errors.Join(h.err, err)
		}
		return
	}
	for number, line := range plainLines(string(text)) {
		switch line[0] {
		case '#':
			h.include(line, current, depth)
		case '[':
			current = h.section(line, name, number)
		default:
			if key, value, ok := strings.Cut(line, "="); ok && current != nil {
				h.setting(current, strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(strings.TrimPrefix(value, ">")), hostExten{current.exten, name, number})
			}
		}
	}
}

// uncommented returns a line without comments and surrounding blanks. depth is that of the comments of several lines, which nest, before and after it.
func uncommented(line string, depth int) (text string, after int) {
	var b strings.Builder
	keep := func(text string) {
		if depth == 0 {
			b.WriteString(text)
		}
	}
	for line != "" {
		i := strings.IndexByte(line, ';')
		if i < 0 {
			keep(line)
			break
		}
		rest := line[i+1:]
		switch {
		case i > 0 && line[i-1] == '\\':
			keep(line[:i-1] + ";")
		case strings.HasPrefix(rest, "--") && !strings.HasPrefix(rest, "---"):
			keep(line[:i])
			rest, depth = rest[2:], depth+1
		case depth > 0 && strings.HasSuffix(line[:i], "--"):
			depth--
		default:
			keep(line[:i])
			if depth == 0 {
				rest = ""
			}
		}
		line = rest
	}
	return strings.TrimSpace(b.String()), depth
}

// included returns the file, or the pattern of files, that a line #include or #tryinclude names, and whether the file must exist; ok is false for any
// other line, also for one that names nothing, which Asterisk ignores.
func included(line string) (pattern string, must, ok bool) {
	directive, rest := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		directive, rest = line[:i], line[i:]
	}
	rest, must = strings.TrimSpace(rest), strings.EqualFold(directive, "#include")
	return strings.Trim(rest, `"<>`), must, rest != "" && (must || strings.EqualFold(directive, "#tryinclude"))
}

// include reads the files that an #include or #tryinclude in a section names.
func (h *hostReader) include(line string, current *hostSection, depth int) {
	pattern, _, ok := included(line)
	if !ok {
		return
	}
	for _, one := range alternatives(h.local.here(pattern, h.theirs)) {
		for _, name := range h.others.matching(one) {
			h.file(name, current, depth+1)
		}
	}
}

// sectionHead reads a line "[name](option,option)"; closed is false if the ] or the ) is missing. As in Asterisk the ( must follow at once, and blanks are
// part of an option.
func sectionHead(line string) (name string, options []string, closed bool) {
	name, rest, closed := strings.Cut(line[1:], "]")
	rest, has := strings.CutPrefix(rest, "(")
	if !has {
		return name, nil, closed
	}
	text, _, ended := strings.Cut(rest, ")")
	return name, strings.Split(text, ","), closed && ended
}

// section begins the section that a line "[name](options)" names, or continues an earlier one.
func (h *hostReader) section(line, file string, number int) *hostSection {
	name, options, _ := sectionHead(line)
	s := &hostSection{name: name, file: file, line: number}
	for _, option := range options {
		switch {
		case option == "!":
			s.shape = true
		case strings.HasPrefix(option, "+"): // perhaps with a filter, such as +type=endpoint
			if earlier := h.named(name, false); earlier != nil {
				return earlier
			}
			s.adds = true
			h.refer(name, s)
		default:
			if base := h.named(option, true); base != nil {
				s.types, s.extens = append(s.types, base.types...), append(s.extens, base.extens...)
			} else {
				h.refer(option, s)
			}
		}
	}
	h.sections = append(h.sections, s)
	return s
}

// refer records that a section refers to one that these files do not define: if its name is that of a phone, to the object of a user.
func (h *hostReader) refer(name string, s *hostSection) {
	if o, ok := pbx.HostObjectOf(pbx.KindReference, name); ok {
		o.File, o.Line = s.file, s.line
		h.refers = append(h.refers, o)
	}
}

// again returns the first section that defines, for the second time, an object of a type that the portal writes, and that type; nil if none does.
// Asterisk then loads no object of that type anew.
func (h *hostReader) again() (second *hostSection, kind string) {
	type object struct{ kind, name string }
	seen := map[object]bool{}
	for _, s := range h.sections {
		for _, kind := range pbx.UserTypes() {
			if s.shape || s.adds || !slices.Contains(s.types, kind) {
				continue
			}
			if seen[object{kind, s.name}] {
				return s, kind
			}
			seen[object{kind, s.name}] = true
		}
	}
	return nil, ""
}

// named returns the first section of a name, or template if these count; nil if there is none. As in Asterisk an empty name is that of any section.
func (h *hostReader) named(name string, shapes bool) *hostSection {
	for _, s := range h.sections {
		if (name == "" || strings.EqualFold(s.name, name)) && (shapes || !s.shape) {
			return s
		}
	}
	return nil
}

// setting adds one line of a section; at is its position, with the extension to which "same" adds.
func (h *hostReader) setting(s *hostSection, key, value string, at hostExten) {
	switch key {
	case "type":
		s.types = append(s.types, strings.ToLower(value))
		return
	case "exten":
		name, rest, _ := strings.Cut(value, ",")
		s.exten, value = strings.NewReplacer(" ", "", "-", "").Replace(name), rest // for Asterisk 10-03 and 1003 are the same extension
		at.name = s.exten
	case "same":
	default:
		return
	}
	if priority, _, _ := strings.Cut(value, ","); !strings.EqualFold(strings.TrimSpace(priority), "hint") { // a hint is not a step
		s.extens = append(s.extens, at)
	}
}

// objects returns the PJSIP objects with the name of a phone.
func (h *hostReader) objects() (all []pbx.HostObject) {
	for _, s := range h.sections {
		if s.shape {
			continue
		}
		types := slices.Clone(s.types)
		if i := slices.Index(types, "wizard"); i >= 0 { // the wizard defines these two under the name itself
			types = slices.Replace(types, i, i+1, "endpoint", "aor")
		}
		for _, kind := range types {
			if o, ok := pbx.HostObjectOf(kind, s.name); ok {
				o.File, o.Line = s.file, s.line
				all = append(all, o)
			}
		}
	}
	return all
}

// extensions returns the extensions of the dialplan with an extension number, each with its first step.
func (h *hostReader) extensions() (all []pbx.HostObject) {
	type name struct{ context, exten string }
	seen := map[name]bool{}
	for _, s := range h.sections {
		for _, e := range s.extens {
			number, ok := pbx.ParseNumber(e.name)
			if !ok || s.shape || seen[name{s.name, e.name}] {
				continue
			}
			seen[name{s.name, e.name}] = true
			all = append(all, pbx.HostObject{Kind: pbx.KindExtension, Number: number, Context: s.name, File: e.file, Line: e.line})
		}
	}
	return all
}

// transportPatience is how long Transports and Codecs wait for Asterisk.
const transportPatience = 500 * time.Millisecond

// Codecs returns the audio codecs of Asterisk, none if it does not answer at once.
func (l *Local) Codecs(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, transportPatience)
	defer cancel()
	names, _ := l.looks.Codecs(ctx) // the portal then goes by a list of its own
	return names
}

// Transports returns the SIP transports of Asterisk, none if it does not answer at once.
func (l *Local) Transports(ctx context.Context) (all []pbx.Transport) {
	ctx, cancel := context.WithTimeout(ctx, transportPatience)
	defer cancel()
	list, _ := l.looks.TransportList(ctx) // doctor reports the error
	for _, t := range list {
		all = append(all, pbx.Transport{Name: t.ID, Protocol: t.Protocol, Address: t.Address})
	}
	return all
}
