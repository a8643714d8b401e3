package store

import (
	"bytes"
	"compress/gzip"
	"fmt"

	"github.com/synergycall/pbxportal/internal/regular"
)

// packed returns the compressed form in which a revision keeps a file: the objects of a thousand users are similar and shrink to a tenth, which the
// database also saves in its log, checks and deletes.
func packed(content []byte) ([]byte, error) {
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

// largestFile is far larger than a generated file can be; larger content was not written by the portal.
const largestFile = 256 << 20

// unpacked is the inverse of packed. Uncompressed content of an earlier program is returned as it is: no Asterisk file begins with the magic
// number.
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
