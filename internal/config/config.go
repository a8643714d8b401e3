// Package config defines the settings of the program: their names, meanings, defaults and sources. It reads the environment only through the function it
// is given, and decides only defaults and whether a value is valid.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Config holds every setting. The struct tags are for the command line (kong): a flag, and the variable that replaces it.
type Config struct {
	DatabaseURL       string `name:"database-url"        env:"DATABASE_URL"        placeholder:"URL"  help:"Database: postgresql://user:password@host:port/name, or sqlite:///path of a file. Default: SQLite at STATE_DIR/portal.db."`
	LogLevel          string `name:"log-level"           env:"LOG_LEVEL"           placeholder:"LEVEL" help:"DEBUG, INFO, WARNING or ERROR, in upper or lower case. Default: INFO."`
	ListenAddr        string `name:"listen-addr"         env:"LISTEN_ADDR"         placeholder:"ADDR" help:"Where serve listens, host:port. Default: 127.0.0.1:8000."`
	StateDir          string `name:"state-dir"           env:"STATE_DIR"           placeholder:"DIR"  help:"The portal's own state. Default: /var/lib/pbxportal, or ./data where that cannot be written."`
	AsteriskConfigDir string `name:"asterisk-config-dir" env:"ASTERISK_CONFIG_DIR" placeholder:"DIR"  help:"Asterisk's configuration folder; the generated files are stored below it. Default: /etc/asterisk."`
	AsteriskControl   string `name:"asterisk-control"    env:"ASTERISK_CONTROL"    placeholder:"PATH" help:"Asterisk's control socket, or exec:COMMAND to run COMMAND -rx instead. Default: /var/run/asterisk/asterisk.ctl."`

	PublicURL      string `name:"public-url"      env:"PUBLIC_URL"      placeholder:"URL"   help:"The address users open, such as https://pbx.example.com, if it differs from the listen address."`
	AllowedHosts   string `name:"allowed-hosts"   env:"ALLOWED_HOSTS"   placeholder:"NAMES" help:"Further host names the portal answers to, separated by commas. Those of loopback and of LISTEN_ADDR are always allowed."`
	TrustedProxies string `name:"trusted-proxies" env:"TRUSTED_PROXIES" placeholder:"NETS"  help:"Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted, separated by commas."`
	TLSCert        string `name:"tls-cert"        env:"TLS_CERT"        placeholder:"FILE"  help:"Certificate chain (PEM) for HTTPS; reloaded when it changes."`
	TLSKey         string `name:"tls-key"         env:"TLS_KEY"         placeholder:"FILE"  help:"Key (PEM) of the certificate."`
	ACMEHosts      string `name:"acme-hosts"      env:"ACME_HOSTS"      placeholder:"NAMES" help:"Host names to obtain certificates for by ACME (Let's Encrypt), separated by commas. Setting it accepts the authority's terms; the authority must reach LISTEN_ADDR on port 443."`
	ACMEEmail      string `name:"acme-email"      env:"ACME_EMAIL"      placeholder:"EMAIL" help:"E-mail address for notices of the authority."`
	ACMEDirectory  string `name:"acme-directory"  env:"ACME_DIRECTORY"  placeholder:"URL"   help:"Directory URL of another ACME authority. Default: Let's Encrypt."`

	SecretKey     string `name:"secret-key"      env:"SECRET_KEY"      placeholder:"KEY"  help:"Key that encrypts secrets in the database: 32 bytes in base64; several, separated by commas: the first encrypts, all decrypt. Command lines are visible to other users: use the variable, or better a file."`
	SecretKeyFile string `name:"secret-key-file" env:"SECRET_KEY_FILE" placeholder:"PATH" help:"File with that key, one per line, mode 0600. Default: the systemd credential secret-key, or else STATE_DIR/secret.key, which the first start creates."`
	SecretStorage string `name:"secret-storage"  env:"SECRET_STORAGE"  placeholder:"HOW"  help:"sealed, or plain for a database that another program, such as the Python portal, reads at the same time. Default: sealed."`

	OIDCIssuer           string `name:"oidc-issuer"             env:"OIDC_ISSUER"             placeholder:"URL"  help:"OpenID provider for signing in, such as https://id.example.com. Its redirect URI is PUBLIC_URL/auth/oidc/callback."`
	OIDCClientID         string `name:"oidc-client-id"          env:"OIDC_CLIENT_ID"          placeholder:"ID"   help:"OpenID client ID."`
	OIDCClientSecret     string `name:"oidc-client-secret"      env:"OIDC_CLIENT_SECRET"      placeholder:"TEXT" help:"OpenID client secret. Better in a file: OIDC_CLIENT_SECRET_FILE."`
	OIDCClientSecretFile string `name:"oidc-client-secret-file" env:"OIDC_CLIENT_SECRET_FILE" placeholder:"FILE" help:"File that contains the secret."`
	OIDCDefaultRole      string `name:"oidc-default-role"       env:"OIDC_DEFAULT_ROLE"       placeholder:"ROLE" help:"Role of the account that is created when the provider signs in a user who has none, such as auditor. Default: no account is created."`
	OIDCACR              string `name:"oidc-acr"                env:"OIDC_ACR"                placeholder:"LIST" help:"Values of the acr claim, separated by commas, that prove a second factor. If set, a sign-in without one of them had no second factor."`

	SecondFactor string `name:"second-factor" env:"SECOND_FACTOR" placeholder:"WHO" help:"Who needs a second factor: offered (optional), owners (owners and admins), or everyone. Default: offered."`

	AMIAddr       string `name:"ami-addr"        env:"AMI_ADDR"        placeholder:"ADDR" help:"Address of Asterisk's Manager Interface (AMI), host:port. Default: 127.0.0.1:5038."`
	AMIUser       string `name:"ami-user"        env:"AMI_USER"        placeholder:"NAME" help:"Its user in manager.conf, for registrations and calls. Default: none, and live state is off."`
	AMISecret     string `name:"ami-secret"      env:"AMI_SECRET"      placeholder:"TEXT" help:"The secret of that user."`
	AMISecretFile string `name:"ami-secret-file" env:"AMI_SECRET_FILE" placeholder:"FILE" help:"Or a file with the secret of that user."`
	SecretMode    string `name:"secret-mode"     env:"SECRET_MODE"     placeholder:"MODE" help:"Form of secrets in the files for Asterisk: password, or digest. Default: password."`
	Algorithms    string `name:"digest-algorithms" env:"DIGEST_ALGORITHMS" placeholder:"LIST" help:"Digest algorithms if SECRET_MODE is digest, in the order in which Asterisk offers them: MD5 and SHA-256, or one of them. Default: MD5,SHA-256, because many older phones answer only the first."`
	Realm         string `name:"realm"           env:"REALM"           placeholder:"NAME" help:"Realm of the digests; changing it changes every digest. Default: asterisk."`

	RingTimeout    Seconds `name:"ring-timeout"     env:"RING_TIMEOUT"     placeholder:"SECONDS" help:"How long a phone rings before the call ends as not answered, 5 to 600. Default: 25."`
	RTPTimeout     Seconds `name:"rtp-timeout"      env:"RTP_TIMEOUT"      placeholder:"SECONDS" help:"A call ends when one of its phones has sent no audio for this long, 5 to 86400; 0: never. Some phones send nothing while muted. Default: 120."`
	RTPTimeoutHold Seconds `name:"rtp-timeout-hold" env:"RTP_TIMEOUT_HOLD" placeholder:"SECONDS" help:"The same for a call on hold. Default: 600."`

	FeatureCodes OnOff `name:"feature-codes" env:"FEATURE_CODES" placeholder:"on|off" help:"Whether phones can dial feature codes for do not disturb and forwards (*78, *72 …), and follow the states of users with lamps. Default: off."`

	NumberQuarantine time.Duration `name:"number-quarantine" env:"NUMBER_QUARANTINE" placeholder:"TIME" help:"How long a released extension number is reserved before it is reused, such as 2h. Default: 0, at once."`
	KeepRevisions    Revisions     `name:"keep-revisions"    env:"KEEP_REVISIONS"    placeholder:"N"    help:"How many revisions of the generated files are kept for rollback, at least 2. Default: 20."`
}

