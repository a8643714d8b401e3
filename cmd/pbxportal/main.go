// Command pbxportal is the control plane for Asterisk: see internal/cli for what it does.
package main

import (
	"context"
	"os"

	"github.com/synergycall/pbxportal/internal/cli"
)

func main() {
	cli.AdmitGroup()
	ctx, stop := cli.WithSignals(context.Background(), os.Stderr)
	code := cli.Run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
