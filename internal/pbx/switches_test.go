package pbx_test

import (
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestForwardsAreNumbersOtherThanTheUsersOwn(t *testing.T) {
	t.Parallel()
	if err := (pbx.Switches{DoNotDisturb: true, ForwardAlways: "+49*#", ForwardBusy: strings.Repeat("1", 32), ForwardUnanswered: "01000", ForwardUnreachable: "+1000"}).Check(1000); err != nil {
		t.Error(err)
	}
	err := pbx.Switches{ForwardAlways: "1000", ForwardBusy: "1,2", ForwardUnanswered: strings.Repeat("1", 33), ForwardUnreachable: "\n"}.Check(1000)
	for _, field := range []string{"forward_always", "forward_busy", "forward_unanswered", "forward_unreachable"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named by %v", field, err)
		}
	}
}

func TestFeatureCodesAreReadAsDialled(t *testing.T) {
	t.Parallel()
	for dialled, want := range map[string]string{
		"*78": "dnd=1", "*79": "dnd=", "*721001": "cfa=1001", "*72*+#": "cfa=*+#", "*73": "cfa=", "*901": "cfb=1", "*91": "cfb=", "*521": "cfn=1", "*53": "cfn=", "*621": "cfu=1", "*63": "cfu=",
		"*72": "", "*781": "", "78": "", "*72a": "", "": "",
	} {
		key, value, ok := pbx.DialledCode(dialled)
		if got := key + "=" + value; ok != (want != "") || ok && got != want {
			t.Errorf("%s is %t, %s; want %s", dialled, ok, got, want)
		}
	}
}
