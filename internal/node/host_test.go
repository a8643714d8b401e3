package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// newHostSite returns a site whose directory checks which numbers the host uses, as in the program.
func newHostSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.directory = s.directory.WithHost(s.engine.LookAtHost)
	return s
}

// above inserts text into a file of Asterisk's configuration, above its last line, the #include of the portal's files.
func (s *site) above(t *testing.T, name, text string) {
	t.Helper()
	s.rewrite(t, name, func(old string) string {
		at := strings.LastIndex(strings.TrimSpace(old), "\n") + 1
		return old[:at] + text + old[at:]
	})
}

// without removes text from a file of Asterisk's configuration.
func (s *site) without(t *testing.T, name, text string) {
	t.Helper()
	s.rewrite(t, name, func(old string) string { return strings.Replace(old, text, "", 1) })
}

func (s *site) rewrite(t *testing.T, name string, change func(string) string) {
	t.Helper()
	name = filepath.Join(s.asterisk.ConfigDir, name)
	old, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(change(string(old))), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// console runs a command in Asterisk's console, as an administrator does.
func (s *site) console(t *testing.T, command string) {
	t.Helper()
	if reply, err := s.asterisk.Control().Run(t.Context(), command); err != nil || reply.Fault != asterisk.FaultNone || strings.Contains(reply.Stdout, "No such") {
		t.Fatalf("%s: %+v, %v", command, reply, err)
	}
}

// generated returns both generated files as they are read now.
func (s *site) generated(t *testing.T) (text string) {
	t.Helper()
	for _, path := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
		content, err := os.ReadFile(filepath.Join(s.asterisk.ConfigDir, path))
		if err != nil {
			t.Fatal(err)
		}
		text += string(content)
	}
	return text
}

// refused applies, and checks that the apply is refused for a clash that the message describes with all of the texts, and that nothing of the
// files has changed.
func (s *site) refused(t *testing.T, what string, texts ...string) {
	t.Helper()
	before := s.generated(t)
	for _, force := range []bool{false, true} {
		run, err := s.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Force: force})
		if pbx.CodeOf(err) != pbx.CodeNumberClash || pbx.KindOf(err) != pbx.KindConflict || run.Result != pbx.Refused || run.Log.ID == "" {
			t.Fatalf("%s, force %t: result %q, error %v", what, force, run.Result, err)
		}
		for _, text := range append(texts, "nothing was changed", "Rename or remove") {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: the message does not say %q: %v", what, text, err)
			}
		}
	}
	if s.generated(t) != before {
		t.Errorf("%s: the files were changed by an apply that was refused", what)
	}
	if plan, err := s.engine.Plan(t.Context()); err != nil || len(plan.Clashes) == 0 || !strings.Contains(plan.Clashes[0].String(), texts[0]) {
		t.Errorf("%s: the plan has the clashes %v, error %v", what, plan.Clashes, err)
	}
}

const ownEndpoint = "[1500]\ntype = endpoint\ncontext = office\ndisallow = all\nallow = alaw\n"

