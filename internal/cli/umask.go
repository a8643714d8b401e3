package cli

import "syscall"

// AdmitGroup makes the umask of the process leave owner and group the permissions to read files and to traverse folders; the other bits stay as
// inherited. Asterisk reads the generated files through their group, and a folder created with a stricter umask cannot be repaired afterwards: a process
// outside the group loses the folder's setgid bit when it changes the mode. Private files are created with mode 0600 anyway. Call it before anything
// else.
func AdmitGroup() { syscall.Umask(syscall.Umask(0o777) &^ 0o750) }
