package cli_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/proc"
)

// stranger is a user that no test runs as.
const stranger = 65533

// A file .env decides which programs the portal starts. One that another user left, in whichever way, is refused before anything is done;
// and no way of leaving it there keeps the program from saying which version it is.
func TestTheSettingsThatAnotherUserLeftInTheFolderAreNotObeyed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only root can leave files of other users: without it, what its own user can do is tried")
	}
	put := func(dir, name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		ran := filepath.Join(dir, "ran")
		program := filepath.Join(dir, "program")
		err := errors.Join(
			os.WriteFile(program, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755),
			os.WriteFile(path, []byte("ASTERISK_CONTROL=exec:"+program+"\n"), 0o600), os.Chmod(path, mode))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	give := func(paths ...string) {
		for _, path := range paths {
			if err := os.Lchown(path, stranger, stranger); err != nil && os.Geteuid() == 0 {
				t.Fatal(err)
			}
		}
	}
	open := func(dir string, mode fs.FileMode) {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(from, to string) {
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		leave func(dir string)
		say   string // "" where it is obeyed
		root  bool   // only root can leave it there
	}{
		"own file":                        {func(d string) { put(d, ".env", 0o600) }, "", false},
		"that all may read":               {func(d string) { put(d, ".env", 0o644) }, "", false},
		"own file in a folder like /tmp":  {func(d string) { put(d, ".env", 0o600); open(d, 0o777|fs.ModeSticky) }, "", false},
		"own link to an own file":         {func(d string) { put(d, "target", 0o640); link("target", d+"/.env") }, "", false},
		"that the group may write":        {func(d string) { put(d, ".env", 0o660) }, "chmod go-w", false},
		"that all may write":              {func(d string) { put(d, ".env", 0o606) }, "chmod go-w", false},
		"own link to what all may write":  {func(d string) { put(d, "target", 0o666); link("target", d+"/.env") }, "chmod go-w", false},
		"own file in an open folder":      {func(d string) { put(d, ".env", 0o600); open(d, 0o777) }, "chmod go-w", false},
		"own file in a folder of a group": {func(d string) { put(d, ".env", 0o600); open(d, 0o770) }, "chmod go-w", false},
		"own file with a second name":     {func(d string) { _ = os.Link(put(d, "other", 0o600), d+"/.env") }, "hard links", false},
		"a pipe":                          {func(d string) { put(d, "x", 0o600); _ = unix.Mkfifo(d+"/.env", 0o600) }, "named pipe", false},
		"a folder":                        {func(d string) { put(d, "x", 0o600); _ = os.Mkdir(d+"/.env", 0o700) }, "a folder", false},
		"a link to a device":              {func(d string) { put(d, "x", 0o600); link("/dev/zero", d+"/.env") }, "a device", false},
		"a link in a circle":              {func(d string) { put(d, "x", 0o600); link(".env", d+"/.env") }, "too many levels", false},
		"a link to nothing":               {func(d string) { put(d, "x", 0o600); link("none", d+"/.env") }, "no such file", false},
		"a file without end":              {func(d string) { _ = os.Truncate(put(d, ".env", 0o600), 40<<30) }, "more than", false},

		"another's file":                       {func(d string) { give(put(d, ".env", 0o600)) }, "belongs to user", true},
		"another's file in another's folder":   {func(d string) { give(put(d, ".env", 0o600), d) }, "belongs to user", true},
		"another's file in a folder like /tmp": {func(d string) { give(put(d, ".env", 0o644)); open(d, 0o777|fs.ModeSticky) }, "belongs to user", true},
		"own file in another's folder":         {func(d string) { put(d, ".env", 0o600); give(d) }, "belongs to user", true},
		"own link to another's file":           {func(d string) { give(put(d, "target", 0o644)); link("target", d+"/.env") }, "belongs to user", true},
		"another's link to an own file":        {func(d string) { put(d, "target", 0o600); link("target", d+"/.env"); give(d + "/.env") }, "belongs to user", true},
		"own link to an own file in another's folder": {func(d string) {
			_ = os.Mkdir(d+"/sub", 0o755)
			put(d, "x", 0o600)
			put(d+"/sub", "f", 0o600)
			link("sub/f", d+"/.env")
			give(d + "/sub")
		}, "belongs to user", true},
		"another's pipe": {func(d string) { put(d, "x", 0o600); _ = unix.Mkfifo(d+"/.env", 0o666); give(d + "/.env") }, "belongs to user", true},
	} {
		if tc.root && os.Geteuid() != 0 {
			continue
		}
		dir := t.TempDir()
		open(dir, 0o755)
		tc.leave(dir)
		env := []string{"STATE_DIR=" + t.TempDir(), "ASTERISK_CONFIG_DIR=" + t.TempDir()}
		if strings.HasPrefix(name, "a ") || strings.Contains(name, "pipe") { // what could hang it
			if code, said := portalIn(t, dir, []string{"version"}, env...); code != 0 {
				t.Errorf("%s: version ends with exit code %d: %s", name, code, said)
			}
		}
		code, said := portalIn(t, dir, []string{"doctor"}, env...)
		_, err := os.Stat(filepath.Join(dir, "ran"))
		if _, inSub := os.Stat(filepath.Join(dir, "sub", "ran")); inSub == nil {
			err = nil
		}
		if obeyed := err == nil; obeyed != (tc.say == "") {
			t.Errorf("%s: obeyed %v: exit code %d\n%s", name, obeyed, code, said)
		}
		if tc.say != "" && (code != 2 || !strings.Contains(said, tc.say) || !strings.Contains(said, ".env") && !strings.Contains(said, dir)) {
			t.Errorf("%s: exit code %d, want 2 with %q\n%s", name, code, tc.say, said)
		}
	}
}

// A file applies to its owner, and root's to every user who can read it; sudo's variable for the previous user
// opens nothing.
func TestSettingsAreObeyedForTheirOwnerAndRootsForAll(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only root can be several users: without it, its own user alone is tried")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		owner, caller int
		sudo          string
		obeyed        bool
	}{
		{os.Geteuid(), os.Geteuid(), "", true},
		{0, stranger, "", true},
		{stranger, stranger, "", true},
		{stranger, 0, "", false},
		{stranger, 0, fmt.Sprint(stranger), false},
		{stranger, stranger - 1, "", false},
	} {
		if os.Geteuid() != 0 && (tc.owner != os.Geteuid() || tc.caller != os.Geteuid()) {
			continue
		}
		dir, err := os.MkdirTemp("", "env") //nolint:usetesting // the folders above t.TempDir are closed to other users
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		program := filepath.Join(dir, "portal") // the test's own program may lie where others cannot start it
		r, err := proc.Run(t.Context(), proc.Command{Argv: []string{"cp", self, program}})
		if err != nil || r.ExitCode != 0 {
			t.Fatal(r, err)
		}
		file := filepath.Join(dir, ".env")
		if err := errors.Join(os.WriteFile(file, []byte("LOG_LEVEL=nonsense\n"), 0o644), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, dir} {
			if err := os.Chown(path, tc.owner, tc.owner); err != nil {
				t.Fatal(err)
			}
		}
		env := append(bePortal(), "SUDO_UID="+tc.sudo)
		command := proc.Command{Argv: []string{program, "plan"}, Env: env, Dir: dir}
		if tc.caller != os.Geteuid() {
			command.Credential = &proc.Credential{UID: uint32(tc.caller), GID: uint32(tc.caller)}
		}
		result, err := proc.Run(t.Context(), command)
		if err != nil {
			t.Fatal(err)
		}
		said := result.Stdout + result.Stderr
		if obeyed := strings.Contains(said, "NONSENSE"); obeyed != tc.obeyed || !obeyed && !strings.Contains(said, "belongs to user") {
			t.Errorf("%+v: exit code %d\n%s", tc, result.ExitCode, said)
		}
	}
}
