package phone

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestG711KeepsEverySampleWithinItsStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		codec
		silence byte
		loudest int16
	}{{"mu-law", ulaw, 0xff, 32124}, {"A-law", alaw, 0xd5, 32256}} {
		if got := c.encode(0); got != c.silence {
			t.Errorf("%s: silence is %#x, expected %#x", c.name, got, c.silence)
		}
		if got := c.decode(c.encode(32767)); got != c.loudest {
			t.Errorf("%s: the loudest sample is %d, expected %d", c.name, got, c.loudest)
		}
		for b := range 256 {
			if got := c.encode(c.decode(byte(b))); got != byte(b) && byte(b) != 0x7f { // mu-law has two zeros
				t.Errorf("%s: %#x comes back as %#x", c.name, b, got)
			}
		}
		for s := -32768; s <= 32767; s++ {
			got := int(c.decode(c.encode(int16(s))))
			// The step is a sixteenth of the segment, and 16 at least.
			if diff, step := abs(got-s), max(abs(s)/16, 16); diff > step+645*(abs(s)/32124) {
				t.Fatalf("%s: %d comes back as %d", c.name, s, got)
			}
		}
	}
}

func abs(n int) int { return max(n, -n) }

func sdp(lines ...string) []byte {
	return []byte("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n" + strings.Join(lines, "\r\n") + "\r\n")
}

