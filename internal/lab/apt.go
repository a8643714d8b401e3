package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/proc"
)

// ErrNoArchive means that this machine cannot download Debian packages at all.
var ErrNoArchive = errors.New("no Debian archive within reach")

// errUntrusted means that the available keys do not cover the archive's signature.
var errUntrusted = errors.New("the archive's signature cannot be verified with the keys of this machine")

// machine is Debian's name for the architecture of the processor.
type machine struct {
	arch    string // as in package names
	triplet string // as in library folders
	loader  string // the dynamic loader beside those libraries
}

func thisMachine() (machine, error) {
	switch runtime.GOARCH {
	case "amd64":
		return machine{arch: "amd64", triplet: "x86_64-linux-gnu", loader: "ld-linux-x86-64.so.2"}, nil
	case "arm64":
		return machine{arch: "arm64", triplet: "aarch64-linux-gnu", loader: "ld-linux-aarch64.so.1"}, nil
	}
	return machine{}, fmt.Errorf("%w: parts can be fetched for amd64 and arm64, not for %s", ErrNoArchive, runtime.GOARCH)
}

// apt is a private apt: its lists, cache and status of installed packages (none) are below dir.
type apt struct {
	dir     string
	options FetchOptions
	conf    string
}

// newApt prepares a private apt for the given sources.list text; an empty one means the machine's own sources and keys.
func newApt(dir string, m machine, sources string, o FetchOptions) (*apt, error) {
	for _, sub := range []string{"lists/partial", "archives/partial", "log", "empty.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("cannot prepare apt: %w", err)
		}
	}
	// The file is read after the machine's own configuration, which remains in effect for proxies and the like. The machine's hooks do not: some of them
	// clean global folders.
	conf := `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architecture "ARCH";
APT::Architectures { "ARCH"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::State "DIR";
Dir::State::lists "DIR/lists";
Dir::State::status "DIR/status";
Dir::State::extended_states "DIR/extended_states";
Dir::Cache "DIR";
Dir::Cache::archives "DIR/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "DIR/log";
Dir::Etc::preferences "DIR/none";
Dir::Etc::preferencesparts "DIR/empty.d";
`
	files := map[string]string{"status": ""}
	if sources != "" {
		// A machine may have broken sources that are not needed; all of this one are needed.
		conf += `APT::Update::Error-Mode "any";
Dir::Etc::sourcelist "DIR/sources.list";
Dir::Etc::sourceparts "DIR/empty.d";
Dir::Etc::trusted "DIR/none";
Dir::Etc::trustedparts "DIR/empty.d";
`
		files["sources.list"] = sources
	}
	files["apt.conf"] = strings.NewReplacer("DIR", dir, "ARCH", m.arch).Replace(conf)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("cannot prepare apt: %w", err)
		}
	}
	return &apt{dir: dir, options: o, conf: filepath.Join(dir, "apt.conf")}, nil
}

func (a *apt) update(ctx context.Context) error {
	result, err := a.get(ctx, nil, "update")
	if err != nil {
		return err
	}
	if result.ExitCode == 0 {
		return nil
	}
	what := tail(result.Stderr, 6)
	for _, sign := range []string{"NO_PUBKEY", "is not signed", "couldn't be verified", "Missing key", "Signed-By"} {
		if strings.Contains(result.Stderr, sign) {
			return fmt.Errorf("%w:\n%s", errUntrusted, what)
		}
	}
	return fmt.Errorf("%w: the package lists could not be fetched:\n%s", ErrNoArchive, what)
}

// download downloads the packages with all their dependencies and returns the paths of the .deb files.
func (a *apt) download(ctx context.Context, packages ...string) ([]string, error) {
	var fetched int
	onLine := func(line string) {
		if strings.HasPrefix(line, "Need to get ") {
			a.options.progress("downloading: %s", strings.ToLower(line[:1])+line[1:])
		}
		if strings.HasPrefix(line, "Get:") {
			if fetched++; fetched%25 == 0 {
				a.options.progress("downloaded %d packages", fetched)
			}
		}
	}
	args := append([]string{"--yes", "--download-only", "install"}, packages...)
	result, err := a.get(ctx, onLine, args...)
	if err != nil {
		return nil, err
	}
	if result.ExitCode != 0 {
		return nil, fmt.Errorf("%w: %s could not be downloaded:\n%s",
			ErrNoArchive, strings.Join(packages, ", "), tail(result.Stderr, 6))
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "archives", "*.deb"))
	if err != nil || len(debs) == 0 {
		return nil, fmt.Errorf("%w: apt-get downloaded nothing", ErrNoArchive)
	}
	return debs, nil
}

func (a *apt) get(ctx context.Context, onLine func(string), args ...string) (proc.Result, error) {
	result, err := proc.Run(ctx, proc.Command{
		Argv:   append([]string{"apt-get", "-c", a.conf, "-q"}, args...),
		Env:    append([]string{"DEBIAN_FRONTEND=noninteractive"}, a.options.Env...),
		OnLine: onLine,
	})
	return result, aptMissing(err)
}

func aptMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, proc.ErrNotFound) {
		return fmt.Errorf("%w: this machine has no apt-get", ErrNoArchive)
	}
	return err
}

