// Package deploy holds what a host needs beside the program: the unit of systemd with its hardening, the drop-in for a wider network, the
// user. There is no code here but tests, which put these files before systemd's own tools, and boot a systemd that runs the service.
package deploy
