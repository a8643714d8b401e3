package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/synergycall/pbxportal/internal/proc"
)

// debianSuite is the Debian suite of programs that run with the libraries of their packages.
const debianSuite = "trixie"

const programFix = "run the tests on a machine that reaches a Debian archive"

// program is a program from a Debian package, unpacked in its own folder with its libraries.
type program struct {
	root, path string // the program is root/path
	machine    machine
}

// fetchProgram returns a program of a Debian package in a folder below cache, downloading it unless that was done before; with the argument tryWith it
// exits successfully at once.
func fetchProgram(ctx context.Context, o FetchOptions, cache, name, path, tryWith string) (program, error) {
	m, err := thisMachine()
	if err != nil {
		return program{}, withFix(err, programFix)
	}
	root, err := fetchOnce(ctx, o, cache, name+"-"+debianSuite+"-"+m.arch, func(partial string) error {
		o.progress("fetching %s from Debian %s into %s (once)", name, debianSuite, cache)
		source, err := suiteApt(ctx, partial, m, debianSuite, o)
		if err != nil {
			return err
		}
		debs, err := source.download(ctx, name)
		if err != nil {
			return err
		}
		unpacked := filepath.Join(partial, "tree")
		if err := extract(ctx, debs, unpacked); err != nil {
			return err
		}
		result, err := proc.Run(ctx, proc.Command{Argv: program{unpacked, path, m}.argv(tryWith)})
		if err == nil && result.ExitCode != 0 {
			err = errors.New(tail(result.Stderr, 3))
		}
		if err != nil {
			return fmt.Errorf("cannot run the fetched %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return program{}, withFix(fmt.Errorf("cannot fetch %s: %w", name, err), programFix)
	}
	return program{root, path, m}, nil
}

func (p program) argv(args ...string) []string {
	libraries := filepath.Join(p.root, "usr/lib", p.machine.triplet)
	return append([]string{filepath.Join(libraries, p.machine.loader), "--library-path", libraries, filepath.Join(p.root, p.path)}, args...)
}

// Proxy is an unpacked reverse proxy.
type Proxy struct {
	program program
	run     func(config string) []string // the arguments that run it in the foreground
	frame   func(config, dir string) string
}

// FetchNginx returns nginx in its own folder, downloading it from Debian unless that was done before.
func FetchNginx(ctx context.Context, o FetchOptions) (Proxy, error) {
	return fetchProxy(ctx, o, "nginx", "usr/sbin/nginx", "-v",
		func(config string) []string { return []string{"-c", config, "-e", "stderr"} },
		func(config, dir string) string {
			text := "daemon off; master_process off; pid " + dir + "/nginx.pid; error_log stderr; events {}\nhttp { access_log off;\n"
			for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				text += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
			}
			return text + config + "\n}\n"
		})
}

// FetchCaddy returns Caddy in its own folder, downloading it from Debian unless that was done before.
func FetchCaddy(ctx context.Context, o FetchOptions) (Proxy, error) {
	return fetchProxy(ctx, o, "caddy", "usr/bin/caddy", "version",
		func(config string) []string { return []string{"run", "--config", config, "--adapter", "caddyfile"} },
		func(config, dir string) string {
			return "{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system " + dir + "\n}\n" + config + "\n"
		})
}

// FetchApache returns Apache in its own folder, downloading it from Debian unless that was done before.
func FetchApache(ctx context.Context, o FetchOptions) (Proxy, error) {
	p, err := fetchProxy(ctx, o, "apache2-bin", "usr/sbin/apache2", "-v", nil, func(config, dir string) string {
		text := "ServerName localhost\nDefaultRuntimeDir " + dir + "\nPidFile " + dir + "/apache.pid\nErrorLog /dev/stderr\nUser nobody\nGroup nogroup\n"
		for _, module := range []string{"mpm_event", "authz_core", "socache_shmcb", "ssl", "proxy", "proxy_http", "headers", "filter", "deflate"} {
			text += fmt.Sprintf("LoadModule %[1]s_module usr/lib/apache2/modules/mod_%[1]s.so\n", module)
		}
		return text + config + "\n"
	})
	p.run = func(config string) []string { return []string{"-X", "-d", p.program.root, "-f", config} }
	return p, err
}

func fetchProxy(ctx context.Context, o FetchOptions, name, path, tryWith string, run func(string) []string, frame func(config, dir string) string) (Proxy, error) {
	cache, err := o.cacheDir()
	if err != nil {
		return Proxy{}, err
	}
	p, err := fetchProgram(ctx, o, cache, name, path, tryWith)
	return Proxy{p, run, frame}, err
}

// Start starts it with its files in dir and returns when it accepts connections at address. config is the configuration of its sites. It ends with stop,
// or with this process.
func (p Proxy) Start(ctx context.Context, dir, config, address string) (stop func() error, err error) {
	path, log := filepath.Join(dir, "proxy.conf"), filepath.Join(dir, "proxy.log")
	if err := os.WriteFile(path, []byte(p.frame(config, dir)), 0o600); err != nil {
		return nil, fmt.Errorf("cannot configure the proxy: %w", err)
	}
	process, err := proc.Start(proc.Command{Argv: p.program.argv(p.run(path)...), Dir: dir, Env: []string{"HOME=" + dir}}, log)
	if err != nil {
		return nil, fmt.Errorf("cannot start the proxy: %w", err)
	}
	connect := func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	if err := awaitConnection(ctx, process, connect); err != nil {
		said, _ := os.ReadFile(log)
		return nil, fmt.Errorf("cannot start the proxy: %w\n%s", errors.Join(err, process.KillWithChildren()), tail(string(said), 10))
	}
	return process.KillWithChildren, nil
}

// awaitConnection waits until connect, which opens and closes a connection, succeeds.
func awaitConnection(ctx context.Context, process *proc.Process, connect func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := connect(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not accept connections: %w", err)
		case <-process.Done():
			return errRefused
		case <-tick.C:
		}
	}
}
