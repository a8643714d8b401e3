package asterisk

import (
	"regexp"
	"strings"
	"unicode"
)

// What wrappers of Asterisk's console, such as docker exec -t, ssh -t or a script, add to its answers.
var (
	// terminalCodes are terminal escape sequences, for colours, titles and the like.
	terminalCodes = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-Za-z]`)
	// prompt is the prompt of Asterisk's console at the beginning of a line.
	prompt = regexp.MustCompile(`(?m)^[A-Za-z0-9._-]+\*CLI>(?: |$)`)
	// warning is a warning that a program prints before its output. The others are Asterisk's own: its client prints them on its standard output, the
	// first if there is no Ethernet interface, as in a container without a network of its own.
	warning = regexp.MustCompile(`(?i)^(?:(?:warn(?:ing)?\b|time="[^"]*" level=warn)[^\n]*` +
		`|(?:No ethernet interface found|Unable to retrieve ethernet interfaces) for seeding global EID\. You will have to set it manually\.` +
		`|Invalid Entity ID '[^'\n]*' provided` +
		`|'[^'\n]*' is not a valid setting for the \w+ option, defaulting to '[^'\n]*')\n`)
)

// unwrap returns an answer of Asterisk without what a wrapper may add to it: line ends of a terminal, its codes, the console's prompt, and warnings in
// front. The rest must be the complete answer: anything else a wrapper adds is treated as strictly as from the socket.
func unwrap(said string) string {
	said = terminalCodes.ReplaceAllString(strings.ReplaceAll(said, "\r\n", "\n"), "")
	for {
		line := warning.FindString(said)
		if line == "" {
			break
		}
		said = said[len(line):]
	}
	return prompt.ReplaceAllString(said, "")
}

// mostComplaint is more than a command has to say about why it failed.
const mostComplaint = 2000

// legible returns what a command printed on its standard error as text for people and records: valid, without control characters, and if it is too
// long, its beginning and its end.
func legible(said string) string {
	said = terminalCodes.ReplaceAllString(said, "")
	if len(said) > mostComplaint {
		said = said[:mostComplaint/2] + " … " + said[len(said)-mostComplaint/2:]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || unicode.IsSpace(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(said, "?"))
}
