//go:build unix && !linux

package proc

import "syscall"

// attributes gives the child its own process group; only Linux can tie its life to the portal's.
func attributes(bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// awaitExit has no equivalent here, so a group that outlives its leader is missed.
func awaitExit(int) bool { return false }

func killAndAwait([]int) {}

func childrenOf(int) []int { return nil }
