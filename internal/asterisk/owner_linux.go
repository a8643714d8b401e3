package asterisk

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/regular"
)

// Owner is the identity with which an Asterisk opens files.
type Owner struct {
	UID, GID uint32
	Groups   []uint32 // supplementary ones, as far as visible
	ReadsAll bool     // it has a capability to read any file
}

// Owner returns the identity of the Asterisk behind the control socket; ok is false if a command is used instead of the socket, and if no process
// listens on it.
func (c *Control) Owner(ctx context.Context) (o Owner, ok bool) {
	if c.argv != nil || c.places.take(ctx, true) != nil {
		return o, false
	}
	defer c.places.leave()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := dial(ctx, c.socket)
	if err != nil {
		return o, false
	}
	defer func() { _ = conn.Close() }()
	unixConn, is := conn.(*net.UnixConn)
	if !is {
		return o, false
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return o, false
	}
	var peer *unix.Ucred
	err = raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || peer == nil {
		return o, false
	}
	o = Owner{UID: peer.Uid, GID: peer.Gid, ReadsAll: peer.Uid == 0}
	status, _, err := regular.Read(fmt.Sprintf("/proc/%d/status", peer.Pid), 1<<16) // in another PID namespace there is none
	if err != nil {
		return o, true
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Groups":
			for field := range strings.FieldsSeq(value) {
				if gid, err := strconv.ParseUint(field, 10, 32); err == nil {
					o.Groups = append(o.Groups, uint32(gid))
				}
			}
		case "CapEff":
			if caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil {
				o.ReadsAll = caps&(1<<unix.CAP_DAC_OVERRIDE|1<<unix.CAP_DAC_READ_SEARCH) != 0
			}
		}
	}
	return o, true
}
