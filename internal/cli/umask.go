package cli

import "syscall"

// AdmitGroup makes the umask of the process leave owner and group their rights to read files and to pass through folders; the other bits stay as they
// were inherited. Asterisk reads the generated files through their group, and a folder made under a stricter umask cannot be repaired afterwards: a
// process outside the group loses the folder's setgid bit when it changes the mode. Private files are created with mode 0600 anyway. Call it before
// anything else runs.
func AdmitGroup() { syscall.Umask(syscall.Umask(0o777) &^ 0o750) }
