package apply

import (
	"context"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Target is one Asterisk host, as the engine needs it: node.Local in the program, a script in the tests of the engine. Whoever calls a
// method that changes files holds the lock.
type Target interface {
	// Lock takes the host's files for this caller, across all processes, or says at once that somebody else has them.
	Lock() (unlock func(), held bool, err error)
	// Recover puts the files in order after whatever happened to an earlier apply, and says what it did.
	Recover() (did []string, err error)
	// Inspect looks at the files, and changes nothing.
	Inspect() (pbx.Site, error)
	// Adopt takes over a host on which the portal never was: what lies at the two paths becomes revision number, byte for byte; missing
	// is what a path gets where nothing lies. It gives the files that are in place then.
	Adopt(number int, id pbx.RunID, missing []pbx.File) ([]pbx.File, error)
	// Reclaim takes the paths back from whoever changed them, once save has what stood there.
	Reclaim(save func(pbx.File) error) error
	// Stage writes a revision where nobody reads it yet, safely on disk.
	Stage(number, parent int, id pbx.RunID, files []pbx.File) error
	// Flip makes a revision, new or old, the one Asterisk reads, both files at one moment, and gives their paths. ErrInDoubt means
	// that a power cut may undo it; any other error that nothing changed.
	Flip(number int) (paths []string, err error)
	// Accept notes that Asterisk was seen to run the current revision.
	Accept(number int) error
	// Prune drops old revisions from the disk.
	Prune(keep int) error

	// Reload asks Asterisk to take the files, and waits within a limit while it is busy or still starting. What came of it is filled also
	// beside an error, whose text is a sentence for people: why Asterisk did not reload, and what to do.
	Reload(ctx context.Context) (pbx.Reload, error)
	// Live asks Asterisk what it has loaded. An error means that there was no answer that can be compared.
	Live(ctx context.Context, q pbx.Question) (pbx.Live, error)
	// Forget makes Asterisk forget the phones registered at these numbers, and gives the numbers of which it forgot one.
	Forget(ctx context.Context, numbers []pbx.Number) ([]pbx.Number, error)
}
