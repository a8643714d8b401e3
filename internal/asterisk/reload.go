package asterisk

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// LongestReload is the time limit of a reload of an Asterisk that keeps answering meanwhile. With 10,000 users PJSIP takes up to 18 s.
const LongestReload = 45 * time.Second

// aliveTimeout bounds the question whether an Asterisk that reloads still answers.
const aliveTimeout = 1500 * time.Millisecond

// ReloadState is the result of a reload.
type ReloadState string

// Results of a reload; only Reloaded means that the files were read.
const (
	Reloaded          ReloadState = "reloaded"
	ReloadInProgress  ReloadState = "in_progress"
	ReloadQueued      ReloadState = "queued"
	ReloadNotLoaded   ReloadState = "not_loaded"
	ReloadFailed      ReloadState = "failed"
	ReloadUnclear     ReloadState = "unclear"
	ReloadHung        ReloadState = "hung"
	ReloadLost        ReloadState = "lost"
	ReloadUnreachable ReloadState = "unreachable"
)

// Sentence returns one sentence that says what happened and what to do next.
func (s ReloadState) Sentence() string {
	switch s {
	case Reloaded:
		return "Asterisk has read the files; nothing is left to do."
	case ReloadInProgress:
		return "Asterisk is busy with another reload and has not read the files; apply again in a few seconds."
	case ReloadQueued:
		return "Asterisk is still starting and reads the files when it is ready; apply again in a few seconds to be sure."
	case ReloadNotLoaded:
		return "Asterisk has not loaded the module that reads these files; load it (see modules.conf) and apply again."
	case ReloadFailed:
		return "Asterisk tried to read the files and failed; check its log, fix the cause, then apply again."
	case ReloadHung:
		return "Asterisk accepted the reload but did not answer in time; check whether it is overloaded or stopped, then apply again."
	case ReloadLost:
		return "Asterisk closed the connection in the middle of the reload; check in its log why it stopped, then apply again."
	case ReloadUnreachable:
		return "Asterisk cannot be reached, so it has not read the files; start it or correct ASTERISK_CONTROL, then apply again."
	case ReloadUnclear:
	}
	return "Asterisk gave no answer that says whether it has read the files; " +
		"check that ASTERISK_CONTROL leads to a real Asterisk, then apply again."
}

// ReloadPJSIP makes Asterisk reload endpoints, auths and AORs. `pjsip reload` is only an alias that need not exist.
func (c *Control) ReloadPJSIP(ctx context.Context) (Reply, ReloadState) {
	return c.reload(ctx, "module reload res_pjsip.so", "Module 'res_pjsip.so' reloaded successfully.")
}

// ReloadDialplan makes Asterisk reload the dialplan.
func (c *Control) ReloadDialplan(ctx context.Context) (Reply, ReloadState) {
	return c.reload(ctx, "dialplan reload", "Dialplan reloaded.")
}

func (c *Control) reload(ctx context.Context, command, done string) (Reply, ReloadState) {
	reply, err := c.runWhileItAnswers(ctx, command)
	if err != nil {
		// The commands are fixed, so ctx has ended, or Asterisk has stopped answering.
		if reply.Stderr == "" || ctx.Err() == nil {
			reply.Stderr = "The reload was given up: " + err.Error() + ".\n"
		}
		return reply, ReloadHung
	}
	switch reply.Fault {
	case FaultUnreachable:
		return reply, ReloadUnreachable
	case FaultTimeout:
		return reply, ReloadHung
	case FaultLost:
		return reply, ReloadLost
	case FaultLeftOpen:
		return reply, ReloadUnclear
	case FaultTooLong:
		if c.ThroughCommand() { // the command was ended in the middle
			return reply, ReloadHung
		}
		return reply, ReloadUnclear
	case FaultNone:
	}
	return reply, parseReload(reply.Stdout, done)
}

// runWhileItAnswers runs a command that may take long. Whenever the timeout of a command has passed, Asterisk is asked for its version: as long as it
// answers within the timeout it is busy and not hung, and the command is awaited, up to LongestReload.
func (c *Control) runWhileItAnswers(ctx context.Context, command string) (Reply, error) {
	limited, giveUp := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-limited.Done():
				return
			case <-time.After(c.timeout):
			}
			asking, cancel := context.WithTimeout(limited, min(c.timeout, aliveTimeout))
			reply, err := c.Run(asking, "core show version")
			cancel()
			if err != nil || reply.Fault != FaultNone {
				giveUp(fmt.Errorf("Asterisk did not answer within %v, nor a request for its version after that", c.timeout))
				return
			}
		}
	})
	reply, err := c.WithTimeout(LongestReload).Run(limited, command)
	if err != nil && ctx.Err() == nil {
		err = context.Cause(limited)
	}
	giveUp(nil)
	watching.Wait()
	return reply, err
}

// Ready requests the reload of a module that does not exist: nothing is reloaded, and the answer shows whether a reload would be carried out now.
// Reloaded means that it would.
func (c *Control) Ready(ctx context.Context) (Reply, ReloadState) {
	return c.reload(ctx, "module reload pbxportal_rehearsal.so", "No such module 'pbxportal_rehearsal.so'")
}
