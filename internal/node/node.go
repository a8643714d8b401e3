// Package node is one Asterisk host: where its files lie, how it is asked to take them, and how one finds out what it runs. It knows
// what our objects are; how a file is replaced safely (filetx) and how Asterisk is spoken to (asterisk) it leaves to others.
//
// Local is the host the portal itself runs on. It serves the apply engine as its Target, without knowing the engine.
package node

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/filetx"
)

// stateTimeout bounds the question of State, which a health check asks and must not wait for.
const stateTimeout = 800 * time.Millisecond

// Local is the Asterisk of this host. It is safe for concurrent use.
type Local struct {
	dir     string // Asterisk's configuration directory
	tree    *filetx.Tree
	control *asterisk.Control // for applies
	looks   *asterisk.Control // the same consoles, for all that can wait while an apply needs one
}

// New makes a Local for the Asterisk whose configuration lies in dir and that control speaks to. It touches nothing.
func New(dir string, control *asterisk.Control) (*Local, error) {
	tree, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	return &Local{dir, tree, control, control.Patient()}, nil
}

// State tells how Asterisk is: its version, "" when it gave none, and "ok" or a sentence that says what is wrong. It answers within a
// second of having a console, for which it waits while an apply uses both.
func (l *Local) State(ctx context.Context) (version, state string) {
	version, err := l.looks.WithTimeout(stateTimeout).Version(ctx)
	if err != nil {
		return "", err.Error()
	}
	return version, "ok"
}
