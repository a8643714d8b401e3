package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// Grade is the severity of a finding.
type Grade string

// Grades of a finding.
const (
	Good    Grade = "ok"
	Warning Grade = "warning" // works, but needs attention
	Bad     Grade = "broken"  // an apply fails or, if Beside is set, something else does not work
)

// Finding is the result of one check.
type Finding struct {
	Subject string // what was checked, in a few words
	Grade   Grade
	Detail  string // what was found
	Fix     string // what to do, "" if nothing
	Beside  bool   // an apply succeeds all the same
}

// applyModules returns the modules of Asterisk without which no apply is confirmed: they read the files, and report what was loaded.
func applyModules() []string {
	return []string{"res_pjsip.so", "res_sorcery_config.so", "pbx_config.so", "func_sorcery.so", "func_strings.so"}
}

// phoneModules returns the modules without which no generated phone registers or calls.
func phoneModules() []string {
	return []string{
		"chan_pjsip.so", "res_pjsip_session.so", "res_pjsip_registrar.so", "res_pjsip_authenticator_digest.so",
		"res_pjsip_endpoint_identifier_user.so", "res_pjsip_sdp_rtp.so", "res_rtp_asterisk.so", "app_dial.so", "app_exec.so",
	}
}

// libraryModules returns the modules without which calls do not pass through the dialplan library. It is used once there is more than users.
func libraryModules() []string {
	return []string{
		"app_stack.so", "app_userevent.so", "func_channel.so", "func_cut.so", "func_db.so", "func_devstate.so", "func_dialplan.so", "func_groupcount.so",
		"func_logic.so", "func_strings.so",
	}
}

// Examine checks everything an apply on this host needs: folders, permissions, includes, control socket, and Asterisk itself. It changes nothing.
func (l *Local) Examine(ctx context.Context) []Finding {
	var all []Finding
	if info, err := os.Stat(l.dir); err != nil || !info.IsDir() {
		return append(all, Finding{
			Subject: "configuration folder", Grade: Bad, Detail: l.dir + " does not exist, or is not readable",
			Fix: "install Asterisk, or set ASTERISK_CONFIG_DIR to the folder with its pjsip.conf",
		})
	}
	all = append(all, Finding{Subject: "configuration folder", Grade: Good, Detail: l.dir})
	theirs := sync.OnceValue(func() string { return l.theirs(ctx) })
	for _, f := range pbx.GeneratedFiles() {
		if !f.Optional || exists(filepath.Join(l.dir, f.Path)) {
			all = append(all, l.examineFolder(ctx, f.Path))
			if include := l.examineInclude(f, theirs); !slices.Contains(all, include) { // one line includes all files of a folder
				all = append(all, include)
			}
		}
	}
	all = append(all, l.examineSorcery(theirs)...)
	all = append(all, l.examineOptions()...)
	all = append(all, l.examineDrift(ctx)...)
	return append(all, l.examineAsterisk(ctx)...)
}

// examineFolder checks whether the generated file exists, and whether Asterisk may read it.
func (l *Local) examineFolder(ctx context.Context, file string) Finding {
	name := filepath.Join(l.dir, file)
	f := Finding{Subject: "file " + name, Grade: Good, Detail: "is there"}
	if _, err := os.Lstat(name); err != nil {
		f.Grade, f.Detail, f.Fix = Warning, "does not exist yet", "create it, empty, with pbxportal install, before Asterisk includes it"
		return f
	}
	if owner, ok := l.looks.Owner(ctx); ok {
		f.Detail = "may be read by Asterisk"
		if there, err := filepath.EvalSymlinks(name); err == nil {
			if why := unreadable(owner, there); why != "" { // an apply replaces it
				f.Grade, f.Detail, f.Fix, f.Beside = Bad, why, l.rightsFix(ctx), true
			}
		}
	}
	return f
}

// unreadable returns which file or folder in a path prevents Asterisk from reading the file; "" if none does.
func unreadable(owner asterisk.Owner, name string) string {
	if owner.ReadsAll {
		return ""
	}
	right := os.FileMode(0o4) // read the file
	for path := name; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return ""
		}
		if !allows(info, owner, right) {
			return fmt.Sprintf("%s may not be read by Asterisk, which runs as user %d, group %d", path, owner.UID, owner.GID)
		}
		right = 0o1 // traverse a folder
		if path == filepath.Dir(path) {
			return ""
		}
	}
}