// Revisions is a number of revisions, 0 if unset.
type Revisions int

// UnmarshalText reads a number that was set.
func (r *Revisions) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 2 {
		return errors.New("KEEP_REVISIONS must be a number of at least 2: the revision in place, and one to roll back to")
	}
	*r = Revisions(n)
	return nil
}

// OnOff is a setting that is on or off.
type OnOff bool

// UnmarshalText reads on or off.
func (o *OnOff) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "on":
		*o = true
	case "off", "":
		*o = false
	default:
		return fmt.Errorf("%q is neither on nor off", text)
	}
	return nil
}

// String returns on or off.
func (o OnOff) String() string {
	if o {
		return "on"
	}
	return "off"
}

// Seconds is a time in whole seconds, 0 if unset, and Never for a setting of 0.
type Seconds int

// Never disables a timeout.
const Never Seconds = -1

// UnmarshalText reads a number of seconds, or a duration such as 2m.
func (s *Seconds) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil {
		var d time.Duration
		d, err = time.ParseDuration(string(text))
		n = int(d / time.Second)
		if d%time.Second != 0 {
			err = errors.New("a part of a second")
		}
	}
	switch {
	case err != nil || n < 0 || n > 86400:
		return errors.New("must be a number of seconds of at most 86400, such as 120, or a time such as 2m")
	case n == 0:
		*s = Never
	default:
		*s = Seconds(n)
	}
	return nil
}

