// Package deploy contains what a host needs besides the program: the systemd unit with its hardening, the drop-in for a wider network, and the user. It
// has no code but tests, which check these files with systemd's own tools, and boot a systemd that runs the service.
package deploy
