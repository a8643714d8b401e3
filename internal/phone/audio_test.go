package phone_test

import (
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/phone"
)

func TestStrengthFindsTheToneThatIsThere(t *testing.T) {
	t.Parallel()
	tone := func(hz float64, d time.Duration) phone.PCM { return phone.Tone{Hz: hz, Duration: d}.PCM() }
	mixed := tone(440, time.Second)
	for i, s := range tone(880, time.Second) {
		mixed[i] += s
	}
	for _, c := range []struct {
		name     string
		pcm      phone.PCM
		hz       float64
		min, max float64
	}{
		{"the tone", tone(440, time.Second), 440, 0.99, 1},
		{"another tone", tone(440, time.Second), 880, 0, 0.001},
		{"a crooked frequency", tone(443.7, time.Second), 443.7, 0.99, 1},
		{"a short tone", tone(440, 30*time.Millisecond), 440, 0.95, 1},
		{"a tone after silence", slices.Concat(make(phone.PCM, 8000), tone(440, time.Second)), 440, 0.99, 1},
		{"a tone with a jump of phase", slices.Concat(tone(440, 510*time.Millisecond), tone(440, 490*time.Millisecond)), 440, 0.9, 1},
		{"one of two", mixed, 440, 0.49, 0.51},
		{"neither of two", mixed, 600, 0, 0.001},
		{"silence", make(phone.PCM, 8000), 440, 0, 0},
		{"nothing", nil, 440, 0, 0},
	} {
		if s := phone.Strength(c.pcm, c.hz); s < c.min || s > c.max {
			t.Errorf("%s: strength %.4f, expected %.3f to %.3f", c.name, s, c.min, c.max)
		}
	}
}

func TestAToneHasItsStatedDuration(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, 20 * time.Millisecond, 1500 * time.Millisecond} {
		if got := (phone.Tone{Hz: 440, Duration: d}).PCM().Duration(); got != d {
			t.Errorf("a tone of %s lasts %s", d, got)
		}
	}
	if n := len((phone.Tone{Hz: 440, Duration: -time.Second}).PCM()); n != 0 {
		t.Errorf("a tone of negative length has %d samples", n)
	}
}
