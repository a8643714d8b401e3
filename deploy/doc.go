// Package deploy holds what a host needs beside the program: the unit of systemd with its hardening, the user, the folders. There is no
// code here but tests, which put these files before systemd's own tools.
package deploy
