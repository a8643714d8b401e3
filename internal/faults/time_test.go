//go:build linux

package faults_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/proc"
)

// start starts a process of the portal; its output goes to the file.
func (s *site) start(t *testing.T, args ...string) (p *proc.Process, log string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log = filepath.Join(dir, "portal.log")
	p, err = proc.Start(proc.Command{Argv: append([]string{self}, args...), Env: s.environ(), Dir: dir}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p, log
}

// byTime kills at one of 120 moments, spread over the duration of the command.
func (s *site) byTime(t *testing.T, args []string) killer {
	t.Helper()
	begin := now()
	p, _ := s.start(t, args...)
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	const moments = 120
	whole := now().Sub(begin)
	return func(t *testing.T, args []string, n int) (where string, refused bool) {
		t.Helper()
		if n > moments {
			return "", false
		}
		after := whole * time.Duration(n) / moments
		p, _ := s.start(t, args...)
		wait(t.Context(), after)
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("moment %s", after), false
	}
}
