package proc

import (
	"os"
	"strings"
)

// Inherited returns the environment variables, as KEY=value, that programs chosen by an administrator need to reach their services: a home folder,
// an agent, a Docker host, a proxy. Unknown variables and the portal's own settings, which include passwords and keys, are not among them.
func Inherited() []string {
	var kept []string
	for _, entry := range os.Environ() { //nolint:forbidigo // no setting of the portal is read
		if name, _, ok := strings.Cut(entry, "="); ok && leads(name) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// leads reports whether a variable is passed on. LC_ALL=C outweighs LANG, so that programs respond in English.
func leads(name string) bool {
	switch name {
	case "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "SSH_AUTH_SOCK", "KUBECONFIG",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy":
		return true
	}
	for _, prefix := range []string{"DOCKER_", "CONTAINER_", "CONTAINERS_", "PODMAN_", "LXC_", "LXD_", "INCUS_", "KUBERNETES_", "XDG_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