// rightsFix returns the command that gives the folders of the generated files, and everything in them, the owner, group and modes that the portal uses itself.
func (l *Local) rightsFix(ctx context.Context) string {
	group, hint := "GROUP", ", where GROUP is the one Asterisk runs as"
	if owner, ok := l.looks.Owner(ctx); ok {
		group, hint = strconv.FormatUint(uint64(owner.GID), 10), ""
	}
	var dirs []string
	for _, dir := range folders() {
		dirs = append(dirs, filepath.Join(l.dir, dir))
	}
	return fmt.Sprintf("as root: mkdir -p %[1]s && chown -R %[2]d:%[3]s %[1]s && find %[1]s -type d -exec chmod 2750 {} + && find %[1]s -type f -exec chmod 640 {} +%[4]s",
		strings.Join(dirs, " "), os.Geteuid(), group, hint)
}

// allows reports whether a user has a permission (of the last three bits of a mode).
func allows(info os.FileInfo, owner asterisk.Owner, right os.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case stat.Uid == owner.UID:
		return info.Mode()>>6&right == right
	case stat.Gid == owner.GID || slices.Contains(owner.Groups, stat.Gid):
		return info.Mode()>>3&right == right
	}
	return info.Mode()&right == right
}

// examineDrift checks for external changes: hand edits, missing links, and files beside ours, such as an editor's copy, which defines every object
// twice; Asterisk then rejects all of PJSIP.
func (l *Local) examineDrift(ctx context.Context) (all []Finding) {
	const subject = "external changes"
	site, err := l.Inspect()
	if err != nil {
		return []Finding{{Subject: subject, Grade: Bad, Detail: err.Error(), Fix: l.rightsFix(ctx)}} // no apply gets further
	}
	for _, d := range site.Drift {
		all = append(all, Finding{Subject: subject, Grade: Bad, Detail: d.String(), Fix: d.Fix()})
	}
	if len(all) == 0 {
		all = append(all, Finding{Subject: subject, Grade: Good, Detail: "none"})
	}
	return all
}

// examineInclude checks whether the administrator's file includes ours; theirs returns the configuration folder as Asterisk names it.
func (l *Local) examineInclude(f pbx.GeneratedFile, theirs func() string) Finding {
	parent, file := f.Parent, f.Path
	name, subject := filepath.Join(l.dir, parent), "include in "+parent
	want := "#include " + path.Dir(file) + "/*.conf"
	text, _, err := regular.Read(name, largestConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Finding{Subject: subject, Grade: Bad, Detail: name + " does not exist", Fix: "create it, with the line " + want}
	case errors.Is(err, fs.ErrPermission):
		return Finding{Subject: subject, Grade: Warning, Detail: err.Error(), Fix: "give the portal's user read permission, so that this can be checked"}
	case err != nil: // Asterisk fails here, too
		return Finding{Subject: subject, Grade: Bad, Detail: err.Error(), Fix: "create a readable file there, with the line " + want}
	}
	seen := &includes{seen: map[string]bool{}, categories: map[string]bool{}, theirs: theirs}
	line := l.include(name, string(text), f, seen)
	if f.Module == pbx.PJSIP {
		h, _ := l.readHost(parent, theirs) // as far as it could be read
		if s, kind := h.again(); s != nil {
			seen.fault(fmt.Sprintf("%s, line %d: [%s] defines this %s a second time", s.file, s.line, s.name, kind))
		}
	}
	switch {
	case seen.undefined != "":
		return Finding{
			Subject: subject, Grade: Bad, Detail: seen.undefined + ": Asterisk rejects the whole file",
			Fix: "correct it: a section that refers to one of the portal's belongs below the line " + want,
		}
	case line != "":
		return Finding{Subject: subject, Grade: Good, Detail: line}
	case f.Module == pbx.PJSIP && l.sorceryNames(file, theirs):
		return Finding{Subject: subject, Grade: Good, Detail: "sorcery.conf names the file"}
	}
	return Finding{Subject: subject, Grade: Bad, Detail: name + " does not include " + file, Fix: "first create the files with pbxportal install, then add this line at its end and reload: " + want}
}

