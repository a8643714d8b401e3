// Package node is one Asterisk host: where its files are, how Asterisk reloads them, and how to find out what it runs. It knows our objects, but leaves
// replacing files safely to filetx and the protocols of Asterisk to asterisk.
//
// Local is the host the portal itself runs on. It is the Target of the apply engine, without depending on the engine.
package node

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/filetx"
)

// stateTimeout bounds the query of State, which a health check makes and must not wait for.
const stateTimeout = 800 * time.Millisecond

// Local is the Asterisk of this host. It is safe for concurrent use.
type Local struct {
	dir     string // Asterisk's configuration directory
	tree    *filetx.Tree
	control *asterisk.Control // for applies
	looks   *asterisk.Control // the same consoles, for everything that can wait while an apply needs one
}

// New returns a Local for the Asterisk with the configuration folder dir that control speaks to. It accesses neither.
func New(dir string, control *asterisk.Control) (*Local, error) {
	tree, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	return &Local{dir, tree, control, control.Patient()}, nil
}

// State returns the version of Asterisk, "" if it gave none, and "ok" or a sentence that says what is wrong. It answers within a second of having a
// console, for which it waits while an apply uses both.
func (l *Local) State(ctx context.Context) (version, state string) {
	version, err := l.looks.WithTimeout(stateTimeout).Version(ctx)
	if err != nil {
		return "", err.Error()
	}
	return version, "ok"
}
