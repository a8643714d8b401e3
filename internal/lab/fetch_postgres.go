package lab

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/proc"
)

const postgresFix = "install PostgreSQL (Debian: apt-get install postgresql)"

// sharedCache is root's cache: PostgreSQL then runs as another user, who cannot read root's home.
const sharedCache = "/var/cache/pbxportal"

// PostgresPrograms is a set of PostgreSQL programs.
type PostgresPrograms struct {
	// Bin is the folder with initdb and postgres.
	Bin string
	// Libraries is the value of LD_LIBRARY_PATH; empty for an installed PostgreSQL.
	Libraries string
}

// FindPostgres returns the installed PostgreSQL of the highest version, or the one in PATH; false if there is none.
func FindPostgres() (PostgresPrograms, bool) {
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err == nil {
		if bin, ok := highestVersion(installed); ok {
			return PostgresPrograms{Bin: bin}, true
		}
	}
	initdb, err := proc.Find("initdb")
	if err != nil {
		return PostgresPrograms{}, false
	}
	if resolved, linkErr := filepath.EvalSymlinks(initdb); linkErr == nil {
		initdb = resolved
	}
	bin := filepath.Dir(initdb)
	_, err = os.Stat(filepath.Join(bin, "postgres"))
	return PostgresPrograms{Bin: bin}, err == nil
}

// highestVersion returns the highest of …/<version>/bin/initdb.
func highestVersion(paths []string) (string, bool) {
	version := func(path string) int {
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			return 0
		}
		return n
	}
	if len(paths) == 0 {
		return "", false
	}
	best := slices.MaxFunc(paths, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
	return filepath.Dir(best), true
}

// FetchPostgres returns an installed PostgreSQL, or downloads the one of the machine's own Debian suite if there is none.
func FetchPostgres(ctx context.Context, o FetchOptions) (PostgresPrograms, error) {
	if programs, ok := FindPostgres(); ok {
		return programs, nil
	}
	return FetchPostgresAnyway(ctx, o)
}

// FetchPostgresAnyway downloads PostgreSQL even if one is installed.
func FetchPostgresAnyway(ctx context.Context, o FetchOptions) (PostgresPrograms, error) {
	m, err := thisMachine()
	if err != nil {
		return PostgresPrograms{}, withFix(err, postgresFix)
	}
	cache, err := o.cacheDir()
	if err != nil {
		return PostgresPrograms{}, err
	}
	if o.Cache == "" && isRoot() {
		cache = sharedCache
	}
	root, err := fetchOnce(ctx, o, cache, "postgresql-"+m.arch, func(partial string) error {
		o.progress("fetching PostgreSQL from this machine's own package sources into %s (once, about 60 MB)", cache)
		// The machine's own sources have programs that fit its C library, which is the one part that cannot be included.
		source, aptErr := newApt(filepath.Join(partial, "apt"), m, "", o)
		if aptErr != nil {
			return aptErr
		}
		if updateErr := source.update(ctx); updateErr != nil {
			return updateErr
		}
		debs, aptErr := source.download(ctx, "postgresql")
		if aptErr != nil {
			return aptErr
		}
		debs = slices.DeleteFunc(debs, func(deb string) bool {
			return strings.HasPrefix(filepath.Base(deb), "libc6_") || strings.HasPrefix(filepath.Base(deb), "libc-bin_")
		})
		o.progress("unpacking %d packages", len(debs))
		tree := filepath.Join(partial, "tree")
		if extractErr := extract(ctx, debs, tree); extractErr != nil {
			return extractErr
		}
		programs, programErr := postgresIn(tree, m)
		if programErr != nil {
			return programErr
		}
		version, versionErr := programs.Version(ctx)
		if versionErr != nil {
			return versionErr
		}
		o.progress("%s is ready", version)
		return nil
	})
	if err != nil {
		return PostgresPrograms{}, withFix(fmt.Errorf("cannot fetch PostgreSQL: %w", err), postgresFix)
	}
	return postgresIn(root, m)
}

func postgresIn(tree string, m machine) (PostgresPrograms, error) {
	found, err := filepath.Glob(filepath.Join(tree, "usr/lib/postgresql/*/bin/initdb"))
	if err != nil {
		return PostgresPrograms{}, fmt.Errorf("cannot look for PostgreSQL: %w", err)
	}
	bin, ok := highestVersion(found)
	if !ok {
		return PostgresPrograms{}, fmt.Errorf("cannot find initdb in %s", tree)
	}
	libraries := filepath.Join(tree, "usr/lib", m.triplet) + ":" + filepath.Join(tree, "lib", m.triplet)
	return PostgresPrograms{Bin: bin, Libraries: libraries}, nil
}

// Version runs `postgres -V`.
func (p PostgresPrograms) Version(ctx context.Context) (string, error) {
	result, err := proc.Run(ctx, proc.Command{Argv: []string{filepath.Join(p.Bin, "postgres"), "-V"}, Env: p.env()})
	if err != nil {
		return "", fmt.Errorf("cannot run PostgreSQL: %w", err)
	}
	if result.ExitCode != 0 {
		return "", fmt.Errorf("cannot run PostgreSQL: %s", tail(result.Stderr, 3))
	}
	return strings.TrimSpace(result.Stdout), nil
}

func (p PostgresPrograms) env() []string {
	if p.Libraries == "" {
		return nil
	}
	return []string{"LD_LIBRARY_PATH=" + p.Libraries}
}
