package config

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/synergycall/pbxportal/internal/regular"
)

// amiFaults returns the faults in the settings of Asterisk's Manager Interface.
func (c Config) amiFaults() (faults []error) {
	if c.AMIUser == "" {
		if c.AMIAddr != "" && c.AMIAddr != DefaultAMIAddr || c.AMISecret != "" || c.AMISecretFile != "" {
			faults = append(faults, errors.New("AMI_USER is missing: set it to the name of the portal's user in manager.conf, or remove the other AMI settings"))
		}
		return faults
	}
	if strings.ContainsAny(c.AMIUser+c.AMISecret, "\x00\r\n") {
		faults = append(faults, errors.New("AMI_USER and AMI_SECRET must be one line each"))
	}
	if _, port, err := net.SplitHostPort(c.AMIAddr); err != nil || port == "" {
		faults = append(faults, fmt.Errorf("AMI_ADDR %q is not host:port: use a value such as %s", c.AMIAddr, DefaultAMIAddr))
	}
	if (c.AMISecret == "") == (c.AMISecretFile == "") {
		faults = append(faults, errors.New("AMI_USER is set, so exactly one of AMI_SECRET and AMI_SECRET_FILE must be, too"))
	}
	return faults
}

// largestSecret is more than the size of any secret.
const largestSecret = 4096

// ReadAMISecret returns the secret of the Manager Interface. A file must be readable only for its owner and group.
func (c Config) ReadAMISecret() (string, error) {
	if c.AMISecretFile == "" {
		return c.AMISecret, nil
	}
	return readSecret("AMI_SECRET_FILE", c.AMISecretFile)
}

// readSecret returns the content of a setting's file: one line. A file that is readable or writable for all users is an error.
func readSecret(setting, path string) (string, error) {
	text, info, err := regular.Read(path, largestSecret)
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read %s: %w", setting, err)
	case info.Mode().Perm()&0o007 != 0:
		return "", fmt.Errorf("%s %s is readable for all users: set its mode with chmod 0640", setting, path)
	case info.Mode().Perm()&0o022 != 0:
		return "", fmt.Errorf("%s %s is writable for users other than its owner: set its mode with chmod 0640", setting, path)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\x00\r\n") {
		return "", fmt.Errorf("%s %s must hold the secret, in one line", setting, path)
	}
	return secret, nil
}
