package apply

import (
	"context"
	"fmt"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Bounds of Standing: the maximum age of a result, the maximum wait, and how long the last result is returned while a check hangs.
const (
	standingAge      = time.Second
	standingPatience = 900 * time.Millisecond
	standingKnown    = 5 * time.Second
)

// Standing returns the state of the files, and how Asterisk differed from them when Run last checked. The files are checked at most once a second, by one
// caller at a time, and again after each apply of this process. Standing returns within a second.
func (e *Engine) Standing(ctx context.Context) pbx.Standing {
	seen, ok := e.standing.Recent(ctx, standingAge)
	if !ok && (seen.At.IsZero() || e.now().Sub(seen.At) > standingKnown) {
		return pbx.Standing{At: seen.At, Err: fmt.Errorf("checking the files has not finished for %s: check the disk, and whether a path holds something other than a file",
			e.standing.Underway().Round(100*time.Millisecond))}
	}
	s := seen.What
	s.At = seen.At
	if other := e.other.Load(); other != nil {
		s.Other = *other
	}
	return s
}

// look checks the files for Standing, which does not use their contents.
func (e *Engine) look(context.Context) (s pbx.Standing) {
	s.Site, s.Err = e.target.Inspect()
	s.Site.Files, s.Site.Seen = nil, nil
	return s
}
