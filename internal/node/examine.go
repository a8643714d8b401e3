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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/pbx"
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
		"res_pjsip_endpoint_identifier_user.so", "res_pjsip_sdp_rtp.so", "res_rtp_asterisk.so", "pbx_config.so", "app_dial.so",
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
		all = append(all, l.examineFolder(part.file), l.examineForeign(part.file), l.examineInclude(part.parent, part.file))
	}
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
			fmt.Sprintf("as root: install -d -o %s -g asterisk -m 2750 %s", userOf(os.Geteuid()), dir),
		}
	}
	if existing != dir {
		return Finding{"folder " + dir, Odd, "is not there yet", "nothing: the first apply makes it; Asterisk must not start with the include before that"}
	}
	return Finding{Subject: "folder " + dir, Grade: Good, Detail: "may be written"}
}

// userOf gives the number of a user in the form that install(1) takes.
func userOf(uid int) string { return strconv.Itoa(uid) }

// examineForeign looks for files in our folder that are not ours: an editor's copy defines every object twice, and Asterisk then
// refuses all of PJSIP.
func (l *Local) examineForeign(file string) Finding {
	subject := "files beside " + file
	foreign, _ := filepath.Glob(filepath.Join(l.dir, filepath.Dir(file), "*.conf")) // the only error is a bad pattern
	foreign = slices.DeleteFunc(foreign, func(p string) bool { return filepath.Base(p) == path.Base(file) })
	if len(foreign) > 0 {
		return Finding{
			subject, Odd, strings.Join(foreign, ", "),
			"see that they define none of the portal's objects, or move them away: Asterisk refuses a file with the same object twice",
		}
	}
	return Finding{Subject: subject, Grade: Good, Detail: "none"}
}

// examineInclude asks whether the administrator's file includes ours.
func (l *Local) examineInclude(parent, file string) Finding {
	name := filepath.Join(l.dir, parent)
	want := "#include " + path.Dir(file) + "/*.conf"
	text, err := os.ReadFile(name) //nolint:gosec // a fixed name below the administrator's folder
	if errors.Is(err, fs.ErrNotExist) {
		return Finding{"include in " + parent, Bad, name + " is not there", "create it, with the line " + want}
	}
	if err != nil {
		return Finding{"include in " + parent, Odd, err.Error(), "let the portal's user read it, so that this can be checked"}
	}
	for line := range strings.Lines(string(text)) {
		if l.includes(line, file) {
			return Finding{Subject: "include in " + parent, Grade: Good, Detail: strings.TrimSpace(line)}
		}
	}
	if parent == "pjsip.conf" && l.sorceryNames(file) {
		return Finding{Subject: "include in " + parent, Grade: Good, Detail: "sorcery.conf names the file"}
	}
	return Finding{"include in " + parent, Bad, name + " does not include " + file, "add this line at its end, then reload: " + want}
}

// includes reports whether a line is an #include that takes in the file: by its name or by a pattern, relative or absolute.
func (l *Local) includes(line, file string) bool {
	line, _, _ = strings.Cut(strings.TrimSpace(line), ";")
	word, rest, ok := strings.Cut(line, " ")
	if !ok || word != "#include" && word != "#tryinclude" {
		return false
	}
	pattern := strings.Trim(strings.TrimSpace(rest), `"<>`)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(l.dir, pattern)
	}
	matched, err := filepath.Match(pattern, filepath.Join(l.dir, file))
	return err == nil && matched
}

// sorceryNames reports whether sorcery.conf maps PJSIP objects to the file itself.
func (l *Local) sorceryNames(file string) bool {
	text, err := os.ReadFile(filepath.Join(l.dir, "sorcery.conf"))
	return err == nil && strings.Contains(string(text), "config,"+file)
}

// examineAsterisk asks the running Asterisk.
func (l *Local) examineAsterisk(ctx context.Context) []Finding {
	version, err := l.control.Version(ctx)
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
	loaded, err := l.control.Modules(ctx)
	if err != nil {
		return append(all, Finding{"modules", Odd, err.Error(), "run in Asterisk's console: module show"})
	}
	missing := slices.DeleteFunc(wantedModules(), func(m string) bool { return slices.Contains(loaded, m) })
	if len(missing) > 0 {
		return append(all, Finding{"modules", Bad, "not loaded: " + strings.Join(missing, ", "), "load them in modules.conf, and restart Asterisk"})
	}
	return append(all, Finding{Subject: "modules", Grade: Good, Detail: fmt.Sprintf("all %d that phones need are loaded", len(wantedModules()))})
}
