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

// hangup is the key under which the context of a process holds whether SIGHUP ends it.
type hangup struct{}

// WithSignals returns a context that ends with the first signal that asks the process to end, and takes every other signal that can be
// caught, so that none of them ends the process in the middle of an apply. Both matter because an apply that has begun is finished after the
// context has ended; only SIGKILL cuts one off.
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
	signals := make(chan os.Signal, 256) // the runtime drops a signal that finds no place: a burst of others must not take the one that ends us
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
				fmt.Fprintln(stderr, "pbxportal: SIGHUP changes nothing: settings are read at the start only, restart the portal to have them read; certificates are read again by themselves")
			case ctx.Err() != nil:
				fmt.Fprintf(stderr, "pbxportal: %s: already ending; an apply that runs is finished first, which takes 100 seconds at the most\n", s)
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

// ending are the signals with which a host, a terminal or a person asks a process to end. The runtime ignores those that are not named here
// or in WithSignals, and where they come from the processor itself it does not pass them on.
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

// survivesHangup has SIGHUP no longer end the process.
func survivesHangup(ctx context.Context) {
	if serves, ok := ctx.Value(hangup{}).(*atomic.Bool); ok {
		serves.Store(true)
	}
}
