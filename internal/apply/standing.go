package apply

import (
	"context"
	"fmt"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// What bounds Standing: how old an answer may be, how long it waits for one, and for how long what was seen is told while a look hangs.
const (
	standingAge      = time.Second
	standingPatience = 900 * time.Millisecond
	standingKnown    = 5 * time.Second
)

// Standing tells how the files stand to Asterisk, and what Asterisk was seen to run instead when it was asked last. However often it is
// called the files are looked at once a second, by one at a time, and after each apply of this process; it answers within a second.
func (e *Engine) Standing(ctx context.Context) pbx.Standing {
	seen, ok := e.standing.Recent(ctx, standingAge)
	if !ok && (seen.At.IsZero() || e.now().Sub(seen.At) > standingKnown) {
		return pbx.Standing{At: seen.At, Err: fmt.Errorf("the look at the files has not ended for %s: see to the disk, and whether something else stands in a file's place",
			e.standing.Underway().Round(100*time.Millisecond))}
	}
	s := seen.What
	s.At = seen.At
	if other := e.other.Load(); other != nil {
		s.Other = *other
	}
	return s
}

// look looks at the files for Standing, which has no use for their contents.
func (e *Engine) look(context.Context) (s pbx.Standing) {
	s.Site, s.Err = e.target.Inspect()
	s.Site.Files, s.Site.Seen = nil, nil
	return s
}
