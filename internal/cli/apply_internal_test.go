package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestThePlanReportsForEachDriftWhatForceDoes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		drift []pbx.DriftKind
		next  string
	}{
		"an edit":                          {[]pbx.DriftKind{pbx.Edited}, "Next: pbxportal apply --force overwrites the changed files; they are saved"},
		"an older database":                {[]pbx.DriftKind{pbx.Unknown}, "Next: pbxportal apply --force makes Asterisk run what this database says."},
		"an older database, and an edit":   {[]pbx.DriftKind{pbx.Missing, pbx.Unknown}, "overwrites the changed files"},
		"a file that is not the portal's":  {[]pbx.DriftKind{pbx.External, pbx.Edited}, "Next: move the external file to another folder"},
		"nothing, and there is more to do": {nil, "Next: pbxportal apply, or"},
	} {
		plan := pbx.Plan{Revision: 2, Pending: true}
		for _, kind := range tc.drift {
			plan.Drift = append(plan.Drift, pbx.Drift{Kind: kind, Path: "x"})
		}
		var out bytes.Buffer
		(&app{stdout: &out}).printPlan(plan, false)
		if !strings.Contains(out.String(), tc.next) {
			t.Errorf("%s: want %q in\n%s", name, tc.next, out.String())
		}
	}
}

func TestARefusedApplyThatRevertedAManualEditReportsIt(t *testing.T) {
	t.Parallel()
	run := pbx.Run{Result: pbx.Refused, Events: []pbx.Event{{Code: pbx.EventPlanned}}}
	if text := resultText(run); text != "refused: nothing was changed" {
		t.Errorf("without: %s", text)
	}
	run.Events = append(run.Events, pbx.Event{Code: pbx.EventReclaimed})
	if text := resultText(run); !strings.Contains(text, "external changes were overwritten") {
		t.Errorf("with: %s", text)
	}
}
