package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// shortenDocumentation reduces the documentation in an unpacked Asterisk to what Asterisk needs at run time: all of its options, and only the names of
// applications, functions, actions and events. Asterisk parses the file at each start, which is two thirds of what a start costs.
func shortenDocumentation(root string) error {
	dir := filepath.Join(root, "usr/share/asterisk/documentation")
	done := filepath.Join(dir, ".shortened")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	path := filepath.Join(dir, "core-en_US.xml")
	whole, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read Asterisk's documentation: %w", err)
	}
	short, err := shortDocumentation(whole)
	if err != nil {
		return fmt.Errorf("cannot shorten %s: %w", path, err)
	}
	// Another process may do the same at the same time, and an Asterisk read the file: it is replaced as a whole.
	file, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("cannot shorten Asterisk's documentation: %w", err)
	}
	_, err = file.Write(short)
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err == nil {
		err = os.WriteFile(done, nil, 0o600)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("cannot shorten Asterisk's documentation: %w", err)
	}
	return nil
}

// shortDocumentation returns the documentation without the content of elements that do not describe options. Of its own result it returns the same.
func shortDocumentation(whole []byte) ([]byte, error) {
	var short bytes.Buffer
	from := xml.NewDecoder(bytes.NewReader(whole))
	depth, begin := 0, int64(0) // begin is where the element of depth 2 begins
	for {
		at := from.InputOffset()
		token, err := from.RawToken()
		if errors.Is(err, io.EOF) && depth == 0 {
			return short.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				begin = at
				if token.Name.Local != "configInfo" {
					short.Write(whole[at:from.InputOffset()])
				}
			}
		case xml.EndElement:
			if depth--; depth == 1 {
				if token.Name.Local == "configInfo" {
					short.Write(whole[begin:from.InputOffset()])
				} else {
					short.WriteString("<synopsis/></" + token.Name.Local + ">")
				}
				continue
			}
		}
		if depth == 0 || depth == 1 {
			short.Write(whole[at:from.InputOffset()])
		}
	}
}
