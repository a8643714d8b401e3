// Package config is about the settings of the program: which there are, what they mean, what they default to, and where a value
// came from. It reads the environment only through what it is handed, and decides nothing but defaults.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"
)

// Config holds every setting. The struct tags are for the command line (kong): a flag, and the variable that stands in for it.
type Config struct {
	DatabaseURL       string `name:"database-url"        env:"DATABASE_URL"        placeholder:"URL"  help:"Database: postgresql://user:password@host:port/name, or sqlite:///path of a file. Default: SQLite at STATE_DIR/portal.db."`
	LogLevel          string `name:"log-level"           env:"LOG_LEVEL"           placeholder:"LEVEL" help:"DEBUG, INFO, WARNING or ERROR, in any case. Default: INFO."`
	ListenAddr        string `name:"listen-addr"         env:"LISTEN_ADDR"         placeholder:"ADDR" help:"Where serve listens, host:port. Default: 127.0.0.1:8000."`
	StateDir          string `name:"state-dir"           env:"STATE_DIR"           placeholder:"DIR"  help:"Everything the portal keeps for itself. Default: /var/lib/pbxportal, or ./data where that cannot be written."`
	AsteriskConfigDir string `name:"asterisk-config-dir" env:"ASTERISK_CONFIG_DIR" placeholder:"DIR"  help:"Asterisk's configuration folder; the generated files lie below it. Default: /etc/asterisk."`
	AsteriskControl   string `name:"asterisk-control"    env:"ASTERISK_CONTROL"    placeholder:"PATH" help:"Asterisk's control socket, or exec:COMMAND to run COMMAND -rx instead. Default: /var/run/asterisk/asterisk.ctl."`
}

// The defaults, but for those that depend on the machine: see Complete.
const (
	DefaultLogLevel          = "INFO"
	DefaultListenAddr        = "127.0.0.1:8000"
	DefaultStateDir          = "/var/lib/pbxportal"
	FallbackStateDir         = "data"
	DefaultAsteriskConfigDir = "/etc/asterisk"
	DefaultAsteriskControl   = "/var/run/asterisk/asterisk.ctl"
)

// Dotenv reads a .env file by the usual rules: quotes, comments, export, and ${NAME} for earlier values. A missing file is no
// error and gives nothing.
func Dotenv(path string) (map[string]string, error) {
	values, err := godotenv.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		// godotenv's error quotes the line, which may hold a password.
		return nil, fmt.Errorf("cannot read %s: it is not a list of NAME=value lines, or may not be read", path)
	}
	return values, nil
}

// Complete gives the settings with defaults for all that is empty, and checks the form of each. The error names every setting that
// is wrong, with the cure.
func (c Config) Complete() (Config, error) {
	c.LogLevel = strings.ToUpper(or(c.LogLevel, DefaultLogLevel))
	c.ListenAddr = or(c.ListenAddr, DefaultListenAddr)
	c.AsteriskConfigDir = or(c.AsteriskConfigDir, DefaultAsteriskConfigDir)
	c.AsteriskControl = or(c.AsteriskControl, DefaultAsteriskControl)
	if c.StateDir == "" {
		c.StateDir = DefaultStateDir
		if !writable(c.StateDir) {
			c.StateDir = FallbackStateDir
		}
	}
	var faults []error
	for _, dir := range []*string{&c.StateDir, &c.AsteriskConfigDir} {
		abs, err := filepath.Abs(*dir)
		faults = append(faults, err)
		*dir = abs
	}
	if c.DatabaseURL == "" {
		c.DatabaseURL = "sqlite:///" + filepath.Join(c.StateDir, "portal.db")
	}
	if _, err := c.Level(); err != nil {
		faults = append(faults, err)
	}
	if _, _, err := net.SplitHostPort(c.ListenAddr); err != nil {
		faults = append(faults, fmt.Errorf("LISTEN_ADDR %q is not host:port: give something like %s", c.ListenAddr, DefaultListenAddr))
	}
	return c, errors.Join(faults...)
}

// Level gives LogLevel as log/slog knows it.
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

// LogValue shows the settings without the database's password.
func (c Config) LogValue() slog.Value {
	database := "set, but not a URL"
	if u, err := url.Parse(c.DatabaseURL); err == nil && u.Scheme != "" {
		u.RawQuery = ""
		database = u.Redacted()
	}
	return slog.GroupValue(
		slog.String("database_url", database),
		slog.String("log_level", c.LogLevel),
		slog.String("listen_addr", c.ListenAddr),
		slog.String("state_dir", c.StateDir),
		slog.String("asterisk_config_dir", c.AsteriskConfigDir),
		slog.String("asterisk_control", c.AsteriskControl),
	)
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// writable reports whether the folder can be made, or is there and takes files.
func writable(dir string) bool {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}