// plainLines returns the numbered lines of a configuration file as Asterisk reads them: without comments, surrounding blanks and a byte order mark.
func plainLines(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		depth, number := 0, 0
		for raw := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
			number++
			var line string
			if line, depth = uncommented(raw, depth); line != "" && !yield(number, line) {
				return
			}
		}
	}
}

// include returns the first line of a text that includes the file, by name or by a pattern, directly or through another included file; "" if there is
// none. It reads the text to its end: Asterisk rejects all of it for a fault in any line.
func (l *Local) include(from, text string, f pbx.GeneratedFile, others *includes) (first string) {
	file := filepath.Join(l.dir, f.Path)
	for number, line := range plainLines(text) {
		if strings.HasPrefix(line, "[") {
			others.category(fmt.Sprintf("%s, line %d", from, number), line)
			continue
		}
		pattern, must, ok := included(line)
		if !ok {
			if line[0] != '#' && len(others.categories) == 0 {
				others.fault(fmt.Sprintf("%s, line %d: this line is in no section", from, number))
			}
			continue
		}
		pattern = l.here(pattern, others.theirs)
		matched, nowhere, names := false, must && strings.HasPrefix(pattern+"/", l.dir+"/"), []string(nil)
		for _, one := range alternatives(pattern) {
			is, _ := filepath.Match(one, file) // the only error is a bad pattern
			found := others.matching(one)
			matched, nowhere, names = matched || is, nowhere && !is && leadsNowhere(one, found), append(names, found...)
		}
		switch {
		case matched && others.ours:
			others.fault(fmt.Sprintf("%s, line %d: %s reads the portal's file a second time", from, number, line))
		case nowhere:
			others.fault(fmt.Sprintf("%s, line %d: %s leads to no file", from, number, line))
		}
		if matched {
			first, others.ours = cmp.Or(first, line), f.Module == pbx.PJSIP
		}
		for _, name := range names {
			if l.include(name, others.read(name), f, others) != "" {
				first = cmp.Or(first, line)
			}
		}
	}
	return first
}

// leadsNowhere reports whether a file, or every file of a pattern that these names match, is certainly missing.
func leadsNowhere(pattern string, names []string) bool {
	where := pattern
	if isPattern(pattern) {
		where = filepath.Dir(pattern)
		if len(names) > 0 || isPattern(where) {
			return false
		}
		if _, err := regular.Names(where, regular.MaxNames); err == nil {
			return true
		}
	}
	info, err := os.Stat(where)
	return errors.Is(err, fs.ErrNotExist) || err == nil && where == pattern && !info.Mode().IsRegular()
}

// largestConfig is more than the size of any configuration file of Asterisk, and mostIncludes more than their number.
const (
	largestConfig = 8 << 20
	mostIncludes  = 1000
)

// includes are the files that have been examined, each once: files may include each other in a cycle.
type includes struct {
	seen       map[string]bool
	folders    int             // that were listed
	theirs     func() string   // returns the configuration folder as Asterisk names it
	categories map[string]bool // that were defined so far, in lower case; false: only as templates
	undefined  string          // the first line that Asterisk rejects, for instance one that refers to an undefined section
	ours       bool            // the portal's file with PJSIP objects has been included
}

// category records a section and what it refers to: [name](+) adds to a section that must precede it, [name](other) inherits from one.
func (o *includes) category(at, line string) {
	name, options, closed := sectionHead(line)
	if !closed {
		o.fault(at + ": " + line + " has no ] or no )")
	}
	for _, option := range options {
		needs, adds := option, strings.HasPrefix(option, "+")
		if adds {
			needs = name
		}
		_, user := pbx.ParseNumber(needs)
		switch {
		case needs == "!" || o.defined(needs, !adds || strings.Contains(option, "TEMPLATES=")) || o.ours && user: // whether a user has the number, the plan says
		case needs == name && name == pbx.Context:
			o.fault(fmt.Sprintf("[%s](+) adds to the portal's context before it is defined (%s)", name, at))
		default:
			o.fault(fmt.Sprintf("%s: %s refers to [%s], which is not defined above it", at, line, needs))
		}
	}
	key := strings.ToLower(name)
	o.categories[key] = o.categories[key] || !slices.Contains(options, "!")
}

