package render

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// around is the number of unchanged blocks that are compared with a changed one on each side. A block has more lines than half of the context that a
// diff shows.
const around = 2

// run is a range of blocks of two files outside of which both have the same blocks.
type run struct{ a, b, aEnd, bEnd int }

// diffRuns returns the diff of two files whose first block is the same, and the second of which the portal rendered, reading only what changed: of 10,000
// users one, and not all, whose hashes would have to be computed.
func diffRuns(aName, bName, path string, a, b [][]byte) string {
	earlier := map[string]string{}
	before, after := shower{noted: earlier}, shower{noted: map[string]string{}, earlier: earlier}
	var text strings.Builder
	aLine, bLine, done := 0, 0, 0 // lines shown of both up to the block done of a
	for _, r := range runs(path, a, b) {
		same := shownLines(a[done:r.a])
		aLine, bLine, done = aLine+same, bLine+same, r.aEnd
		x, y := before.part(path, a[r.a:r.aEnd], r.a > 0), after.part(path, b[r.b:r.bEnd], r.b > 0)
		first := text.Len() == 0
		for i, line := range strings.SplitAfter(string(diff.Diff(aName, x, bName, y)), "\n") {
			switch {
			case strings.HasPrefix(line, "@@ "):
				text.WriteString(moved(line, aLine, bLine))
			case i > 2 || first: // the first three lines name the files
				text.WriteString(line)
			}
		}
		aLine, bLine = aLine+bytes.Count(x, []byte("\n")), bLine+bytes.Count(y, []byte("\n"))
	}
	return text.String()
}

// part returns the visible part of some blocks of a file. inside reports that they are not the first, so that the line which names the dialplan context
// comes before them.
func (s *shower) part(path string, blocks [][]byte, inside bool) []byte {
	var context []byte
	if inside && path == pbx.DialplanPath {
		context = []byte("[" + pbx.Context + "]\n")
	}
	s.out.Reset()
	return bytes.TrimPrefix(bytes.Clone(s.show(path, append(bytes.Clone(context), bytes.Join(blocks, nil)...))), context)
}

// moved returns the first line of a hunk, "@@ -1,2 +1,2 @@", for a part of the files that begins behind so many lines.
func moved(line string, a, b int) string {
	var aFrom, aLines, bFrom, bLines int
	if _, err := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &aFrom, &aLines, &bFrom, &bLines); err != nil {
		return line
	}
	return fmt.Sprintf("@@ -%d,%d +%d,%d @@\n", aFrom+a, aLines, bFrom+b, bLines)
}

// shownLines returns how many lines are shown of blocks that the portal wrote: all but those of the hashes.
func shownLines(blocks [][]byte) (n int) {
	for _, block := range blocks {
		n += bytes.Count(block, []byte("\n")) - bytes.Count(block, []byte("\n"+pbx.HashAttribute+"="))
	}
	return n
}

// blocks splits a file where an object or an extension begins.
func blocks(path string, file []byte) (all [][]byte) {
	begins := []byte("\n[")
	if path == pbx.DialplanPath {
		begins = []byte("\nexten => ")
	}
	for {
		end := bytes.Index(file, begins)
		if end < 0 {
			return append(all, file)
		}
		all, file = append(all, file[:end+1]), file[end+1:]
	}
}

// runs returns where two files differ, with the blocks around, in order. The blocks must be by number, as the portal writes them; where they are not, a
// run is longer than it needs to be.
func runs(path string, a, b [][]byte) (all []run) {
	equal := func(i, j int) bool { return i < len(a) && j < len(b) && bytes.Equal(a[i], b[j]) }
	for i, j := 0, 0; i < len(a) || j < len(b); i, j = i+1, j+1 {
		if equal(i, j) {
			continue
		}
		r := run{a: i, b: j}
		for (i < len(a) || j < len(b)) && !equal(i, j) {
			switch inA, inB := place(path, a, i), place(path, b, j); {
			case inA < inB:
				i++
			case inA > inB:
				j++
			default:
				i, j = i+1, j+1
			}
		}
		back := min(around, r.a, r.b)
		r.a, r.b = r.a-back, r.b-back
		on := min(around, len(a)-i, len(b)-j)
		for k := range on { // the next run may begin here
			if !equal(i+k, j+k) {
				on = k
				break
			}
		}
		r.aEnd, r.bEnd = i+on, j+on
		if last := len(all) - 1; last >= 0 && all[last].aEnd >= r.a {
			all[last].aEnd, all[last].bEnd = r.aEnd, r.bEnd
		} else {
			all = append(all, r)
		}
		i, j = i-1, j-1 // the blocks at i and j are equal: the loop goes on with them
	}
	return all
}

// place returns where a block belongs in its file: behind the number of the file's end, or by its own number.
func place(path string, blocks [][]byte, i int) int {
	const end = int(pbx.MaxNumber) + 1
	if i >= len(blocks) {
		return end
	}
	line, _, _ := bytes.Cut(blocks[i], []byte("\n"))
	if path == pbx.DialplanPath {
		number, _, _ := bytes.Cut(bytes.TrimPrefix(line, []byte("exten => ")), []byte(","))
		n, _ := strconv.Atoi(string(number))
		return end - 1 - n
	}
	n, _ := strconv.Atoi(strings.Trim(string(line), "[]"))
	return n
}