// extract unpacks the files of every package into tree, two at a time; no maintainer script is run.
func extract(ctx context.Context, debs []string, tree string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, deb := range debs {
		group.Go(func() error {
			result, err := proc.Run(ctx, proc.Command{Argv: []string{"dpkg-deb", "--extract", deb, tree}})
			if err != nil {
				return err
			}
			if result.ExitCode != 0 {
				return fmt.Errorf("cannot unpack %s: %s", filepath.Base(deb), tail(result.Stderr, 3))
			}
			return nil
		})
	}
	return group.Wait()
}

var safeMirror = regexp.MustCompile(`^[a-z+]+:/{1,3}[^\s\[\]]+$`)

// debianMirror returns the archive that the machine's own apt uses, skipping those with only updates. It does not need downloaded package lists, which
// slim images do not have.
func debianMirror(ctx context.Context, o FetchOptions) (string, error) {
	if o.Mirror != "" {
		if !safeMirror.MatchString(o.Mirror) {
			return "", fmt.Errorf("cannot use %q as address of a Debian archive", o.Mirror)
		}
		return o.Mirror, nil
	}
	result, err := proc.Run(ctx, proc.Command{Argv: []string{
		"apt-get", "indextargets", "--no-release-info", "--format", "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)",
	}})
	if err != nil {
		return "", aptMissing(err)
	}
	if mirror := pickMirror(result.Stdout); mirror != "" {
		return mirror, nil
	}
	return "", fmt.Errorf("%w: apt on this machine has no Debian archive among its sources", ErrNoArchive)
}

func pickMirror(targets string) string {
	best, bestScore := "", 0
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[0] != "Packages" || fields[1] != "main" || !safeMirror.MatchString(fields[3]) {
			continue
		}
		release, uri := fields[2], fields[3]
		if strings.ContainsAny(release, "-/") || strings.Contains(uri, "security") {
			continue
		}
		score := 1
		if strings.HasSuffix(strings.TrimRight(uri, "/"), "/debian") {
			score = 2
		}
		if score > bestScore {
			best, bestScore = uri, score
		}
	}
	return best
}

// archiveKeys returns where the packages of Debian and its derivatives put the keys of the Debian archive.
func archiveKeys() []string {
	return []string{
		"usr/share/keyrings/debian-archive-keyring.gpg",
		"usr/share/keyrings/debian-archive-keyring.pgp",
	}
}

func keyringIn(root string) string {
	keys := archiveKeys()
	i := slices.IndexFunc(keys, func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	})
	if i < 0 {
		return ""
	}
	return filepath.Join(root, keys[i])
}

// suiteApt returns an updated private apt for one suite of the Debian archive. A machine whose keyring is too old for the suite (or that is not Debian)
// gets the newest keyring package of its own sources, verified with its own keys.
func suiteApt(ctx context.Context, dir string, m machine, suite string, o FetchOptions) (*apt, error) {
	mirror, err := debianMirror(ctx, o)
	if err != nil {
		return nil, err
	}
	try := func(keyring string) (*apt, error) {
		source := fmt.Sprintf("deb [signed-by=%s target=Packages] %s %s main\n", keyring, mirror, suite)
		private, makeErr := newApt(filepath.Join(dir, "apt"), m, source, o)
		if makeErr != nil {
			return nil, makeErr
		}
		return private, private.update(ctx)
	}
	if keyring := keyringIn("/"); keyring != "" {
		private, tryErr := try(keyring)
		if !errors.Is(tryErr, errUntrusted) {
			return private, tryErr
		}
	}
	o.progress("the keys of this machine do not cover %s; asking its own sources for newer ones", suite)
	keyring, err := newerKeyring(ctx, filepath.Join(dir, "keys"), m, o)
	if err != nil {
		return nil, err
	}
	return try(keyring)
}

func newerKeyring(ctx context.Context, dir string, m machine, o FetchOptions) (string, error) {
	own, err := newApt(filepath.Join(dir, "apt"), m, "", o)
	if err != nil {
		return "", err
	}
	if err := own.update(ctx); err != nil {
		return "", err
	}
	debs, err := own.download(ctx, "debian-archive-keyring")
	if err != nil {
		return "", fmt.Errorf("%w (install the package debian-archive-keyring): %w", errUntrusted, err)
	}
	tree := filepath.Join(dir, "tree")
	if err := extract(ctx, debs, tree); err != nil {
		return "", err
	}
	keyring := keyringIn(tree)
	if keyring == "" {
		return "", fmt.Errorf("%w: the package debian-archive-keyring contains none", errUntrusted)
	}
	return keyring, nil
}

// isRoot reports whether the process is root, by user id as the kernel does.
func isRoot() bool { return os.Geteuid() == 0 }

// unprivileged returns the user for parts that do not run as root.
func unprivileged() (*proc.Credential, error) {
	account, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("cannot find the user nobody: %w", err)
	}
	var credential proc.Credential
	if _, err := fmt.Sscan(account.Uid+" "+account.Gid, &credential.UID, &credential.GID); err != nil {
		return nil, fmt.Errorf("cannot read the numbers of the user nobody: %w", err)
	}
	return &credential, nil
}
