package live_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

func TestAChangeByAFeatureCodeIsSeenWithinASecondAndReportedWithWhatWasBefore(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 2, "")
	if err := o.pbx.Control().SetSwitches(t.Context(), "1000", asterisk.Switches{}, asterisk.Switches{ForwardAlways: "1001"}); err != nil {
		t.Fatal(err)
	}
	o.deploy(render.Options{FeatureCodes: true}, o.users, func(text string) string { return text })
	reported := make(chan string, 10)
	w := watching(t, live.Config{AMI: o.pbx.AMI, Switched: func(_ context.Context, n pbx.Number, from, to pbx.Switches) {
		reported <- fmt.Sprint(n, from.Values(), to.Values())
	}})
	has := func(s live.Snapshot, want pbx.Switches) bool {
		return len(s.Switches) == 1 && s.Switches[0] == live.Switches{Switches: want, Number: 1000}
	}
	w.until("what was switched before is listed", func(s live.Snapshot) bool { return has(s, pbx.Switches{ForwardAlways: "1001"}) })
	p := o.registered(1000)
	began := time.Now()
	if _, err := p.Dial(within(t), "*78"); err != nil {
		t.Fatal(err)
	}
	w.until("it is switched", func(s live.Snapshot) bool { return has(s, pbx.Switches{DoNotDisturb: true, ForwardAlways: "1001"}) })
	if took := time.Since(began); took > time.Second {
		t.Errorf("it was seen after %v", took)
	}
	if got := <-reported; got != "1000 [ 1001   ] [1 1001   ]" {
		t.Errorf("reported is %q", got)
	}
	w.SetSwitches(1000, pbx.Switches{})
	w.until("the portal changed it", func(s live.Snapshot) bool { return len(s.Switches) == 0 })
}
