package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// Grade says how bad a finding is.
type Grade string

// The grades of a finding.
const (
	Good Grade = "ok"
	Odd  Grade = "warning" // works, but look at it
	Bad  Grade = "broken"  // an apply will not succeed, or not take effect
)

// Finding is one thing that was examined.
type Finding struct {
	Subject string // what was looked at, in a few words
	Grade   Grade
	Detail  string // what was seen
	Cure    string // what to do, "" when nothing
}

// wantedModules are the modules of Asterisk without which no generated phone registers or calls.
func wantedModules() []string {
	return []string{
		"res_pjsip.so", "chan_pjsip.so", "res_pjsip_session.so", "res_pjsip_registrar.so", "res_pjsip_authenticator_digest.so",
		"res_pjsip_endpoint_identifier_user.so", "res_pjsip_sdp_rtp.so", "res_rtp_asterisk.so", "pbx_config.so", "app_dial.so", "app_exec.so",
	}
}

// Examine looks at everything an apply on this host needs: folders, rights, includes, control socket, and Asterisk itself. It changes
// nothing.
func (l *Local) Examine(ctx context.Context) []Finding {
	var all []Finding
	if info, err := os.Stat(l.dir); err != nil || !info.IsDir() {
		return append(all, Finding{
			"configuration folder", Bad, l.dir + " is not there, or may not be read",
			"install Asterisk, or set ASTERISK_CONFIG_DIR to the folder with its pjsip.conf",
		})
	}
	all = append(all, Finding{Subject: "configuration folder", Grade: Good, Detail: l.dir})
	for _, part := range []struct{ parent, file string }{{"pjsip.conf", pbx.PJSIPPath}, {"extensions.conf", pbx.DialplanPath}} {
		all = append(all, l.examineFolder(part.file), l.examineInclude(part.parent, part.file))
	}
	all = append(all, l.examineOptions()...)
	all = append(all, l.examineDrift()...)
	return append(all, l.examineAsterisk(ctx)...)
}

// examineFolder asks whether the generated file can be written.
func (l *Local) examineFolder(file string) Finding {
	dir := filepath.Join(l.dir, filepath.Dir(file))
	existing := dir
	for {
		if _, err := os.Stat(existing); err == nil || existing == l.dir {
			break
		}
		existing = filepath.Dir(existing)
	}
	if err := unix.Access(existing, unix.W_OK|unix.X_OK); err != nil {
		return Finding{
			"folder " + dir, Bad, existing + " may not be written: " + err.Error(),
			fmt.Sprintf("as root: install -d -o %d -g GROUP -m 2750 %s, where GROUP is the one Asterisk runs as", os.Geteuid(), dir),
		}
	}
	if state, err := l.tree.State(); err == nil && state.Current == 0 && !exists(filepath.Join(l.dir, file)) {
		return Finding{"file " + filepath.Join(l.dir, file), Odd, "is not there yet", "pbxportal install makes it, empty; do that before Asterisk includes it"}
	}
	return l.examineReader(file)
}

// examineReader asks whether Asterisk, which runs as whoever owns its control socket, may read the generated file.
func (l *Local) examineReader(file string) Finding {
	name := filepath.Join(l.dir, file)
	f := Finding{Subject: "file " + name, Grade: Good, Detail: "may be written, and read by Asterisk"}
	socket, err := os.Stat(l.control.Target())
	if err != nil {
		f.Detail = "may be written"
		return f
	}
	asterisk, ok := socket.Sys().(*syscall.Stat_t)
	there, err := filepath.EvalSymlinks(name)
	if err != nil || !ok { // so nobody has looked whether it may be read
		f.Detail = "may be written"
		return f
	}
	if asterisk.Uid == 0 {
		return f
	}
	for path := there; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return Finding{f.Subject, Odd, err.Error(), ""}
		}
		right := os.FileMode(0o4) // read a file
		if info.IsDir() {
			right = 0o1 // pass through a folder
		}
		if !allows(info, asterisk.Uid, asterisk.Gid, right) {
			return Finding{
				f.Subject, Bad, fmt.Sprintf("%s may not be read by Asterisk, which runs as user %d, group %d", path, asterisk.Uid, asterisk.Gid),
				fmt.Sprintf("as root: chgrp %d %s, and chmod g+rX %s", asterisk.Gid, path, path),
			}
		}
		if path == filepath.Dir(path) {
			return f
		}
	}
}

