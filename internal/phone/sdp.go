package phone

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const sdpType = "application/sdp"

// errNoCommonSound means that a session description has no supported audio.
var errNoCommonSound = errors.New("no G.711 audio over plain RTP in the session description")

// direction is the direction of the sound, seen from the sender of the description.
type direction uint8

const (
	sendrecv direction = iota
	sendonly
	recvonly
	inactive
)

func (d direction) String() string {
	switch d {
	case sendonly:
		return "sendonly"
	case recvonly:
		return "recvonly"
	case inactive:
		return "inactive"
	case sendrecv:
	}
	return "sendrecv"
}

// reversed returns the answer to an offered direction.
func (d direction) reversed() direction {
	switch d {
	case sendonly:
		return recvonly
	case recvonly:
		return sendonly
	case sendrecv, inactive:
	}
	return d
}

// mediaLine is one m= section of a session description with its attributes.
type mediaLine struct {
	kind      string
	port      uint16
	protocol  string
	formats   []string
	address   netip.Addr // zero if it is a name or missing
	names     map[uint8]string
	direction direction
}

// stream is the agreement of two ends: where to send, and in which encoding.
type stream struct {
	line      int            // index of the m= section
	remote    netip.AddrPort // where the far end listens; zero if it must not be sent to
	codec     codec
	payload   uint8 // the RTP payload type of codec
	codecs    map[uint8]codec
	direction direction // as the far end wrote it
}

// parseSDP reads the m= sections of a session description (RFC 8866) and skips everything unknown.
func parseSDP(body []byte) ([]mediaLine, error) {
	text := strings.ReplaceAll(string(body), "\r\n", "\n")
	if !strings.HasPrefix(text, "v=0\n") {
		return nil, errors.New("session description does not begin with v=0")
	}
	session := mediaLine{}
	current := &session
	var lines []mediaLine
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "m":
			m, err := parseMedia(value)
			if err != nil {
				return nil, err
			}
			m.address, m.direction = session.address, session.direction
			lines = append(lines, m)
			current = &lines[len(lines)-1]
		case "c":
			current.address = parseConnection(value)
		case "a":
			current.attribute(value)
		}
	}
	return lines, nil
}

// parseMedia reads "audio 4000 RTP/AVP 0 8".
func parseMedia(value string) (mediaLine, error) {
	fields := strings.Fields(value)
	if len(fields) < 4 {
		return mediaLine{}, fmt.Errorf("media line %q is too short", value)
	}
	portText, _, _ := strings.Cut(fields[1], "/")
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return mediaLine{}, fmt.Errorf("media line %q has no port: %w", value, err)
	}
	return mediaLine{
		kind:     fields[0],
		port:     uint16(port),
		protocol: fields[2],
		formats:  fields[3:],
		names:    map[uint8]string{},
	}, nil
}

// parseConnection reads "IN IP4 127.0.0.1".
func parseConnection(value string) netip.Addr {
	fields := strings.Fields(value)
	if len(fields) != 3 || fields[0] != "IN" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(fields[2])
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

func (m *mediaLine) attribute(value string) {
	switch value {
	case "sendrecv":
		m.direction = sendrecv
	case "sendonly":
		m.direction = sendonly
	case "recvonly":
		m.direction = recvonly
	case "inactive":
		m.direction = inactive
	}
	mapping, ok := strings.CutPrefix(value, "rtpmap:")
	if !ok || m.names == nil {
		return
	}
	format, name, _ := strings.Cut(mapping, " ")
	if payload, err := strconv.ParseUint(format, 10, 7); err == nil {
		m.names[uint8(payload)] = strings.TrimSpace(name)
	}
}

// codec returns the codec of a payload type of this section. The names of 0 and 8 are fixed and need no rtpmap (RFC 3551).
func (m *mediaLine) codec(payload uint8) (codec, bool) {
	name, named := m.names[payload]
	name = strings.TrimSuffix(strings.ToUpper(name), "/1") // one channel
	switch {
	case name == "PCMU/8000", !named && payload == 0:
		return ulaw, true
	case name == "PCMA/8000", !named && payload == 8:
		return alaw, true
	}
	return 0, false
}

// choose returns the first section of G.711 audio, and the encoding in it that its sender prefers.
func choose(lines []mediaLine) (stream, error) {
	for i, m := range lines {
		if m.kind != "audio" || m.port == 0 || m.protocol != "RTP/AVP" || !m.address.IsValid() {
			continue
		}
		s := stream{line: i, direction: m.direction, codecs: map[uint8]codec{}}
		for _, format := range m.formats {
			payload, err := strconv.ParseUint(format, 10, 7)
			if err != nil {
				continue
			}
			c, ok := m.codec(uint8(payload))
			if !ok {
				continue
			}
			if len(s.codecs) == 0 {
				s.codec, s.payload = c, uint8(payload)
			}
			s.codecs[uint8(payload)] = c
		}
		if len(s.codecs) == 0 {
			continue
		}
		// The old way to hold a call is the address 0.0.0.0 (RFC 3264, 8.4).
		if !m.address.IsUnspecified() && (m.direction == sendrecv || m.direction == recvonly) {
			s.remote = netip.AddrPortFrom(m.address, m.port)
		}
		return s, nil
	}
	return stream{}, errNoCommonSound
}

// readStream is parseSDP and choose in one.
func readStream(body []byte) (stream, []mediaLine, error) {
	lines, err := parseSDP(body)
	if err != nil {
		return stream{}, nil, err
	}
	s, err := choose(lines)
	return s, lines, err
}

// offer describes a session with our one audio section.
func offer(local netip.AddrPort) string {
	return header(local) + audioSection(local, map[uint8]codec{0: ulaw, 8: alaw}, []uint8{0, 8}, sendrecv)
}

// answer describes our side of an offered session: every section in its place, all but the chosen one refused (RFC 3264, 6).
func answer(local netip.AddrPort, offered []mediaLine, s stream) string {
	var b strings.Builder
	b.WriteString(header(local))
	for i, m := range offered {
		if i == s.line {
			b.WriteString(audioSection(local, s.codecs, []uint8{s.payload}, s.direction.reversed()))
			continue
		}
		fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", m.kind, m.protocol, strings.Join(m.formats, " "))
	}
	return b.String()
}

// header returns everything before the sections except the v= and o= lines, which need the version of the description.
func header(local netip.AddrPort) string {
	return fmt.Sprintf("s=-\r\nc=IN IP4 %s\r\nt=0 0\r\n", local.Addr())
}

func audioSection(local netip.AddrPort, codecs map[uint8]codec, payloads []uint8, d direction) string {
	var formats, maps strings.Builder
	for _, payload := range payloads {
		name := "PCMU"
		if codecs[payload] == alaw {
			name = "PCMA"
		}
		fmt.Fprintf(&formats, " %d", payload)
		fmt.Fprintf(&maps, "a=rtpmap:%d %s/8000\r\n", payload, name)
	}
	return fmt.Sprintf("m=audio %d RTP/AVP%s\r\n%sa=ptime:20\r\na=%s\r\n", local.Port(), &formats, &maps, d)
}

// description adds the first lines to a session description. The version counts up when the content changes (RFC 3264, 8).
type description struct {
	id      uint32
	version int
	content string
}

func (d *description) write(local netip.AddrPort, content string) []byte {
	if content != d.content {
		d.content = content
		d.version++
	}
	return fmt.Appendf(nil, "v=0\r\no=- %d %d IN IP4 %s\r\n%s", d.id, d.version, local.Addr(), content)
}
