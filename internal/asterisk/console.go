package asterisk

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

var (
	errTooLong    = errors.New("the answer is too long")
	errNoGreeting = errors.New("what it sent is no greeting")
)

// maxGreeting is more than the 512 bytes into which Asterisk formats its greeting.
const maxGreeting = 1024

// console reads one exchange: a greeting line `host/pid/version`, then the answer until the end of the stream.
type console struct {
	r    io.Reader
	rest []byte // read together with the greeting
}

func (c *console) greeting() error {
	buf := make([]byte, 0, maxGreeting)
	for {
		n, err := c.r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end := bytes.IndexByte(buf, '\n'); end >= 0 {
			c.rest = buf[end+1:]
			if bytes.Count(buf[:end], []byte("/")) < 2 {
				return errNoGreeting
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if len(buf) == cap(buf) {
			return errNoGreeting
		}
	}
}

// answer returns what was read also when it fails. The end of the stream is the only end mark of the protocol: an Asterisk killed in the middle of an
// answer looks the same, so lists must carry their own (see parse.go).
func (c *console) answer() (string, error) {
	var all bytes.Buffer
	all.Grow(64 << 10) // few and large reads: Asterisk writes a dialplan in one small piece per line
	all.Write(c.rest)
	_, err := all.ReadFrom(io.LimitReader(c.r, MaxAnswer+1))
	if all.Len() > MaxAnswer {
		all.Truncate(MaxAnswer)
		err = errTooLong
	}
	return stripVerbose(all.Bytes()), err
}

// stripVerbose drops the verbose messages that Asterisk mixes into every console: lines that start with a byte above 0x7f (include/asterisk/logger.h,
// VERBOSE_HASMAGIC), as `asterisk -rx` does.
func stripVerbose(text []byte) string {
	if !slices.ContainsFunc(text, func(b byte) bool { return b > 0x7f }) {
		return string(text)
	}
	var kept bytes.Buffer
	for line := range bytes.Lines(text) {
		if line[0] < 0x80 {
			kept.Write(line)
		}
	}
	return kept.String()
}
