package config_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/config"
)

func TestTheManagerInterfaceNeedsAUserAndOneSecret(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		config config.Config
		fault  string
	}{
		{config.Config{}, ""},
		{config.Config{AMIUser: "portal", AMISecret: "canary"}, ""},
		{config.Config{AMIUser: "portal", AMISecretFile: "/x", AMIAddr: "[::1]:5039"}, ""},
		{config.Config{AMIAddr: config.DefaultAMIAddr}, ""},
		{config.Config{AMISecret: "canary"}, "AMI_USER"},
		{config.Config{AMIAddr: "127.0.0.1:1"}, "AMI_USER"},
		{config.Config{AMIUser: "portal"}, "AMI_SECRET_FILE"},
		{config.Config{AMIUser: "portal", AMISecret: "canary", AMISecretFile: "/x"}, "exactly one"},
		{config.Config{AMIUser: "portal", AMISecret: "canary", AMIAddr: "localhost"}, "AMI_ADDR"},
		{config.Config{AMIUser: "por\ntal", AMISecret: "canary"}, "one line"},
	} {
		tc.config.StateDir = t.TempDir()
		got, err := tc.config.Complete()
		if (err == nil) != (tc.fault == "") || err != nil && (!strings.Contains(err.Error(), tc.fault) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%+v: %v", tc.config, err)
		}
		if err == nil && got.AMIUser != "" && got.AMIAddr == "" {
			t.Errorf("%+v has no address", got)
		}
		if shown := fmt.Sprint(slog.AnyValue(got).Resolve()); strings.Contains(shown, "canary") {
			t.Errorf("the log shows %s", shown)
		}
	}
}

func TestASecretFileMustNotBeReadableByOtherUsers(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "secret")
	c := config.Config{AMIUser: "portal", AMISecretFile: name}
	if _, err := c.ReadAMISecret(); err == nil {
		t.Error("a missing file gave a secret")
	}
	for _, tc := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"s3cret\n", 0o600, "s3cret"},
		{"s3cret", 0o640, "s3cret"},
		{"s3cret", 0o644, ""},
		{"", 0o600, ""},
		{"two\nlines\n", 0o600, ""},
		{strings.Repeat("x", 5000), 0o600, ""},
	} {
		if err := os.WriteFile(name, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tc.mode); err != nil {
			t.Fatal(err)
		}
		if got, err := c.ReadAMISecret(); got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%.20q, mode %o: %q, %v", tc.text, tc.mode, got, err)
		}
	}
}
