package store

import (
	"bytes"
	"compress/gzip"
	"fmt"

	"github.com/synergycall/pbxportal/internal/regular"
)

// packed gives the bytes of a file as a revision keeps them: the objects of a thousand users are much alike, and take a tenth of their
// size. What a database writes less it also logs, checks and forgets less. No bytes stay none.
func packed(content []byte) ([]byte, error) {
	if content == nil {
		return nil, nil
	}
	var b bytes.Buffer
	b.Grow(len(content)/8 + 64)
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// largestFile is far more than a generated file can be; what unpacks to more is not ours.
const largestFile = 256 << 20

// unpacked is the inverse of packed. What an earlier program kept unpacked comes back as it is: no file for Asterisk begins like that.
func unpacked(kept []byte) ([]byte, error) {
	if !bytes.HasPrefix(kept, []byte{0x1f, 0x8b}) {
		return kept, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(kept))
	if err != nil {
		return nil, fmt.Errorf("cannot unpack a file: %w", err)
	}
	content, err := regular.All(r, largestFile)
	if err != nil {
		return nil, fmt.Errorf("cannot unpack a file: %w", err)
	}
	return content, nil
}
