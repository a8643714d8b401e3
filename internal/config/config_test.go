package config_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/config"
)

func TestWhatIsNotSetGetsItsDefault(t *testing.T) {
	t.Parallel()
	c, err := config.Config{StateDir: "/s"}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		DatabaseURL: "sqlite:////s/portal.db", LogLevel: "INFO", ListenAddr: "127.0.0.1:8000", StateDir: "/s",
		AsteriskConfigDir: "/etc/asterisk", AsteriskControl: "/var/run/asterisk/asterisk.ctl",
		SecretStorage: "sealed", SecondFactor: "offered", SecretMode: "password", Realm: "asterisk", Algorithms: "MD5,SHA-256",
		RingTimeout: 25, RTPTimeout: 120, RTPTimeoutHold: 600, KeepRevisions: 20,
	}
	if c != want {
		t.Errorf("got %+v", c)
	}
	if _, err := os.Stat("/s"); err == nil {
		t.Error("completing settings made a folder")
	}
}

func TestEverySettingThatIsWrongIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Config{StateDir: "/s", LogLevel: "LOUD", ListenAddr: "8000", SecretStorage: "open", SecondFactor: "x", SecretMode: "clear", Realm: "a\nb"}.Complete()
	if err == nil || !strings.Contains(err.Error(), "SECRET_STORAGE") || !strings.Contains(err.Error(), "SECOND_FACTOR") || !strings.Contains(err.Error(), "SECRET_MODE") || !strings.Contains(err.Error(), "REALM") || !strings.Contains(err.Error(), "LOG_LEVEL") || !strings.Contains(err.Error(), "LISTEN_ADDR") {
		t.Errorf("error %v", err)
	}
}

// Taken literally, such a path makes an installation in a folder of that name, beside the one that was meant.
func TestAPathThatOnlyAShellUnderstandsIsRefused(t *testing.T) {
	t.Parallel()
	for says, c := range map[string]config.Config{
		"STATE_DIR has ~ in":               {StateDir: "~/portal"},
		"STATE_DIR has $HOME in":           {StateDir: "$HOME/portal"},
		"ASTERISK_CONFIG_DIR has ~ in":     {AsteriskConfigDir: "~/etc"},
		"DATABASE_URL has ${HOME} in":      {DatabaseURL: "sqlite:///${HOME}/portal.db"},
		"DATABASE_URL names a database in": {DatabaseURL: "sqlite:///:memory:"},
		"SECRET_KEY_FILE has ~ in":         {SecretKeyFile: "~/key"},
	} {
		if c.StateDir == "" {
			c.StateDir = "/s"
		}
		if _, err := c.Complete(); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("want %q, got the error %v", says, err)
		}
	}
	c := config.Config{StateDir: "/s/a~b/~backup/x$y", AsteriskControl: "exec:docker exec $PBX asterisk", DatabaseURL: "postgresql://~:$p@h/~"}
	if _, err := c.Complete(); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestLevelsAreTakenInAnyCase(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "Info": slog.LevelInfo, "WARNING": slog.LevelWarn, "warn": slog.LevelWarn, "eRRoR": slog.LevelError,
	} {
		if got, err := (config.Config{LogLevel: text}).Level(); err != nil || got != want {
			t.Errorf("%s: %v, error %v", text, got, err)
		}
	}
}

func TestTheLogShowsTheSettingsWithoutThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://user:topsecret@host/db", "postgres://host/db?password=topsecret", "postgres://user:topsecret%zz@host/db", "topsecret",
		"postgres://u:12/topsecret@host/db", "postgres://topsecret:12?x@host/db", "postgres://u:12#topsecret@host/db", "postgres://u:a@b/topsecret@host/db", "postgres://host/db#topsecret",
	} {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("settings", "settings", config.Config{DatabaseURL: url, LogLevel: "INFO", SecretKey: "topsecret"})
		if strings.Contains(out.String(), "topsecret") || !strings.Contains(out.String(), "log_level=INFO") {
			t.Errorf("%s: %s", url, out.String())
		}
	}
}