func TestObjectsOfTheHostAreNeitherComparedNorAllocated(t *testing.T) {
	t.Parallel()
	s := newHostSite(t)
	// The first user's number is the host's, in one way or another: a section of its own, one from a template in another file, an object of
	// another type, an extension in the portal's context. A number in a context of the administrator's own stays free.
	s.above(t, "pjsip.conf", "; by hand\n[1000]\ntype=endpoint\ncontext=office\n#Include own/*.conf ; ours\n")
	if err := os.MkdirAll(filepath.Join(s.asterisk.ConfigDir, "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"own/a.conf": "[phone](!)\ntype = aor\nmax_contacts = 1\n;-- [1003]\ntype=aor --;\n[1001](phone)\n\n[1002]\ntype=auth\nauth_type=userpass\npassword=\\;x ; [1004]\nusername=a\n",
	} {
		text = "\ufeff" + text // as some editors save it
		if err := os.WriteFile(filepath.Join(s.asterisk.ConfigDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.above(t, "extensions.conf", "[synergy-internal]\nexten => 10-03,1,NoOp(by hand)\n same => n,Hangup()\nexten => 1004,hint,PJSIP/1004\n[office]\nexten => 1004,1,NoOp()\n")
	u := s.create(t, "Anna")
	if u.Extension.Number != 1004 {
		t.Fatalf("the first user gets %d, want 1004: the four below are the host's", u.Extension.Number)
	}
	s.mustApply(t)
	plan, err := s.engine.Plan(t.Context())
	if err != nil || plan.Behind != "" || plan.Pending || len(plan.Clashes) > 0 {
		t.Fatalf("behind %q, pending %t, clashes %v, error %v", plan.Behind, plan.Pending, plan.Clashes, err)
	}
	if behind, err := s.engine.Rehearse(t.Context(), apply.Rehearsal{Host: s.node.Rehearse}); err != nil || behind != "" {
		t.Errorf("a rehearsal finds that %q, error %v", behind, err)
	}
	var got []string
	for _, o := range plan.Host {
		got = append(got, strings.ReplaceAll(o.String(), s.asterisk.ConfigDir+"/", ""))
	}
	want := []string{
		"endpoint 1000 (pjsip.conf, line 11)", "AOR 1001 (own/a.conf, line 6)", "auth 1002 (own/a.conf, line 8)",
		"extension 1003 in context synergy-internal (extensions.conf, line 8)", "extension 1004 in context office (extensions.conf, line 12)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the plan names\n%q, want\n%q", got, want)
	}

	// While Asterisk is unreachable, and the files cannot be read either, the last known numbers stay reserved.
	dir := s.asterisk.ConfigDir
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	away, err := node.New(dir, mustControl(t, filepath.Join(dir, "nowhere")))
	if err != nil {
		t.Fatal(err)
	}
	engine := apply.New(apply.Config{Store: s.store, Target: away, Now: time.Now})
	s.directory = s.directory.WithHost(engine.LookAtHost)
	if u := s.create(t, "Berta"); u.Extension.Number != 1005 {
		t.Errorf("with Asterisk away the next user gets %d, want 1005", u.Extension.Number)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	s.mustApply(t)

	// Numbers that the administrator removes are free after Asterisk has reloaded.
	s.rewrite(t, "own/a.conf", func(string) string { return "; empty\n" })
	s.console(t, "module reload res_pjsip.so")
	s.directory = s.directory.WithHost(s.freshLook(t))
	if u := s.create(t, "Claus"); u.Extension.Number != 1001 {
		t.Errorf("after 1001 was taken out of the files the next user gets %d", u.Extension.Number)
	}
	s.mustApply(t)
}

// freshLook returns LookAtHost of another process.
func (s *site) freshLook(t *testing.T) func(context.Context) {
	t.Helper()
	return apply.New(apply.Config{Store: s.store, Target: s.node, Now: time.Now}).LookAtHost
}

func mustControl(t *testing.T, target string) *asterisk.Control {
	t.Helper()
	c, err := asterisk.NewControl(target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnApplyIsRefusedIfAUserAndTheHostHaveTheSameNumber(t *testing.T) {
	t.Parallel()
	s := newSite(t) // its users are created without checking the host, as with Asterisk on another machine
	anna := s.create(t, "Anna")
	s.mustApply(t)
	s.create(t, "Berta")
	if _, _, err := s.directory.AddDevice(t.Context(), pbx.DefaultTenant, anna.ID, 0, "Mobile"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, text, says string }{
		{"pjsip.conf", "[1000-2]\ntype=endpoint\ncontext=office\n", "endpoint 1000-2 (" + s.asterisk.ConfigDir + "/pjsip.conf, line 10)"},
		{"pjsip.conf", "[1000]\ntype=endpoint\ncontext=office\n", "endpoint 1000 (" + s.asterisk.ConfigDir + "/pjsip.conf, line 10)"},
		{"pjsip.conf", "[1001]\ntype=aor\n", "AOR 1001"},
		{"pjsip.conf", "[1001]\ntype=auth\nauth_type=userpass\nusername=x\npassword=y\n", "auth 1001"},
		{"extensions.conf", "[synergy-internal]\nexten => 1001,1,Answer()\n", "extension 1001 in context synergy-internal (" + s.asterisk.ConfigDir + "/extensions.conf, line 8)"},
	} {
		s.above(t, c.file, c.text)
		s.refused(t, c.text, c.says)
		s.without(t, c.file, c.text)
	}
	s.mustApply(t)

	// A clash with a running configuration is refused as well: at its next start Asterisk would load no phone at all.
	own := "[1000]\ntype=endpoint\ncontext=office\n[1000]\ntype=aor\n"
	s.above(t, "pjsip.conf", own)
	s.refused(t, "with nothing to do", "AOR 1000")
	// The first fix in the message works: the user is deleted, and the administrator's object has the number.
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, anna.ID); err != nil {
		t.Fatal(err)
	}
	s.mustApply(t)
	if u := s.createAfter(t, s.freshLook(t)); u.Extension.Number != 1002 {
		t.Errorf("the next user gets %d, want 1002", u.Extension.Number)
	}
	s.mustApply(t)

	// So does the other: the object is removed, and its number can be allocated.
	s.without(t, "pjsip.conf", own)
	s.console(t, "module reload res_pjsip.so")
	if u := s.createAfter(t, s.freshLook(t)); u.Extension.Number != 1000 {
		t.Errorf("the next user gets %d, want 1000", u.Extension.Number)
	}
	s.mustApply(t)
	if log := s.asterisk.Log(); strings.Contains(log, "duplicate") || strings.Contains(log, "Unable to register extension") {
		t.Errorf("Asterisk was made to read a clash:\n%s", log)
	}
}

// An administrator can add to the section of a user, and inherit from it. Without the user Asterisk would reject the whole file.
func TestASectionThatRefersToAUserWhoIsGoneIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	s := newHostSite(t)
	anna, berta, cora := s.create(t, "Anna"), s.create(t, "Berta"), s.create(t, "Cora")
	anna, mobile, err := s.directory.AddDevice(t.Context(), pbx.DefaultTenant, anna.ID, 0, "Mobile")
	if err != nil {
		t.Fatal(err)
	}
	s.mustApply(t)
	const addition, heir, filtered, further = "\n[1000](+)\nallow=g722\n", "\n[desk](1001)\ncontext=office\n", "\n[1002](+type=endpoint)\nallow=g722\n", "\n[1000-2](+)\nallow=g722\n"
	below := func(old string) string { return old + addition + heir + filtered + further }
	s.rewrite(t, "pjsip.conf", below)
	s.create(t, "Claus")
	s.mustApply(t)
	if plan, err := s.engine.Plan(t.Context()); err != nil || plan.Behind != "" || len(plan.Host) > 0 || len(plan.Clashes) > 0 {
		t.Errorf("with all users there: behind %q, host %v, clashes %v, error %v", plan.Behind, plan.Host, plan.Clashes, err)
	}
	if _, err := s.directory.RemoveDevice(t.Context(), pbx.DefaultTenant, anna.ID, mobile.ID, 0); err != nil {
		t.Fatal(err)
	}
	s.refused(t, further, "reference to [1000-2], which no user has")
	s.without(t, "pjsip.conf", further)
	s.mustApply(t)
	for _, gone := range []struct {
		user       pbx.User
		says, text string
	}{
		{anna, "reference to [1000], which no user has (" + s.asterisk.ConfigDir + "/pjsip.conf, line 12)", addition},
		{berta, "reference to [1001], which no user has", heir},
		{cora, "reference to [1002], which no user has", filtered},
	} {
		if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, gone.user.ID); err != nil {
			t.Fatal(err)
		}
		s.refused(t, gone.text, gone.says)
		if _, err := s.engine.Rehearse(t.Context(), apply.Rehearsal{Host: s.node.Rehearse}); err == nil || !strings.Contains(err.Error(), gone.says) {
			t.Errorf("a rehearsal finds %v", err)
		}
		if u := s.createAfter(t, s.freshLook(t)); u.Extension.Number == gone.user.Extension.Number {
			t.Errorf("a new user gets %d, to which Asterisk's configuration adds", u.Extension.Number)
		}
		s.without(t, "pjsip.conf", gone.text)
		s.mustApply(t)
	}
}

// Asterisk rejects all of a file for one line, wherever the line is; and not every Asterisk has the module that lets doctor ask it.
func TestEveryLineForWhichAsteriskRejectsAFileIsNamed(t *testing.T) {
	t.Parallel()
	const include = "#include pjsip.d/synergycall/*.conf\n"
	a := labtest.Asterisk(t, lab.AsteriskOptions{Modules: []string{"func_config.so"}})
	dir := a.ConfigDir
	for i, c := range []struct{ text, says string }{
		{include, ""},
		{include + "[office]\ntype=endpoint\n[office]\ntype=aor\n[office](+)\ntype=endpoint\n[1000](+)\nallow=g722\n[desk](1000)\n", ""},
		{"[a](!)\ntype=aor\n[b](!)\ntype=aor\n[c](a)\n[c] (no template)\n" + include + "#tryinclude gone/*.conf\n#exec /bin/true\n", ""},
		{include + "#include gone.conf\n", "line 2: #include gone.conf leads to no file"},
		{include + "#include gone.d/*.conf\n", "line 2: #include gone.d/*.conf leads to no file"},
		{include + "#include pjsip.d/*.conf\n", "line 2: #include pjsip.d/*.conf leads to no file"},
		{include + "#include pjsip.d\n", "line 2: #include pjsip.d leads to no file"},
		{include + "#include .\n", "line 2: #include . leads to no file"},
		{include + "#include\n#include \"\"\n", "line 3: #include \"\" leads to no file"},
		{include + "#include {gone,away/{a,b}}.conf\n", "line 2: #include {gone,away/{a,b}}.conf leads to no file"},
		{include + "#include {gone,phone}.conf\n[office](phone)\n", ""},
		{"#include pjsip.d/{office,synergycall}/{generated_*,*.txt}\n", ""},
		{include + "#include pjsip.d/synergycall/{*.conf,none}\n", "line 2: #include pjsip.d/synergycall/{*.conf,none} reads the portal's file a second time"},
		{include + ";-- one\n;-- two --; [broken\n[broken\n--;\n[office]\ntype=aor\n", ""},
		{include + ";\n" + include, "line 3: " + strings.TrimSpace(include) + " reads the portal's file a second time"},
		{include + "[office\ntype=endpoint\n", "line 2: [office has no ]"},
		{include + "[office](!,\ntype=endpoint\n", "line 2: [office](!, has no ]"},
		{include + "[office](gone)\ntype=endpoint\n", "line 2: [office](gone) refers to [gone]"},
		{include + "[Office]\ntype=endpoint\n[oFFice](+)\nallow=g722\n[desk](OFFICE)\n", ""},
		{include + "[office](+type=endpoint)\n", "line 2: [office](+type=endpoint) refers to [office]"},
		{include + "[](+)\nallow=g722\n[office]()\n", ""},
		{"[](+)\nallow=g722\n" + include, "line 1: [](+) refers to []"},
		{include + "[phone](!)\ntype=aor\n[phone](+)\nmax_contacts=1\n", "line 4: [phone](+) refers to [phone]"},
		{include + "[phone](!)\ntype=aor\n[office]( phone)\n", "line 4: [office]( phone) refers to [ phone]"},
		{"type=endpoint\n" + include, "line 1: this line is in no section"},
		{include + "[office]\ntype=endpoint\n[office]\ntype=endpoint\n", "line 4: [office] defines this endpoint a second time"},
		{"[phone](!)\ntype=aor\n[office](phone)\n[office](phone)\n" + include, "line 4: [office] defines this aor a second time"},
	} {
		row := fmt.Sprintf("row-%d.conf", i)
		err := os.MkdirAll(filepath.Join(dir, filepath.Dir(pbx.PJSIPPath)), 0o700)
		for name, text := range map[string]string{"pjsip.conf": c.text, row: c.text + "[landmark]\nkey=seen\n", "phone.conf": "[phone](!)\n", pbx.PJSIPPath: "[1000]\ntype=endpoint\n[1001]\ntype=endpoint\n"} {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		local, err := node.New(dir, mustControl(t, filepath.Join(dir, "nowhere")))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range local.Examine(t.Context()) {
			if f.Subject == "include in pjsip.conf" && ((f.Grade == node.Bad) != (c.says != "") || !strings.Contains(f.Detail, c.says)) {
				t.Errorf("%q: %s, %s; want %q", c.text, f.Grade, f.Detail, c.says)
			}
		}
		if strings.Contains(c.says, "second time") { // it is PJSIP that rejects what is defined twice
			continue
		}
		if _, reads, err := a.Control().Setting(t.Context(), row, "landmark", "key"); err != nil || reads != (c.says == "") {
			t.Errorf("%q: doctor says %q; that Asterisk reads it is %t, %v", c.text, c.says, reads, err)
		}
	}
}

func (s *site) createAfter(t *testing.T, look func(context.Context)) pbx.User {
	t.Helper()
	with := *s
	with.directory = s.directory.WithHost(look)
	return with.create(t, "After")
}

// Objects that no readable file defines, here because only Asterisk can read pjsip.conf.
func TestObjectsThatOnlyTheRunningAsteriskHasAreFound(t *testing.T) {
	t.Parallel()
	s := newHostSite(t)
	s.above(t, "pjsip.conf", "[1000]\ntype=endpoint\ncontext=office\n"+ownEndpoint)
	s.console(t, "module reload res_pjsip.so")
	blind := blindTarget{s.node}
	s.engine = apply.New(apply.Config{Store: s.store, Target: blind, Now: time.Now})
	// A user was created without checking the host: Asterisk rejects the files, the previous ones run again, and from then on the object is known.
	s.directory = directory.New(s.store, time.Now)
	early := s.create(t, "Early")
	if run, err := s.apply(t, apply.Request{}); run.Result != pbx.RolledBack || pbx.CodeOf(err) != pbx.CodeRolledBack {
		t.Errorf("result %q, error %v", run.Result, err)
	}
	s.refused(t, "known from the running Asterisk", "endpoint 1000 (in the running Asterisk; no file that the portal can read defines it)")
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, early.ID); err != nil {
		t.Fatal(err)
	}
	s.console(t, "dialplan add extension 1001,1,NoOp into synergy-internal")
	s.engine = apply.New(apply.Config{Store: s.store, Target: blind, Now: time.Now}) // another process
	s.directory = s.directory.WithHost(s.engine.LookAtHost)
	if u := s.create(t, "Anna"); u.Extension.Number != 1002 {
		t.Errorf("the first user gets %d, want 1002", u.Extension.Number)
	}
	s.mustApply(t)
	plan, err := s.engine.Plan(t.Context())
	if err != nil || plan.Behind != "" || len(plan.Host) == 0 || len(plan.Clashes) > 0 {
		t.Errorf("plan %+v, error %v", plan, err)
	}
}

// In a container the path of Asterisk's folder differs from that on the host, and files include each other by the paths in the container.
func TestIncludesByAsterisksOwnNameOfTheFolderAreFollowed(t *testing.T) {
	t.Parallel()
	const inside = "/etc/asterisk-in-a-container"
	console := asterisktest.New(t, func(_ string, out io.Writer, _ <-chan struct{}) {
		_, _ = io.WriteString(out, "  Configuration directory:     "+inside+"\n")
	})
	dir := t.TempDir()
	local, err := node.New(dir, mustControl(t, console.Socket))
	if err != nil {
		t.Fatal(err)
	}
	declared := func(want ...string) {
		t.Helper()
		var got []string
		all, err := local.Declared(t.Context())
		for _, o := range all {
			got = append(got, strings.ReplaceAll(o.String(), dir+"/", ""))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("found %q, want %q, error %v", got, want, err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("pjsip.conf", "#include office.conf\n")
	write("office.conf", "[1500]\ntype=endpoint\n")
	declared("endpoint 1500 (office.conf, line 1)")
	if asked := console.Commands(); len(asked) > 0 {
		t.Errorf("Asterisk was asked %q, although no file is included by an absolute name", asked)
	}
	write("pjsip.conf", "#include "+inside+"/office.conf\n#include \"/etc/hosts\"\n")
	write("extensions.conf", "#tryinclude "+inside+"//plan/*.conf\n")
	write("plan/a.conf", "[synergy-internal]\nexten => 1501,1,NoOp()\n#include <"+inside+"/./more.conf>\n")
	write("more.conf", "exten => 1502,1,NoOp()\n")
	declared("endpoint 1500 (office.conf, line 1)", "extension 1501 in context synergy-internal (plan/a.conf, line 2)", "extension 1502 in context synergy-internal (more.conf, line 1)")
}

// blindTarget is a host whose configuration files the portal cannot read.
type blindTarget struct{ *node.Local }

func (blindTarget) Declared(context.Context) ([]pbx.HostObject, error) { return nil, os.ErrPermission }
