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
	// Recover removes what an interrupted apply left, and says what it did. It changes nothing that is read at the two paths, and nothing
	// that others edited.
	Recover() (did []string, err error)
	// Inspect looks at the files, and changes nothing.
	Inspect() (pbx.Site, error)
	// Declared returns what Asterisk's configuration files define under numbers of the pool beside the portal's files. What comes with an error
	// is what the readable files define.
	Declared(ctx context.Context) ([]pbx.HostObject, error)
	// Adopt takes over a host on which the portal never was: what lies at the two paths becomes revision number, byte for byte; missing
	// is what a path gets where nothing lies. It gives the files that are in place then.
	Adopt(number int, id pbx.RunID, missing []pbx.File) ([]pbx.File, error)
	// Reclaim takes the paths back from whoever changed them, once save has what stood there. It gives the files that lie there then.
	Reclaim(save func(pbx.File) error) ([]pbx.File, error)
	// Stage writes a revision where nobody reads it yet, safely on disk.
	Stage(number, parent int, id pbx.RunID, files []pbx.File) error
	// Flip makes a revision, new or old, the one Asterisk reads, both files at one moment, and gives their paths. The caller says what it
	// believes to lie there now: ErrEdited means that others changed it meanwhile. ErrInDoubt means that a power cut may undo the flip;
	// any other error that nothing changed.
	Flip(number int, over []pbx.File) (paths []string, err error)
	// Accept notes that Asterisk was seen to run the current revision. Nothing else makes a revision the good one.
	Accept(number int) error
	// Doubt notes that it is no longer known whether Asterisk runs a revision, until it is accepted again.
	Doubt(number int) error
	// Prune drops old revisions from the disk, once save has what others changed in them.
	Prune(keep int, save func(pbx.File) error) error

	// Reload asks these modules of Asterisk to read their files again, and waits within a limit while it is busy or still starting. What came of
	// it is filled also beside an error, whose text is a sentence for people: why Asterisk did not reload, and what to do.
	Reload(ctx context.Context, modules []pbx.Module) (pbx.Reload, error)
	// Live asks Asterisk what it has loaded, and sorts out what is not the portal's. An error means that there was no answer that can be compared.
	Live(ctx context.Context, q pbx.Question) (pbx.Live, error)
	// Forget makes Asterisk forget the phones registered at these numbers, and gives the numbers of which it forgot one.
	Forget(ctx context.Context, numbers []pbx.Number) ([]pbx.Number, error)
}
