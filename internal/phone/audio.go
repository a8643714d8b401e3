package phone

import (
	"math"
	"time"
)

// SampleRate is the number of samples per second of all sound in this package.
const SampleRate = 8000

// defaultLevel leaves room to full scale so that no codec clips a tone.
const defaultLevel = 0.4

// PCM is sound: signed samples of 16 bits, SampleRate of them per second.
type PCM []int16

// Duration returns the length of the sound.
func (s PCM) Duration() time.Duration {
	return time.Duration(len(s)) * time.Second / SampleRate
}

// Tone is a sine wave.
type Tone struct {
	// Hz is the frequency, sensibly between 100 and 3400.
	Hz float64
	// Duration is how long the tone lasts.
	Duration time.Duration
	// Level is the amplitude as a part of full scale; zero means a good default.
	Level float64
}

// PCM renders the tone.
func (t Tone) PCM() PCM {
	level := t.Level
	if level <= 0 {
		level = defaultLevel
	}
	amplitude := min(level, 1) * math.MaxInt16
	pcm := make(PCM, samples(t.Duration))
	for i := range pcm {
		pcm[i] = int16(amplitude * math.Sin(2*math.Pi*t.Hz*float64(i)/SampleRate))
	}
	return pcm
}

// strengthBlock is the length over which Strength keeps the phase: a tenth of a second distinguishes frequencies 10 Hz apart and tolerates a lost
// packet.
const strengthBlock = SampleRate / 10

// Strength returns the share of the sound's energy at a frequency: near 1 for only that tone, near 0 if it is absent or the sound is silence.
func Strength(pcm PCM, hz float64) float64 {
	// Goertzel's algorithm: one bin of a Fourier transform, block by block.
	var at, all float64
	k := 2 * math.Cos(2*math.Pi*hz/SampleRate)
	for len(pcm) > 0 {
		n := strengthBlock
		if len(pcm) < 2*strengthBlock {
			n = len(pcm)
		}
		var s1, s2 float64
		for _, sample := range pcm[:n] {
			x := float64(sample)
			all += x * x
			s1, s2 = x+k*s1-s2, s1
		}
		at += 2 * (s1*s1 + s2*s2 - k*s1*s2) / float64(n)
		pcm = pcm[n:]
	}
	if all == 0 {
		return 0
	}
	return min(at/all, 1)
}

// samples returns the number of samples in a duration.
func samples(d time.Duration) int {
	return int(max(d, 0) * SampleRate / time.Second)
}