// defined reports whether a section of a name, in upper or lower case, was defined so far, or a template if these count. As in Asterisk an empty name is that
// of any section.
func (o *includes) defined(name string, templates bool) bool {
	if name != "" {
		object, known := o.categories[strings.ToLower(name)]
		return known && (templates || object)
	}
	for _, object := range o.categories {
		if templates || object {
			return true
		}
	}
	return false
}

// fault records a line that Asterisk rejects.
func (o *includes) fault(what string) { o.undefined = cmp.Or(o.undefined, what) }

// theirs returns the configuration folder as Asterisk names it: in a container it may have another name than here. If Asterisk does not answer, both are
// assumed to be the same.
func (l *Local) theirs(ctx context.Context) string {
	dir, err := l.looks.WithTimeout(stateTimeout).ConfigDir(ctx)
	if err != nil {
		return l.dir
	}
	return dir
}

// here returns the path on this host of a file, or a pattern of files, that Asterisk's configuration names. theirs is called only for an absolute path.
func (l *Local) here(name string, theirs func() string) string {
	if !filepath.IsAbs(name) {
		return filepath.Join(l.dir, name)
	}
	if inside, is := strings.CutPrefix(filepath.Clean(name), filepath.Clean(theirs())+"/"); is {
		return filepath.Join(l.dir, inside)
	}
	return name
}

func isPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// alternatives returns the patterns, at most mostIncludes, that a pattern with braces stands for, in the way of Asterisk (glob, with GLOB_BRACE): a{b,c}
// is ab and ac. A brace that is never closed stands for itself.
func alternatives(pattern string) (all []string) {
	for left := []string{pattern}; len(left) > 0; left = left[:min(len(left), mostIncludes-len(all))] {
		next := left[0]
		left = left[1:]
		if several := unbraced(next); several != nil {
			left = append(several, left...)
		} else {
			all = append(all, next)
		}
	}
	return all
}

// unbraced returns the alternatives of the first braces in a pattern, nil if it has none.
func unbraced(pattern string) (all []string) {
	begin := strings.IndexByte(pattern, '{')
	from, depth := begin+1, 0
	for i := from; begin >= 0 && i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}', c == ',' && depth == 0:
			all = append(all, pattern[:begin]+pattern[from:i])
			if from = i + 1; c == ',' {
				continue
			}
			for k := range all {
				all[k] += pattern[from:]
			}
			return all
		}
	}
	return nil
}

// matching returns the files that match a pattern without braces.
func (o *includes) matching(pattern string) []string {
	if !isPattern(pattern) {
		return []string{pattern}
	}
	names, _ := fs.Glob(o, strings.TrimPrefix(filepath.Clean(pattern), "/")) // the only error is a bad pattern
	for i := range names {
		names[i] = "/" + names[i]
	}
	return names
}

// Open, Stat and ReadDir let fs.Glob read the disk, within limits.
func (o *includes) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// Stat is for the plain elements of a pattern.
func (o *includes) Stat(name string) (fs.FileInfo, error) { return os.Stat("/" + name) }

// ReadDir is for the other elements.
func (o *includes) ReadDir(name string) (entries []fs.DirEntry, err error) {
	if o.folders++; o.folders > mostIncludes {
		return nil, fs.ErrPermission
	}
	names, err := regular.Names("/"+name, regular.MaxNames)
	for _, n := range names {
		entries = append(entries, entryNamed(n))
	}
	return entries, err
}

// entryNamed is a directory entry of which only the name is used.
type entryNamed string

func (e entryNamed) Name() string             { return string(e) }
func (entryNamed) IsDir() bool                { return false }
func (entryNamed) Type() fs.FileMode          { return 0 }
func (entryNamed) Info() (fs.FileInfo, error) { return nil, fs.ErrPermission }

// read returns the text of a file that was not read before, "" otherwise and if it cannot be read.
func (o *includes) read(name string) string {
	if o.seen[name] || len(o.seen) == mostIncludes {
		return ""
	}
	o.seen[name] = true
	text, _, _ := regular.Read(name, largestConfig) // an unreadable file includes nothing
	return string(text)
}

