// Package lab puts real programs, Asterisk, PostgreSQL and the tools of systemd, into their own folders, starts them there and stops them, for the
// demonstration and for tests.
//
// It needs neither root nor containers: packages are downloaded through the machine's own apt with a private state, so nothing outside the given folder
// changes and signatures are checked as always. It kills only what it started, and substitutes nothing: an unavailable program is an error with its fix.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FetchOptions are the options of downloads; the zero value is useful.
type FetchOptions struct {
	// Cache is the folder that keeps downloads between runs; empty means pbxportal in the user's cache folder.
	Cache string
	// Mirror is the address of a Debian archive; empty means the one the machine's own apt uses.
	Mirror string
	// Env is added to the environment of apt-get, for example http_proxy=….
	Env []string
	// Progress receives one line per step; nil means no output.
	Progress func(string)
}

func (o FetchOptions) progress(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

func (o FetchOptions) cacheDir() (string, error) {
	if o.Cache != "" {
		dir, err := filepath.Abs(o.Cache)
		if err != nil {
			return "", fmt.Errorf("cannot find the cache folder: %w", err)
		}
		return dir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot find this user's cache folder (set HOME or XDG_CACHE_HOME): %w", err)
	}
	return filepath.Join(base, "pbxportal"), nil
}

// fetchOnce returns dir/name, creating it first if it is missing: build fills a folder beside it, which is renamed only when complete. Two processes
// never build the same thing at once.
func fetchOnce(ctx context.Context, o FetchOptions, dir, name string, build func(partial string) error) (string, error) {
	final := filepath.Join(dir, name)
	if isDir(final) {
		return final, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot create the cache folder: %w", err)
	}
	unlock, err := lockFile(ctx, o, final+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if isDir(final) {
		return final, nil
	}
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("cannot remove an incomplete download: %w", err)
	}
	defer func() { _ = os.RemoveAll(partial) }()
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", fmt.Errorf("cannot create the cache folder: %w", err)
	}
	if err := build(partial); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(partial, "tree"), final); err != nil {
		return "", fmt.Errorf("cannot put %s in place: %w", name, err)
	}
	return final, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// lockFile polls because a blocking flock cannot be cancelled when ctx ends.
func lockFile(ctx context.Context, o FetchOptions, path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the cache folder: %w", err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for waiting := false; ; waiting = true {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("cannot lock the cache folder: %w", err)
		}
		if !waiting {
			o.progress("another process is fetching the same part; waiting for it")
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("cannot wait for another fetch: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// tail returns the last lines of a text, for errors.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
