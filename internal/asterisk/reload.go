package asterisk

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// LongestReload bounds a reload of an Asterisk that goes on answering meanwhile. With 10,000 users PJSIP takes up to 18 s.
const LongestReload = 45 * time.Second

// ReloadState is what became of a reload.
type ReloadState string

// The states of a reload; only Reloaded means that the files were read.
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

// Sentence says in one sentence what happened and what to do next.
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
		return "Asterisk tried to read the files and failed; its log says why, then apply again."
	case ReloadHung:
		return "Asterisk accepted the reload but did not answer in time; see whether it is overloaded or stopped, then apply again."
	case ReloadLost:
		return "Asterisk closed the connection in the middle of the reload; see in its log why it stopped, then apply again."
	case ReloadUnreachable:
		return "Asterisk cannot be reached, so it has not read the files; start it or correct ASTERISK_CONTROL, then apply again."
	case ReloadUnclear:
	}
	return "Asterisk gave no answer that says whether it has read the files; " +
		"see that ASTERISK_CONTROL leads to a real Asterisk, then apply again."
}

// ReloadPJSIP makes Asterisk read endpoints, auths and AORs again. `pjsip reload` is only an alias that need not exist.
func (c *Control) ReloadPJSIP(ctx context.Context) (Reply, ReloadState) {
	return c.reload(ctx, "module reload res_pjsip.so", "Module 'res_pjsip.so' reloaded successfully.")
}

// ReloadDialplan makes Asterisk read the dialplan again.
func (c *Control) ReloadDialplan(ctx context.Context) (Reply, ReloadState) {
	return c.reload(ctx, "dialplan reload", "Dialplan reloaded.")
}

func (c *Control) reload(ctx context.Context, command, done string) (Reply, ReloadState) {
	reply, err := c.runWhileItAnswers(ctx, command)
	if err != nil {
		// The commands are ours, so this is a ctx that ended, or an Asterisk that answers nothing any more.
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
	case FaultTooLong:
		return reply, ReloadUnclear
	case FaultNone:
	}
	return reply, parseReload(reply.Stdout, done)
}

// runWhileItAnswers runs a command that may take long. Asterisk is asked for its version whenever the time limit of a command has passed: as long
// as it answers that within the limit it is busy and not hung, and is waited for, up to LongestReload.
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
			asking, cancel := context.WithTimeout(limited, c.timeout)
			reply, err := c.Run(asking, "core show version")
			cancel()
			if err != nil || reply.Fault != FaultNone {
				giveUp(fmt.Errorf("Asterisk did not answer within %v, nor the question for its version then", c.timeout))
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

// Ready asks for the reload of a module that no Asterisk has: nothing is read again, and the answer says whether a reload would be carried out
// now. Reloaded means that it would.
func (c *Control) Ready(ctx context.Context) (Reply, ReloadState) {
	return c.reload(ctx, "module reload pbxportal_rehearsal.so", "No such module 'pbxportal_rehearsal.so'")
}
