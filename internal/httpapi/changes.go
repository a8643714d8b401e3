package httpapi

import (
	"context"
	"fmt"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// lookForChanges is the interval of checks for changes while a stream is open. One check serves all streams; without changes it reads two rows of
// the database.
const lookForChanges = time.Second

// marks counts the observed changes of what pages show: of users, and of the inputs of a plan. Changes by other processes are included.
type marks struct{ users, plan int }

// newMarker returns the check for changes, which is not safe for concurrent use.
func (a *api) newMarker() func(context.Context) marks {
	var (
		now    marks
		users  []pbx.User
		items  []pbx.Item
		before string
	)
	return func(ctx context.Context) marks {
		if page, err := a.directory.List(ctx, pbx.DefaultTenant, directory.Query{}); err == nil && !sameList(page.Users, users) {
			users = page.Users
			now.users++
			now.plan++
		}
		if all, err := a.routing.All(ctx, pbx.DefaultTenant); err == nil && !sameList(all, items) {
			items = all
			now.plan++
		}
		s := a.files(ctx)
		if files := fmt.Sprint(s.Site.Current, s.Site.LastVerified, s.Site.Doubted, s.Site.RunID, s.Site.Drift, s.Other, s.Err != nil); files != before {
			before = files
			now.plan++
		}
		return now
	}
}

// sameList reports whether two lists are the same: the services return the same slice until something changes.
func sameList[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// emitChanges writes an event to a stream when it begins, and for each change from then on, until ctx ends.
func (a *api) emitChanges(ctx context.Context, s *stream) {
	tick := time.NewTicker(lookForChanges)
	defer tick.Stop()
	emitted := marks{-1, -1}
	for {
		if seen, ok := a.changes.Recent(ctx, lookForChanges); ok && seen.What != emitted {
			s.write(fmt.Sprintf("event: changed\ndata: %s\n\n", oneLine(openapi.LiveChanged{Users: seen.What.users != emitted.users, Plan: seen.What.plan != emitted.plan})))
			emitted = seen.What
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
