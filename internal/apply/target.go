package apply

import (
	"context"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Target is one Asterisk host: node.Local in the program, a script in the tests of the engine. Methods that change files must be called with the lock
// held.
type Target interface {
	// Lock takes the host's files for this caller, across all processes, or reports at once that they are locked.
	Lock() (unlock func(), held bool, err error)
	// Recover removes what an interrupted apply left, and returns what it did. It changes nothing that Asterisk reads, and nothing that was edited
	// externally.
	Recover() (did []string, err error)
	// Inspect reads the state of the files.
	Inspect() (pbx.HostState, error)
	// Declared returns the objects named by extension numbers that Asterisk's configuration files define, without the portal's files. If it returns an error
	// as well, the result covers the readable files.
	Declared(ctx context.Context) ([]pbx.HostObject, error)
	// Adopt takes over a host on which the portal was never used: the existing files become revision number, byte for byte; missing has the content of those
	// that do not exist. It returns the files then in place.
	Adopt(number int, id pbx.RunID, missing []pbx.File) ([]pbx.File, error)
	// Overwrite undoes external changes, once save has stored the changed content. It returns the files then in place.
	Overwrite(save func(pbx.File) error) ([]pbx.File, error)
	// Stage writes a revision to disk, synced, where it is not read yet.
	Stage(number, parent int, id pbx.RunID, files []pbx.File) error
	// Activate activates a revision, new or old, all files atomically, and returns their paths. over are the files that the caller expects to be in place;
	// ErrEdited means that they were changed externally meanwhile. ErrInDoubt means that a power cut may undo the switch; any other error means that nothing
	// changed.
	Activate(number int, over []pbx.File) (paths []string, err error)
	// MarkVerified records that Asterisk was seen to run the current revision, number.
	MarkVerified(number int) error
	// Doubt records that it is no longer known whether Asterisk runs a revision, until it is verified again.
	Doubt(number int) error
	// Prune deletes old revisions from the disk, except the newest keep, the current one and the last verified one, once save has stored the external
	// changes in them.
	Prune(keep int, save func(pbx.File) error) error

	// Reload asks these modules of Asterisk to reload, and waits, within a limit, while it is busy or still starting. The result is filled in also
	// with an error, whose text is a sentence for people: why Asterisk did not reload, and what to do.
	Reload(ctx context.Context, modules []pbx.Module) (pbx.Reload, error)
	// Live queries what Asterisk has loaded, and separates what is not the portal's. An error means that there was no answer that can be compared.
	Live(ctx context.Context, q pbx.LiveQuery) (pbx.Live, error)
	// Switches returns the switches of all users who have one on.
	Switches(ctx context.Context) (map[pbx.Number]pbx.Switches, error)
	// SetSwitches changes the switches of a user from what they were.
	SetSwitches(ctx context.Context, number pbx.Number, from, to pbx.Switches) error
	// PrepareSwitches records in Asterisk which switches users have once Asterisk was seen to run a revision: the effects MoveSwitches and ClearSwitches.
	PrepareSwitches(ctx context.Context, revision int, effects []pbx.Effect) error
	// SettleSwitches carries out what was prepared for the revision that Asterisk was last seen to run, also by an interrupted apply, and returns the
	// numbers whose switches changed.
	SettleSwitches(ctx context.Context) (changed []pbx.Number, err error)
	// Do carries out the other effects in order, and returns those that changed something.
	Do(ctx context.Context, effects []pbx.Effect) (done []pbx.Effect, err error)
}
