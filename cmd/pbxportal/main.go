// Command pbxportal is the control plane for Asterisk: see internal/cli for what it does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/synergycall/pbxportal/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