// The defaults, except those that depend on the machine: see Complete.
const (
	DefaultLogLevel          = "INFO"
	DefaultListenAddr        = "127.0.0.1:8000"
	DefaultStateDir          = "/var/lib/pbxportal"
	FallbackStateDir         = "data"
	DefaultAsteriskConfigDir = "/etc/asterisk"
	DefaultAsteriskControl   = "/var/run/asterisk/asterisk.ctl"
	DefaultSecretStorage     = Sealed
	DefaultSecondFactor      = Offered
	DefaultAMIAddr           = "127.0.0.1:5038" // if AMI_USER is set
	DefaultSecretMode        = Password
	DefaultRealm             = "asterisk"

	DefaultKeepRevisions = 20
)

// The values of SecretStorage.
const (
	Sealed = "sealed"
	Plain  = "plain"
)

// The values of SecondFactor, as in pbx.SecondFactor.
const (
	Offered  = "offered"
	Owners   = "owners"
	Everyone = "everyone"
)

// The values of SecretMode.
const (
	Password = "password"
	Digest   = "digest"
)

// DigestRealm returns the realm of digests, "" if the files hold passwords.
func (c Config) DigestRealm() string {
	if c.SecretMode == Digest {
		return c.Realm
	}
	return ""
}

// isRealm matches a realm that needs no escaping in a file and in a SIP header.
var isRealm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// Complete returns the settings with defaults for everything that is empty, and checks the form of each. The error names every invalid setting, with its
// fix.
func (c Config) Complete() (Config, error) { return c.CompleteWith(DefaultStateDir) }