// allows reports whether a user of a group has a right (of the last three bits of a mode) to something.
func allows(info os.FileInfo, uid, gid uint32, right os.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case stat.Uid == uid:
		return info.Mode()>>6&right == right
	case stat.Gid == gid:
		return info.Mode()>>3&right == right
	}
	return info.Mode()&right == right
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// examineDrift looks for what others changed: hand edits, links that are gone, and files beside ours, such as an editor's copy, which
// defines every object twice; Asterisk then refuses all of PJSIP.
func (l *Local) examineDrift() (all []Finding) {
	const subject = "changes by others"
	site, err := l.Inspect()
	if err != nil {
		return []Finding{{subject, Odd, err.Error(), "let the portal's user read the folders of the generated files"}}
	}
	for _, d := range site.Drift {
		all = append(all, Finding{subject, Bad, d.String(), d.Cure()})
	}
	if len(all) == 0 {
		all = append(all, Finding{Subject: subject, Grade: Good, Detail: "none"})
	}
	return all
}

// examineInclude asks whether the administrator's file includes ours.
func (l *Local) examineInclude(parent, file string) Finding {
	name := filepath.Join(l.dir, parent)
	want := "#include " + path.Dir(file) + "/*.conf"
	text, _, err := regular.Read(name, largestConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return Finding{"include in " + parent, Bad, name + " is not there", "create it, with the line " + want}
	}
	if errors.Is(err, fs.ErrPermission) {
		return Finding{"include in " + parent, Odd, err.Error(), "let the portal's user read it, so that this can be checked"}
	}
	if err != nil { // Asterisk does not get further with it either
		return Finding{"include in " + parent, Bad, err.Error(), "put a file there that can be read, with the line " + want}
	}
	if line := l.include(string(text), file, &includes{seen: map[string]bool{}}); line != "" {
		return Finding{Subject: "include in " + parent, Grade: Good, Detail: line}
	}
	if parent == "pjsip.conf" && l.sorceryNames(file) {
		return Finding{Subject: "include in " + parent, Grade: Good, Detail: "sorcery.conf names the file"}
	}
	return Finding{"include in " + parent, Bad, name + " does not include " + file, "first make the files with pbxportal install, then add this line at its end and reload: " + want}
}

// include gives the line of a text that takes in the file, by its name or by a pattern, itself or through another included file; "" when
// there is none.
func (l *Local) include(text, file string, others *includes) string {
	comment := false // of several lines
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case comment:
			comment = !strings.Contains(line, "--;")
			continue
		case strings.HasPrefix(line, ";--") && !strings.HasPrefix(line, ";---"):
			comment = !strings.Contains(line[3:], "--;")
			continue
		}
		line, _, _ = strings.Cut(line, ";")
		words := strings.Fields(line)
		if len(words) != 2 || words[0] != "#include" && words[0] != "#tryinclude" {
			continue
		}
		pattern := strings.Trim(words[1], `"<>`)
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(l.dir, pattern)
		}
		if matched, err := filepath.Match(pattern, filepath.Join(l.dir, file)); err == nil && matched {
			return strings.TrimSpace(line)
		}
		for _, name := range others.matching(pattern) {
			if l.include(others.read(name), file, others) != "" {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// largestConfig is more than a file of Asterisk's configuration has, and mostIncludes more than there are of them.
const (
	largestConfig = 8 << 20
	mostIncludes  = 1000
)

// includes are the files that were looked into, each once: files may include each other in a circle.
type includes struct {
	seen    map[string]bool
	folders int // that were listed
}

// matching gives the files that a pattern stands for.
func (o *includes) matching(pattern string) []string {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}
	}
	names, _ := fs.Glob(o, strings.TrimPrefix(filepath.Clean(pattern), "/")) // the only error is a bad pattern
	for i := range names {
		names[i] = "/" + names[i]
	}
	return names
}

// Open, Stat and ReadDir let fs.Glob look at the disk, within bounds.
func (o *includes) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// Stat is for the parts of a pattern that are plain names.
func (o *includes) Stat(name string) (fs.FileInfo, error) { return os.Stat("/" + name) }

// ReadDir is for the parts that are not.
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

// entryNamed is an entry of which only the name is asked.
type entryNamed string

func (e entryNamed) Name() string             { return string(e) }
func (entryNamed) IsDir() bool                { return false }
func (entryNamed) Type() fs.FileMode          { return 0 }
func (entryNamed) Info() (fs.FileInfo, error) { return nil, fs.ErrPermission }

// read gives the text of a file that was not read before, "" where there is none to read.
func (o *includes) read(name string) string {
	if o.seen[name] || len(o.seen) == mostIncludes {
		return ""
	}
	o.seen[name] = true
	text, _, _ := regular.Read(name, largestConfig) // what cannot be read includes nothing
	return string(text)
}

