package asterisk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of what is read from AMI. Names and user agents in it come from phones and are not trusted.
const (
	maxAMILine   = 64 << 10 // a longer line is cut: the size of a SIP message over UDP
	maxAMIFields = 256      // further fields of a packet are ignored
	maxAMIPacket = 1 << 20  // a longer packet ends the connection
)

// errNoAMI means that the server is not an Asterisk Manager Interface.
var errNoAMI = errors.New("what it sent is no greeting of an Asterisk Manager Interface")

// packet is one message of AMI: an answer or an event.
type packet []field

type field struct{ name, value string }

// get returns the value of a field, "" when it is missing or occurs more than once: the second may have been injected.
func (p packet) get(name string) string {
	value, found := "", false
	for _, f := range p {
		if f.name != name {
			continue
		}
		if found {
			return ""
		}
		value, found = f.value, true
	}
	return value
}

// size returns the approximate memory use of the packet.
func (p packet) size() int {
	n := 0
	for _, f := range p {
		n += len(f.name) + len(f.value) + 32
	}
	return n
}

// itemFields returns the fields of list items that are used.
func itemFields() []string {
	return []string{"Key", "Val", "Uniqueid", "Linkedid", "Channel", "ChannelStateDesc", "CallerIDNum", "CallerIDName", "Exten", "Duration"}
}

// only returns the packet with these fields only, including duplicates.
func (p packet) only(names []string) (kept packet) {
	for _, f := range p {
		if slices.Contains(names, f.name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// wire reads AMI packet by packet.
type wire struct {
	r    *bufio.Reader
	line []byte // reused
	left int    // bytes left for the packet
}

func newWire(r io.Reader) *wire { return &wire{r: bufio.NewReaderSize(r, 16<<10), left: maxAMIPacket} }

// greeting reads the first line.
func (w *wire) greeting() error {
	line, err := w.next()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("Asterisk Call Manager/")) {
		return errNoAMI
	}
	return nil
}

// packet reads the next packet. Lines that are not fields are ignored.
func (w *wire) packet() (packet, error) {
	var p packet
	w.left = maxAMIPacket
	for seen := false; ; {
		line, err := w.next()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if seen {
				return p, nil
			}
			continue
		}
		seen = true
		if f, ok := parseField(line); ok && len(p) < maxAMIFields {
			p = append(p, f)
		}
	}
}

// next reads a line without its end. A line longer than maxAMILine is cut.
func (w *wire) next() ([]byte, error) {
	w.line = w.line[:0]
	for {
		part, err := w.r.ReadSlice('\n')
		if w.left -= len(part); w.left < 0 {
			return nil, fmt.Errorf("%w: a packet of more than %d bytes", errTooLong, maxAMIPacket)
		}
		w.line = append(w.line, part[:min(len(part), maxAMILine-len(w.line))]...)
		switch {
		case err == nil:
			return bytes.TrimRight(w.line, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) && len(w.line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// parseField reads `Name: value`. The value is made valid UTF-8.
func parseField(line []byte) (field, bool) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return field{}, false
	}
	for _, c := range name {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return field{}, false
		}
	}
	return field{string(name), strings.ToValidUTF8(string(bytes.TrimPrefix(value, []byte(" "))), "\ufffd")}, true
}

// writeAction appends an action in AMI's format. A line break in a field would start another field, or another action.
func writeAction(b []byte, fields []field) ([]byte, error) {
	for _, f := range fields {
		if strings.ContainsAny(f.value, "\x00\r\n") {
			return nil, fmt.Errorf("%w: the field %s has a line break", ErrCommand, f.name)
		}
		b = append(append(append(append(b, f.name...), ": "...), f.value...), "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}