// CompleteWith is Complete on a machine with another default for the state folder.
func (c Config) CompleteWith(stateDir string) (Config, error) {
	c.LogLevel = strings.ToUpper(or(c.LogLevel, DefaultLogLevel))
	c.ListenAddr = or(c.ListenAddr, DefaultListenAddr)
	c.AsteriskConfigDir = or(c.AsteriskConfigDir, DefaultAsteriskConfigDir)
	c.AsteriskControl = or(c.AsteriskControl, DefaultAsteriskControl)
	c.SecretStorage = strings.ToLower(or(c.SecretStorage, DefaultSecretStorage))
	var faults []error
	if c.StateDir == "" {
		var err error
		c.StateDir, err = defaultStateDir(stateDir)
		faults = append(faults, err)
	}
	for _, dir := range []*string{&c.StateDir, &c.AsteriskConfigDir} {
		abs, err := filepath.Abs(*dir)
		faults = append(faults, err)
		*dir = abs
	}
	if c.DatabaseURL == "" {
		c.DatabaseURL = inStateDir(c.StateDir)
	}
	if c.NumberQuarantine < 0 {
		faults = append(faults, errors.New("NUMBER_QUARANTINE must not be negative: use a duration such as 2h, or 0"))
	}
	c.SecretMode, c.Realm = strings.ToLower(or(c.SecretMode, DefaultSecretMode)), or(c.Realm, DefaultRealm)
	if c.SecretMode != Password && c.SecretMode != Digest {
		faults = append(faults, fmt.Errorf("SECRET_MODE %q is neither password nor digest", c.SecretMode))
	}
	if !isRealm.MatchString(c.Realm) {
		faults = append(faults, fmt.Errorf("REALM %q is not 1 to 64 letters, digits, dots, underscores and hyphens: use a value such as %s", c.Realm, DefaultRealm))
	}
	faults = append(faults, c.phoneFaults()...)
	c.SecondFactor = strings.ToLower(or(c.SecondFactor, DefaultSecondFactor))
	if !slices.Contains([]string{Offered, Owners, Everyone}, c.SecondFactor) {
		faults = append(faults, fmt.Errorf("SECOND_FACTOR %q is none of offered, owners and everyone", c.SecondFactor))
	}
	if c.SecretStorage != Sealed && c.SecretStorage != Plain {
		faults = append(faults, fmt.Errorf("SECRET_STORAGE %q is neither sealed nor plain", c.SecretStorage))
	}
	if _, err := c.Level(); err != nil {
		faults = append(faults, err)
	}
	if _, _, err := net.SplitHostPort(c.ListenAddr); err != nil {
		faults = append(faults, fmt.Errorf("LISTEN_ADDR %q is not host:port: use a value such as %s", c.ListenAddr, DefaultListenAddr))
	}
	if c.KeepRevisions == 0 {
		c.KeepRevisions = DefaultKeepRevisions
	}
	if c.AMIUser != "" {
		c.AMIAddr = or(c.AMIAddr, DefaultAMIAddr)
	}
	return c, errors.Join(slices.Concat(faults, c.pathFaults(), c.edgeFaults(), c.amiFaults())...)
}

// pathFaults returns the faults of paths that mean something only to a shell, or to SQLite: taken literally, they would make an installation in a folder
// of that name, beside the one that was meant.
func (c Config) pathFaults() (faults []error) {
	database, control := "", ""
	if path, is := strings.CutPrefix(c.DatabaseURL, "sqlite:///"); is && c.DatabaseURL != inStateDir(c.StateDir) {
		database = path
	}
	if !strings.HasPrefix(c.AsteriskControl, "exec:") {
		control = c.AsteriskControl
	}
	for _, s := range []struct{ name, path string }{
		{"STATE_DIR", c.StateDir},
		{"ASTERISK_CONFIG_DIR", c.AsteriskConfigDir},
		{"ASTERISK_CONTROL", control},
		{"DATABASE_URL", database},
		{"TLS_CERT", c.TLSCert},
		{"TLS_KEY", c.TLSKey},
		{"SECRET_KEY_FILE", c.SecretKeyFile},
		{"OIDC_CLIENT_SECRET_FILE", c.OIDCClientSecretFile},
		{"AMI_SECRET_FILE", c.AMISecretFile},
	} {
		for part := range strings.SplitSeq(s.path, "/") {
			switch {
			case part == "~" || strings.HasPrefix(part, "$"):
				faults = append(faults, fmt.Errorf("%s has %s in its path, which only a shell replaces: write the whole path, such as %s", s.name, part, DefaultStateDir))
			case part == ":memory:":
				faults = append(faults, fmt.Errorf("%s names a database in memory, which would be empty at each start: use a file, such as %s", s.name, inStateDir(DefaultStateDir)))
			}
		}
	}
	return faults
}