// sorceryNames reports whether sorcery.conf maps PJSIP objects to the file itself.
func (l *Local) sorceryNames(file string) bool {
	text, _, err := regular.Read(filepath.Join(l.dir, "sorcery.conf"), largestConfig)
	return err == nil && strings.Contains(string(text), "config,"+file)
}

// examineOptions looks for options of asterisk.conf that let a text in a file, or a value of somebody else's, start a program. Nothing of
// ours needs them, and each would make a small hole elsewhere a large one.
func (l *Local) examineOptions() (all []Finding) {
	text, _, err := regular.Read(filepath.Join(l.dir, "asterisk.conf"), largestConfig)
	if other, ok := errors.AsType[*regular.Error](err); ok {
		return []Finding{{"options in asterisk.conf", Odd, other.Error(), "put Asterisk's own file back"}}
	}
	if err != nil {
		return nil // it lies elsewhere, or is not for us to read
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
				"options in asterisk.conf", Odd, "execincludes is on: a line #exec in any of Asterisk's files starts a program",
				"set execincludes = no, and restart Asterisk, unless files of your own need it",
			})
		case "live_dangerously":
			all = append(all, Finding{
				"options in asterisk.conf", Odd, "live_dangerously is on: whoever may set a variable, over AMI for instance, can start programs",
				"set live_dangerously = no, and restart Asterisk, unless something of your own needs it",
			})
		}
	}
	return all
}

// real is the configuration folder without links in its name.
func (l *Local) real() string {
	if there, err := filepath.EvalSymlinks(l.dir); err == nil {
		return there
	}
	return l.dir
}

// examineAsterisk asks the running Asterisk.
func (l *Local) examineAsterisk(ctx context.Context) []Finding {
	version, err := l.looks.Version(ctx)
	if err != nil && l.control.ThroughCommand() {
		return []Finding{{
			"Asterisk at " + l.control.Target(), Bad, err.Error(),
			"run the command of ASTERISK_CONTROL by hand, as the portal's user: " + l.control.Target() + " -rx 'core show version'. It must print what Asterisk answers and nothing else; " +
				"of the portal's environment it gets PATH, HOME, DOCKER_… and the like (docs/install.md lists them), which a service is given with systemctl edit pbxportal",
		}}
	}
	if err != nil {
		return []Finding{{
			"Asterisk at " + l.control.Target(), Bad, err.Error(),
			"start Asterisk; if it runs, let the portal's user at the socket: in asterisk.conf, section [files], set astctlpermissions=0660 " +
				"and astctlgroup=asterisk, restart Asterisk, and put the user into the group asterisk",
		}}
	}
	all := []Finding{{Subject: "Asterisk at " + l.control.Target(), Grade: Good, Detail: "version " + version}}
	if !strings.HasPrefix(version, "22.") {
		all[0].Grade, all[0].Cure = Odd, "the portal is tested with Asterisk 22; older ones lack options it writes"
	}
	if dir, err := l.looks.ConfigDir(ctx); err != nil {
		all = append(all, Finding{"folder Asterisk reads", Odd, err.Error(), "run in Asterisk's console: core show settings"})
	} else if there, err := filepath.EvalSymlinks(dir); err == nil && there != l.real() {
		all = append(all, Finding{
			"folder Asterisk reads", Bad, "this Asterisk reads " + dir + ", not " + l.dir,
			"set ASTERISK_CONFIG_DIR=" + dir + ", or ASTERISK_CONTROL to the socket of the Asterisk that reads " + l.dir,
		})
	}
	switch transports, err := l.looks.Transports(ctx); {
	case err != nil:
		all = append(all, Finding{"transport", Odd, err.Error(), "run in Asterisk's console: pjsip list transports"})
	case len(transports) == 0:
		all = append(all, Finding{
			"transport", Bad, "Asterisk has no PJSIP transport: no phone can reach it",
			"add one to pjsip.conf and restart Asterisk: [transport-udp], type=transport, protocol=udp, bind=0.0.0.0",
		})
	}
	loaded, err := l.looks.Modules(ctx)
	if err != nil {
		return append(all, Finding{"modules", Odd, err.Error(), "run in Asterisk's console: module show"})
	}
	missing := slices.DeleteFunc(wantedModules(), func(m string) bool { return slices.Contains(loaded, m) })
	if len(missing) > 0 {
		return append(all, Finding{"modules", Bad, "not loaded: " + strings.Join(missing, ", "), "load them in modules.conf, and restart Asterisk"})
	}
	return append(all, Finding{Subject: "modules", Grade: Good, Detail: fmt.Sprintf("all %d that phones need are loaded", len(wantedModules()))})
}
