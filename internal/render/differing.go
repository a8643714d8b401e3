package render

import (
	"bytes"
	"cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// part is a part of a file.
type part struct {
	text    []byte
	line    int    // number of lines before it
	section string // the line that begins the section in which the part begins; "": none
}

// differing returns the parts in which two versions of the file at path differ, with the unchanged lines around them that a diff shows. The time for a diff
// of these parts depends on the distance between the first and the last difference, and not on the number of users.
func differing(path string, a, b []byte) (part, part) {
	start := blockBefore(path, a[:commonPrefix(a, b)])
	line, section := bytes.Count(a[:start], []byte("\n")), sectionOf(a[:start])
	a, b = a[start:], b[start:]
	n := commonSuffix(a, b)
	same, inA, inB := a[len(a)-n:], cmp.Or(sectionOf(a[:len(a)-n]), section), cmp.Or(sectionOf(b[:len(b)-n]), section)
	if inA != inB { // equal lines of different sections differ
		same = same[firstSection(same):]
	}
	after := len(same) - blockAfter(path, same, inA)
	return part{a[:len(a)-after], line, section}, part{b[:len(b)-after], line, section}
}

// maxHidden is the maximum number of blocks that are searched for one that is shown in full.
const maxHidden = 8

// blockBefore returns the offset at which the last complete blocks of text begin that are shown in full. If blocks among the last are not, it looks for
// others before them; after maxHidden it returns 0: consecutive hidden lines are counted together, and so must not be split.
func blockBefore(path string, text []byte) int {
	end := lastBlock(path, text)
	start := end
	for hidden := 0; hidden < maxHidden && start > 0; {
		start = lastBlock(path, text[:start])
		switch complete, enough := isShown(path, part{text: text[start:end], section: sectionOf(text[:start])}); {
		case complete && enough:
			return start
		case !complete:
			hidden++
			end = start
		}
	}
	return 0
}

// blockAfter returns the offset at which the first complete blocks of text end that are shown in full, or the length of text if there are none before more
// than maxHidden others. section is the one in which text begins.
func blockAfter(path string, text []byte, section string) int {
	start := firstBlock(path, text)
	end := start
	for hidden := 0; hidden < maxHidden && end < len(text); {
		end += firstBlock(path, text[end:])
		own := sectionOf(text[:start])
		if own == "" {
			own = section
		}
		switch complete, enough := isShown(path, part{text: text[start:end], section: own}); {
		case complete && enough:
			return end
		case !complete:
			hidden++
			start = end
		}
	}
	return len(text)
}

// isShown reports whether blocks are shown in full, and whether they have at least as many lines as a diff shows around a difference.
func isShown(path string, blocks part) (complete, enough bool) {
	s := shower{noted: map[string]string{}}
	s.show(path, blocks)
	return s.blocks == 0, len(s.places) >= 3
}

// Beginnings of a block: of a section, and, in the dialplan, of an extension.
const (
	sectionBegins = "\n["
	extenBegins   = "\nexten => "
)

// lastBlock returns the offset at which the last block of text begins, 0 if none begins after the first line.
func lastBlock(path string, text []byte) int {
	at := 0
	if pbx.ModuleOf(path) == pbx.Dialplan {
		at = bytes.LastIndex(text, []byte(extenBegins)) + 1
	}
	if section := bytes.LastIndex(text[at:], []byte(sectionBegins)); section >= 0 {
		at += section + 1
	}
	return at
}

// firstSection returns the offset at which the first section after the first line of text begins, the length of text if there is none.
func firstSection(text []byte) int {
	if at := bytes.Index(text, []byte(sectionBegins)); at >= 0 {
		return at + 1
	}
	return len(text)
}

// firstBlock returns the offset at which the first block after the first line of text begins, the length of text if there is none.
func firstBlock(path string, text []byte) int {
	at := len(text)
	if pbx.ModuleOf(path) == pbx.Dialplan {
		if exten := bytes.Index(text, []byte(extenBegins)); exten >= 0 {
			at = exten + 1
		}
	}
	return firstSection(text[:at])
}

// sectionOf returns the line that begins the last section of text, "" if there is none.
func sectionOf(text []byte) string {
	at := bytes.LastIndex(text, []byte(sectionBegins)) + 1
	line, _, _ := bytes.Cut(text[at:], []byte("\n"))
	if !bytes.HasPrefix(line, []byte("[")) {
		return ""
	}
	return string(line)
}

// commonPrefix returns the length of the longest common prefix.
func commonPrefix(a, b []byte) int {
	n := 0
	for n+comparedAtOnce <= min(len(a), len(b)) && bytes.Equal(a[n:n+comparedAtOnce], b[n:n+comparedAtOnce]) {
		n += comparedAtOnce
	}
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// commonSuffix returns the length of the longest common suffix.
func commonSuffix(a, b []byte) int {
	n := 0
	for n+comparedAtOnce <= min(len(a), len(b)) && bytes.Equal(a[len(a)-n-comparedAtOnce:len(a)-n], b[len(b)-n-comparedAtOnce:len(b)-n]) {
		n += comparedAtOnce
	}
	for n < min(len(a), len(b)) && a[len(a)-n-1] == b[len(b)-n-1] {
		n++
	}
	return n
}

// comparedAtOnce is the number of bytes compared in one step.
const comparedAtOnce = 4096