// sorceryFiles returns where sorcery.conf has Asterisk look for each type of object that the portal writes: the wizards with their arguments, none for a
// type that is left to pjsip.conf.
func (l *Local) sorceryFiles() map[string][]string {
	text, _, _ := regular.Read(filepath.Join(l.dir, "sorcery.conf"), largestConfig) // without it the defaults apply
	found, inside := map[string][]string{}, false
	for _, line := range plainLines(string(text)) {
		if strings.HasPrefix(line, "[") {
			inside = strings.HasPrefix(line, "[res_pjsip]")
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); inside && slices.Contains(pbx.UserTypes(), key) { // not endpoint/cache, which keeps copies
			found[key] = append(found[key], strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(value), ">")), " ", ""))
		}
	}
	return found
}

// reads reports whether a wizard reads the objects of a type from a file of the configuration folder.
func (l *Local) reads(wizard, kind, file string, theirs func() string) bool {
	parts := strings.Split(wizard, ",")
	if len(parts) < 2 || parts[0] != "config" || l.here(parts[1], theirs) != filepath.Join(l.dir, file) {
		return false
	}
	return !slices.ContainsFunc(parts[2:], func(p string) bool { return strings.HasPrefix(p, "criteria=") && p != "criteria=type="+kind })
}

// sorceryNames reports whether sorcery.conf has all our objects read from the file itself.
func (l *Local) sorceryNames(file string, theirs func() string) bool {
	wizards := l.sorceryFiles()
	return !slices.ContainsFunc(pbx.UserTypes(), func(kind string) bool {
		return !slices.ContainsFunc(wizards[kind], func(w string) bool { return l.reads(w, kind, file, theirs) })
	})
}

// examineSorcery checks for types of objects that Asterisk looks for elsewhere than in pjsip.conf or our file.
func (l *Local) examineSorcery(theirs func() string) (all []Finding) {
	wizards := l.sorceryFiles()
	for _, kind := range slices.Sorted(maps.Keys(wizards)) {
		if !slices.ContainsFunc(wizards[kind], func(w string) bool {
			return l.reads(w, kind, "pjsip.conf", theirs) || l.reads(w, kind, pbx.PJSIPPath, theirs)
		}) {
			all = append(all, Finding{
				Subject: "sorcery.conf", Grade: Bad, Detail: fmt.Sprintf("Asterisk looks for each %s in %s, and not in pjsip.conf, which includes the portal's file", kind, strings.Join(wizards[kind], " and ")),
				Fix: "add the line " + kind + " = config,pjsip.conf,criteria=type=" + kind + " to its section [res_pjsip], above the others, and restart Asterisk",
			})
		}
	}
	return all
}

// examineOptions checks for options of asterisk.conf that let a text in a file, or an external value, start a program. The portal does not need them,
// and each would turn a minor vulnerability elsewhere into a major one.
func (l *Local) examineOptions() (all []Finding) {
	text, _, err := regular.Read(filepath.Join(l.dir, "asterisk.conf"), largestConfig)
	if other, ok := errors.AsType[*regular.Error](err); ok {
		return []Finding{{Subject: "options in asterisk.conf", Grade: Warning, Detail: other.Error(), Fix: "restore Asterisk's own file"}}
	}
	if err != nil {
		return nil // it is elsewhere, or not readable
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, ";")
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "[") {
			inside = strings.HasPrefix(line, "[options]")
		}
		key, value, _ := strings.Cut(line, "=")
		value = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(value, ">")))
		if !inside || !slices.Contains([]string{"yes", "true", "y", "t", "1", "on"}, value) { // what Asterisk takes for true
			continue
		}
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "execincludes":
			all = append(all, Finding{
				Subject: "options in asterisk.conf", Grade: Warning, Detail: "execincludes is on: a line #exec in any of Asterisk's files starts a program",
				Fix: "set execincludes = no, and restart Asterisk, unless files of your own need it",
			})
		case "live_dangerously":
			all = append(all, Finding{
				Subject: "options in asterisk.conf", Grade: Warning, Detail: "live_dangerously is on: any client that can set a variable, over AMI for instance, can start programs",
				Fix: "set live_dangerously = no, and restart Asterisk, unless something of your own needs it",
			})
		}
	}
	return all
}

// real returns the configuration folder with links resolved.
func (l *Local) real() string {
	if there, err := filepath.EvalSymlinks(l.dir); err == nil {
		return there
	}
	return l.dir
}

