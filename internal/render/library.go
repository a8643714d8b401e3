package render

import (
	_ "embed"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// libraryNow and libraryBefore are the dialplan library: the routines that the dialplan of items calls, and those of the version before. The version is in
// the name of the context, so that a call that is in the routines of one version is not affected by another.
var (
	//go:embed library.conf
	libraryNow string
	//go:embed library_before.conf
	libraryBefore string
)

// libraryFile returns the content of the library file.
func libraryFile() string { return libraryNow + libraryBefore }

// library is the context of the routines.
const library = "sc-lib-4"

// Contexts of the dialplan of items. An extension in one of them is an object: calls lead to it by Goto, and never return from it.
const (
	userContext   = "sc-user"   // users, by number
	phonesContext = "sc-phones" // the phones of users that can register, by number
	limitContext  = "sc-limit"  // how many calls there can be to users with a limit, by number
	hangupContext = "sc-hangup" // ends of calls, by cause

	codesContext = "sc-features" // feature codes
	hintsContext = "sc-hints"    // the states of users, by number
)

// Causes of the end of a call, as Asterisk numbers them.
const (
	causeBusy        = "17"
	causeNoAnswer    = "19"
	causeUnreachable = "20"
)

// readLibrary returns the contexts of the library, and its piece.
func readLibrary() ([]context, piece, error) {
	contexts, steps, err := parseDialplan(pbx.LibraryPath, []byte(libraryFile()))
	return contexts, libraryPiece(steps), err
}

// libraryPiece returns the piece of a library file with these steps.
func libraryPiece(steps []pbx.Step) piece {
	owner := pbx.Thing{Kind: pbx.KindLibrary}
	for _, s := range steps {
		if version, ok := strings.CutPrefix(s.Context, "sc-lib-"); ok {
			owner.Key = version
			break
		}
	}
	return piece{owner: owner, steps: steps}
}

// call returns the arguments of Gosub for a routine of the library.
func call(routine string, args ...string) string {
	return library + "," + routine + ",1(" + strings.Join(args, ",") + ")"
}

// destination returns a destination as the routines read it.
func destination(context, exten string) string { return context + "." + exten }

// enter returns the step at a number, in the context of dialled numbers, that leads to an object.
func enter(number, context, exten string) pbx.Step {
	return pbx.Step{Context: pbx.Context, Exten: number, Priority: 1, App: "Goto", Args: context + "," + exten + ",1"}
}