func TestStreamIsReadFromDescription(t *testing.T) {
	t.Parallel()
	c := "c=IN IP4 127.0.0.1"
	for _, test := range []struct {
		name   string
		body   []byte
		remote string // empty: not to be sent to
		codec  codec
		number uint8
		fails  bool
	}{
		{name: "plain", body: sdp(c, "m=audio 4000 RTP/AVP 0 8"), remote: "127.0.0.1:4000"},
		{name: "lines with LF", body: []byte("v=0\n" + c + "\nm=audio 4000 RTP/AVP 8\n"), remote: "127.0.0.1:4000", codec: alaw, number: 8},
		{name: "first known format", body: sdp(c, "m=audio 4000 RTP/AVP 111 9 8 0", "a=rtpmap:111 opus/48000/2"), remote: "127.0.0.1:4000", codec: alaw, number: 8},
		{name: "named by number", body: sdp(c, "m=audio 4000 RTP/AVP 96", "a=rtpmap:96 pcma/8000/1"), remote: "127.0.0.1:4000", codec: alaw, number: 96},
		{name: "number given away", body: sdp(c, "m=audio 4000 RTP/AVP 0 8", "a=rtpmap:0 opus/48000/2"), remote: "127.0.0.1:4000", codec: alaw, number: 8},
		{name: "address of the section", body: sdp("c=IN IP4 192.0.2.1", "m=audio 4000 RTP/AVP 0", c), remote: "127.0.0.1:4000"},
		{name: "behind video", body: sdp(c, "m=video 5000 RTP/AVP 96", "c=IN IP4 192.0.2.1", "m=audio 4000 RTP/AVP 0"), remote: "127.0.0.1:4000"},
		{name: "behind refused audio", body: sdp(c, "m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/AVP 0"), remote: "127.0.0.1:4000"},
		{name: "held", body: sdp(c, "a=sendonly", "m=audio 4000 RTP/AVP 0")},
		{name: "held and back", body: sdp(c, "a=sendonly", "m=audio 4000 RTP/AVP 0", "a=sendrecv"), remote: "127.0.0.1:4000"},
		{name: "inactive", body: sdp(c, "m=audio 4000 RTP/AVP 0", "a=inactive")},
		{name: "held the old way", body: sdp("c=IN IP4 0.0.0.0", "m=audio 4000 RTP/AVP 0")},
		{name: "only listening", body: sdp(c, "m=audio 4000 RTP/AVP 0", "a=recvonly"), remote: "127.0.0.1:4000"},
		{name: "encrypted", body: sdp(c, "m=audio 4000 RTP/SAVP 0"), fails: true},
		{name: "no codec of ours", body: sdp(c, "m=audio 4000 RTP/AVP 9"), fails: true},
		{name: "no audio", body: sdp(c, "m=video 4000 RTP/AVP 0"), fails: true},
		{name: "no address", body: sdp("m=audio 4000 RTP/AVP 0"), fails: true},
		{name: "a host name", body: sdp("c=IN IP4 example.org", "m=audio 4000 RTP/AVP 0"), fails: true},
		{name: "a port too large", body: sdp(c, "m=audio 65536 RTP/AVP 0"), fails: true},
		{name: "a short section", body: sdp(c, "m=audio 4000"), fails: true},
		{name: "empty", fails: true},
		{name: "something else", body: []byte("hello"), fails: true},
	} {
		s, _, err := readStream(test.body)
		if (err != nil) != test.fails {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if test.fails {
			continue
		}
		remote := ""
		if s.remote.IsValid() {
			remote = s.remote.String()
		}
		if remote != test.remote || s.codec != test.codec || s.payload != test.number {
			t.Errorf("%s: %q, codec %d, number %d", test.name, remote, s.codec, s.payload)
		}
	}
}

func TestAnswerMirrorsTheOffer(t *testing.T) {
	t.Parallel()
	local := netip.MustParseAddrPort("127.0.0.1:6000")
	offered := sdp("c=IN IP4 127.0.0.1", "m=video 5000 RTP/AVP 96 97", "m=audio 4000 RTP/AVP 96 8", "a=rtpmap:96 PCMU/8000", "a=sendonly")
	s, lines, err := readStream(offered)
	if err != nil {
		t.Fatal(err)
	}
	d := description{id: 7}
	got := string(d.write(local, answer(local, lines, s)))
	want := strings.ReplaceAll(`v=0
o=- 7 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96 97
m=audio 6000 RTP/AVP 96
a=rtpmap:96 PCMU/8000
a=ptime:20
a=recvonly
`, "\n", "\r\n")
	if got != want {
		t.Errorf("answered\n%s\nexpected\n%s", got, want)
	}
	if again := string(d.write(local, answer(local, lines, s))); again != want {
		t.Errorf("the same description has another version:\n%s", again)
	}
	if other := string(d.write(local, offer(local))); !strings.HasPrefix(other, "v=0\r\no=- 7 2 ") {
		t.Errorf("another description has the same version:\n%s", other)
	}
	if back, _, err := readStream([]byte(offer(local))); err == nil || !errors.Is(err, errNoCommonSound) && back.line != 0 {
		t.Errorf("a description without its first line was read: %v", err)
	}
}

func TestLossIsCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		numbers       []uint16
		packets, lost int
	}{
		{"all there", []uint16{10, 11, 12}, 3, 0},
		{"over the end", []uint16{65534, 65535, 0, 1}, 4, 0},
		{"two missing", []uint16{10, 13}, 2, 2},
		{"one late", []uint16{10, 12, 11, 13}, 4, 0},
		{"one twice", []uint16{10, 11, 11, 12}, 3, 0},
		{"a new start", []uint16{10, 11, 40000, 40001}, 4, 0},
	} {
		var a arrivals
		for _, n := range c.numbers {
			a.count(1, n)
		}
		if a.packets != c.packets || a.lost != c.lost {
			t.Errorf("%s: %d packets, %d lost, expected %d and %d", c.name, a.packets, a.lost, c.packets, c.lost)
		}
	}
}

func FuzzSessionDescription(f *testing.F) {
	f.Add(sdp("c=IN IP4 127.0.0.1", "m=audio 4000 RTP/AVP 0 8", "a=rtpmap:8 PCMA/8000"))
	f.Add([]byte("v=0\nm=audio 1/2 RTP/AVP 127\na=rtpmap:127 PCMU/8000"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, lines, err := readStream(body)
		if err != nil {
			return
		}
		// What we answer must be readable and choose the same section.
		local := netip.MustParseAddrPort("127.0.0.1:6000")
		var d description
		back, _, err := readStream(d.write(local, answer(local, lines, s)))
		if err != nil || back.line != s.line || back.codec != s.codec || back.payload != s.payload {
			t.Errorf("answer to %q reads as %+v, %v", body, back, err)
		}
	})
}