// phoneFaults sets the defaults of the settings of phones, and returns their faults.
func (c *Config) phoneFaults() (faults []error) {
	c.Algorithms = strings.ToUpper(strings.ReplaceAll(or(c.Algorithms, pbx.DefaultDigestAlgorithms), " ", ""))
	if !slices.Contains([]string{"MD5,SHA-256", "SHA-256,MD5", "MD5", "SHA-256"}, c.Algorithms) {
		faults = append(faults, fmt.Errorf("DIGEST_ALGORITHMS %q is none of MD5,SHA-256 and SHA-256,MD5 and MD5 and SHA-256", c.Algorithms))
	}
	for _, s := range []struct {
		name        string
		value       *Seconds
		usual, most Seconds
		never       bool
	}{
		{"RING_TIMEOUT", &c.RingTimeout, pbx.DefaultRingTimeout, 600, false},
		{"RTP_TIMEOUT", &c.RTPTimeout, pbx.DefaultRTPTimeout, 86400, true},
		{"RTP_TIMEOUT_HOLD", &c.RTPTimeoutHold, pbx.DefaultRTPTimeoutHold, 86400, true},
	} {
		if *s.value == 0 {
			*s.value = s.usual
		}
		if (*s.value != Never || !s.never) && (*s.value < 5 || *s.value > s.most) {
			orNever := ""
			if s.never {
				orNever = ", or 0 for never"
			}
			faults = append(faults, fmt.Errorf("%s must be a number of seconds from 5 to %d%s", s.name, s.most, orNever))
		}
	}
	return faults
}

// Level returns LogLevel as a level of log/slog.
func (c Config) Level() (slog.Level, error) {
	switch strings.ToUpper(c.LogLevel) {
	case "DEBUG":
		return slog.LevelDebug, nil
	case "INFO":
		return slog.LevelInfo, nil
	case "WARNING", "WARN":
		return slog.LevelWarn, nil
	case "ERROR":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("LOG_LEVEL %q is not one of DEBUG, INFO, WARNING, ERROR", c.LogLevel)
}

// Value is a setting as shown to people.
type Value struct {
	Name string // of the variable
	Text string // without passwords and keys
}

// Values returns the settings in the order of their fields, without the database's password, keys and the secrets of other programs.
func (c Config) Values() []Value {
	fields := reflect.ValueOf(c)
	values := make([]Value, 0, fields.NumField())
	for i := range fields.NumField() {
		v := Value{Name: fields.Type().Field(i).Tag.Get("env"), Text: fmt.Sprint(fields.Field(i).Interface())}
		switch v.Name {
		case "DATABASE_URL":
			v.Text = shownURL(c.DatabaseURL)
		case "SECRET_KEY", "OIDC_CLIENT_SECRET", "AMI_SECRET":
			v.Text = hidden(v.Text)
		}
		values = append(values, v)
	}
	return values
}

// shownURL returns the address of the database without its password.
func shownURL(address string) string {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return ""
	case err != nil || u.Scheme == "":
		return "set, but not a URL"
	case u.Scheme != "sqlite" && strings.Contains(u.EscapedPath()+u.RawQuery+u.Fragment, "@"): // may be part of an unencoded password
		return "set, but cannot be shown"
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}

// LogValue returns the settings as Values does.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, v := range c.Values() {
		attrs = append(attrs, slog.String(strings.ToLower(v.Name), v.Text))
	}
	return slog.GroupValue(attrs...)
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// defaultStateDir returns the usual folder, or ./data if that does not exist and cannot be created. It creates neither. A folder that exists but is not
// writable is an error: it holds an installation's users, and an empty database elsewhere would hide them.
func defaultStateDir(usual string) (string, error) {
	switch _, err := os.Stat(usual); {
	case err == nil && unix.Access(usual, unix.W_OK|unix.X_OK) != nil:
		return usual, fmt.Errorf("the state folder %s is not writable for this user: run the command as its owner, or set STATE_DIR", usual)
	case err == nil:
		return usual, nil
	case unix.Access(filepath.Dir(usual), unix.W_OK|unix.X_OK) == nil:
		return usual, nil
	}
	return FallbackStateDir, nil
}