// examineAsterisk checks the running Asterisk.
func (l *Local) examineAsterisk(ctx context.Context) []Finding {
	subject := "Asterisk at " + l.control.Target()
	version, err := l.looks.Version(ctx)
	if err != nil && l.control.ThroughCommand() {
		return []Finding{{
			Subject: subject, Grade: Bad, Detail: err.Error(),
			Fix: "run the command of ASTERISK_CONTROL by hand, as the portal's user: " + l.control.Target() + " -rx 'core show version'. It must print Asterisk's answer and nothing else; " +
				"of the portal's environment it gets PATH, HOME, DOCKER_… and the like (docs/install.md lists them), which a service is given with systemctl edit pbxportal",
		}}
	}
	if err != nil {
		return []Finding{{
			Subject: subject, Grade: Bad, Detail: err.Error(),
			Fix: "start Asterisk; if it runs, give the portal's user access to the socket: in asterisk.conf, section [files], set astctlpermissions=0660 " +
				"and astctlgroup=asterisk, restart Asterisk, and put the user into the group asterisk",
		}}
	}
	all := []Finding{{Subject: subject, Grade: Good, Detail: "version " + version}}
	if !strings.HasPrefix(version, "22.") {
		all[0].Grade, all[0].Fix = Warning, "the portal is tested with Asterisk 22; an option that this one lacks is named at the end"
	}
	loaded, err := l.looks.Modules(ctx)
	if err != nil { // an apply gets no answer either
		return append(all, Finding{Subject: "modules", Grade: Bad, Detail: err.Error(), Fix: "run in Asterisk's console: module show"})
	}
	lacks := func(wanted []string) []string {
		return slices.DeleteFunc(wanted, func(m string) bool { return slices.Contains(loaded, m) })
	}
	// If the file that Asterisk reads can be seen, the rehearsal says whether it is ours; a container has names of its own.
	if dir, err := l.looks.ConfigDir(ctx); err != nil {
		all = append(all, Finding{Subject: "folder Asterisk reads", Grade: Warning, Detail: err.Error(), Fix: "run in Asterisk's console: core show settings"})
	} else if there, err := filepath.EvalSymlinks(dir); err == nil && there != l.real() && !slices.Contains(loaded, configModule) {
		all = append(all, l.otherFolder(dir))
	}
	switch transports, err := l.looks.Transports(ctx); {
	case err != nil:
		all = append(all, Finding{Subject: "transport", Grade: Warning, Detail: err.Error(), Fix: "run in Asterisk's console: pjsip list transports"})
	case len(transports) == 0:
		all = append(all, Finding{
			Subject: "transport", Grade: Bad, Detail: "Asterisk has no PJSIP transport: no phone can reach it", Beside: true,
			Fix: "add one to pjsip.conf and restart Asterisk: [transport-udp], type=transport, protocol=udp, bind=0.0.0.0",
		})
	}
	const fix = "load them in modules.conf, and restart Asterisk"
	missing, phones := lacks(applyModules()), lacks(phoneModules())
	if len(missing) > 0 {
		all = append(all, Finding{Subject: "modules", Grade: Bad, Detail: "not loaded: " + strings.Join(missing, ", ") + "; no apply is confirmed without", Fix: fix})
	}
	if len(phones) > 0 {
		all = append(all, Finding{Subject: "modules", Grade: Bad, Detail: "not loaded: " + strings.Join(phones, ", ") + "; phones need them", Fix: fix, Beside: true})
	}
	if routines := lacks(libraryModules()); len(routines) > 0 && exists(filepath.Join(l.dir, pbx.LibraryPath)) {
		all = append(all, Finding{Subject: "modules", Grade: Bad, Detail: "not loaded: " + strings.Join(routines, ", ") + "; every call needs them once there is more than users", Fix: fix, Beside: true})
	}
	if len(missing)+len(phones) == 0 {
		all = append(all, Finding{Subject: "modules", Grade: Good, Detail: fmt.Sprintf("all %d that an apply and phones need are loaded", len(applyModules())+len(phoneModules()))})
	}
	return all
}

// otherFolder returns the finding for an Asterisk that reads another configuration folder.
func (l *Local) otherFolder(dir string) Finding {
	return Finding{
		Subject: "folder Asterisk reads", Grade: Bad, Detail: "this Asterisk reads " + dir + ", not " + l.dir,
		Fix: "set ASTERISK_CONFIG_DIR=" + dir + ", or ASTERISK_CONTROL to the socket of the Asterisk that reads " + l.dir,
	}
}
