package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
)

type versionCommand struct{}

// Run prints the version.
func (*versionCommand) Run(a *app) error {
	if a.json {
		return a.printJSON(openapi.VersionReport{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH})
	}
	fmt.Fprintf(a.stdout, "pbxportal %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// version returns the version that the Go tools stamped into the binary: a tag, or a commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
