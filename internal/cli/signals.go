package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
)

// hangup is the context key for whether SIGHUP ends the process.
type hangup struct{}

// WithSignals returns a context that ends with the first signal that asks the process to end, and catches every other signal that can be caught, so that
// none of them ends the process in the middle of an apply. Both matter because an apply that has begun is completed after the context has ended; only
// SIGKILL interrupts one.
//
//	SIGTERM SIGINT SIGQUIT   end: what runs is finished first. Further ones are noted and change nothing
//	SIGABRT and faults       sent by another process: the same. A real fault of ours still ends the process at once
//	SIGHUP                   ends a command, whose terminal is gone. serve goes on and says that settings are read at the start only
//	SIGPIPE                  ignored: a write that fails is an error like any other
//	SIGTSTP SIGTTIN SIGTTOU  left to the terminal: they stop the process until SIGCONT
//	all others               ignored, but for 32 to 34, which belong to C libraries: nothing in Go can catch them
//
// A signal that was ignored when the process started (nohup, a background job) stays ignored. stop gives back all signals.
func WithSignals(ctx context.Context, stderr io.Writer) (_ context.Context, stop func()) {
	var serves atomic.Bool
	ctx, cancel := context.WithCancel(context.WithValue(ctx, hangup{}, &serves))
	signals := make(chan os.Signal, 256) // the runtime drops a signal that finds no space: a burst of others must not displace the one that ends the process
	for _, s := range append(ending(), syscall.SIGHUP, syscall.SIGPIPE) {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	var listening sync.WaitGroup
	listening.Go(func() {
		for s := range signals {
			switch {
			case s == syscall.SIGPIPE:
			case s == syscall.SIGHUP && serves.Load():
				fmt.Fprintln(stderr, "pbxportal: SIGHUP changes nothing: settings are read only at the start, restart the portal to apply changes; certificates are reloaded automatically")
			case ctx.Err() != nil:
				fmt.Fprintf(stderr, "pbxportal: %s: already ending; a running apply is completed first, which takes at most 100 seconds\n", s)
			default:
				cancel()
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		listening.Wait()
		cancel()
	}
}

// ending returns the signals with which a host, a terminal or a user asks a process to end. The runtime ignores those that are not named here or in
// WithSignals, and does not pass them on if they come from the processor itself.
func ending() []os.Signal {
	signals := []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
		syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGBUS,
	}
	if runtime.GOOS == "linux" {
		signals = append(signals, syscall.Signal(16)) // SIGSTKFLT, which other systems do not have
	}
	return signals
}

// survivesHangup makes the process ignore SIGHUP.
func survivesHangup(ctx context.Context) {
	if serves, ok := ctx.Value(hangup{}).(*atomic.Bool); ok {
		serves.Store(true)
	}
}
