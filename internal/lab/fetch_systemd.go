package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/synergycall/pbxportal/internal/proc"
)

// systemdSuite is the Debian suite of the systemd that checks our unit; its own libraries are included, so results are the same on every machine.
const systemdSuite = "trixie"

const systemdFix = "run the tests on a machine that reaches a Debian archive"

// Systemd is an unpacked systemd, whose tools check units that are not installed. It boots only inside namespaces created by tests.
type Systemd struct {
	// Root is the folder used as /.
	Root    string
	machine machine
}

// FetchSystemd returns systemd's tools in their own folder, downloading them from Debian unless that was done before.
func FetchSystemd(ctx context.Context, o FetchOptions) (Systemd, error) {
	m, err := thisMachine()
	if err != nil {
		return Systemd{}, withFix(err, systemdFix)
	}
	cache, err := o.cacheDir()
	if err != nil {
		return Systemd{}, err
	}
	root, err := fetchOnce(ctx, o, cache, "systemd-"+systemdSuite+"-"+m.arch, func(partial string) error {
		o.progress("fetching systemd from Debian %s into %s (once, about 20 MB)", systemdSuite, cache)
		source, aptErr := suiteApt(ctx, partial, m, systemdSuite, o)
		if aptErr != nil {
			return aptErr
		}
		debs, aptErr := source.download(ctx, "systemd")
		if aptErr != nil {
			return aptErr
		}
		unpacked := filepath.Join(partial, "tree")
		if extractErr := extract(ctx, debs, unpacked); extractErr != nil {
			return extractErr
		}
		result, runErr := Systemd{Root: unpacked, machine: m}.Run(ctx, "systemd-analyze", "--version")
		if runErr == nil && result.ExitCode != 0 {
			runErr = errors.New(tail(result.Stderr, 3))
		}
		if runErr != nil {
			return fmt.Errorf("cannot run the fetched systemd-analyze: %w", runErr)
		}
		return nil
	})
	if err != nil {
		return Systemd{}, withFix(fmt.Errorf("cannot fetch systemd: %w", err), systemdFix)
	}
	return Systemd{Root: root, machine: m}, nil
}

// Run runs one of its tools, such as systemd-analyze, to the end.
func (s Systemd) Run(ctx context.Context, tool string, args ...string) (proc.Result, error) {
	libraries := filepath.Join(s.Root, "usr/lib", s.machine.triplet)
	return proc.Run(ctx, proc.Command{Argv: append([]string{
		filepath.Join(libraries, s.machine.loader), "--library-path", libraries + ":" + filepath.Join(libraries, "systemd"),
		filepath.Join(s.Root, "usr/bin", tool),
	}, args...)})
}
