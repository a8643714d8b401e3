package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/synergycall/pbxportal/internal/proc"
)

// asteriskSuite is the Debian suite with Asterisk 22; its own libraries are included, so any Linux can run it.
const asteriskSuite = "forky"

const asteriskFix = "point the portal at an existing Asterisk with ASTERISK_CONTROL and ASTERISK_CONFIG_DIR"

// Tree is an unpacked Asterisk with every library it needs.
type Tree struct {
	// Root is the folder used as /.
	Root    string
	machine machine
}

// FetchAsterisk returns an Asterisk 22 in its own folder, downloading it from Debian unless that was done before.
func FetchAsterisk(ctx context.Context, o FetchOptions) (Tree, error) {
	m, err := thisMachine()
	if err != nil {
		return Tree{}, withFix(err, asteriskFix)
	}
	cache, err := o.cacheDir()
	if err != nil {
		return Tree{}, err
	}
	root, err := fetchOnce(ctx, o, cache, "asterisk-22-"+m.arch, func(partial string) error {
		o.progress("fetching Asterisk 22 from Debian %s into %s (once, about 80 MB)", asteriskSuite, cache)
		source, aptErr := suiteApt(ctx, partial, m, asteriskSuite, o)
		if aptErr != nil {
			return aptErr
		}
		debs, aptErr := source.download(ctx, "asterisk", "asterisk-core-sounds-en-gsm")
		if aptErr != nil {
			return aptErr
		}
		o.progress("unpacking %d packages", len(debs))
		unpacked := filepath.Join(partial, "tree")
		if extractErr := extract(ctx, debs, unpacked); extractErr != nil {
			return extractErr
		}
		// The package's own script would create this link; without it no language has any sounds.
		sounds := filepath.Join(unpacked, "usr/share/asterisk/sounds")
		if linkErr := os.Symlink("en_US_f_Allison", filepath.Join(sounds, "en")); linkErr != nil {
			return fmt.Errorf("cannot name the language of the sounds: %w", linkErr)
		}
		version, versionErr := Tree{Root: unpacked, machine: m}.Version(ctx)
		if versionErr != nil {
			return versionErr
		}
		o.progress("%s is ready", version)
		return nil
	})
	if err != nil {
		return Tree{}, withFix(fmt.Errorf("cannot fetch Asterisk: %w", err), asteriskFix)
	}
	if err := shortenDocumentation(root); err != nil {
		return Tree{}, err
	}
	return Tree{Root: root, machine: m}, nil
}

// Version runs `asterisk -V` and returns an error unless it is Asterisk 22.
func (t Tree) Version(ctx context.Context) (string, error) {
	result, err := proc.Run(ctx, proc.Command{Argv: t.argv("-V")})
	if err != nil {
		return "", fmt.Errorf("cannot run the fetched Asterisk: %w", err)
	}
	version := strings.TrimSpace(result.Stdout)
	if result.ExitCode != 0 || !strings.HasPrefix(version, "Asterisk 22") {
		return "", fmt.Errorf("cannot use the fetched Asterisk: asterisk -V says %q %q", version, tail(result.Stderr, 3))
	}
	return version, nil
}

// argv returns the arguments that run Asterisk through the tree's own loader, so that the machine's libraries are not used.
func (t Tree) argv(args ...string) []string {
	libraries := t.libraries()
	return append([]string{
		filepath.Join(libraries, t.machine.loader), "--library-path", libraries,
		filepath.Join(t.Root, "usr/sbin/asterisk"),
	}, args...)
}

func (t Tree) libraries() string { return filepath.Join(t.Root, "usr/lib", t.machine.triplet) }

// withFix adds an alternative to an error if this machine cannot download packages.
func withFix(err error, fix string) error {
	if errors.Is(err, ErrNoArchive) || errors.Is(err, errUntrusted) {
		return fmt.Errorf("%w\n%s", err, fix)
	}
	return err
}
