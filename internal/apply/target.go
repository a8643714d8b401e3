package apply

import (
	"context"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Target is one Asterisk host, as the engine needs it: node.Local in the program, a script in the tests of the engine.
type Target interface {
	// Write puts all files in their places below Asterisk's configuration directory, or none, and returns their absolute paths.
	Write(ctx context.Context, files []pbx.File) (written []string, err error)
	// Reload asks Asterisk to take the files. The results hold the answer of every command that was sent, also beside an error,
	// whose text is a sentence for people: why Asterisk did not reload, and what to do. understood is false when the answers are
	// neither Asterisk's yes nor its no, as those of a stand-in for its command are.
	Reload(ctx context.Context) (results pbx.ReloadResults, understood bool, err error)
	// Live asks Asterisk what it has loaded. An error means that there was no answer that can be compared.
	Live(ctx context.Context) (pbx.Live, error)
}
