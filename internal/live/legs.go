package live

import (
	"cmp"
	"container/heap"
)

// legs are the channels of one call, organised so that the relevant ones are found in constant time: an event of a conference of thousands costs no more
// than one of a call between two people.
type legs struct {
	size int         // channels, except Asterisk's Local ones
	by   [3]channels // the others by progress, Up first; in each the oldest is on top
}

// progress orders the called legs: the leg that has answered is the other party.
func progress(state string) int {
	switch state {
	case "Up":
		return 0
	case "Ringing":
		return 1
	}
	return 2
}

func (l *legs) add(c *channel) {
	l.size++
	if !c.local {
		heap.Push(&l.by[c.progress], c)
	}
}

func (l *legs) remove(c *channel) {
	l.size--
	if !c.local {
		heap.Remove(&l.by[c.progress], c.at)
	}
}

// count returns the number of legs, except Asterisk's Local ones.
func (l *legs) count() (n int) {
	for _, of := range l.by {
		n += len(of)
	}
	return n
}

// first returns the leg the call began with; nil if there is none.
func (l *legs) first() (first *channel) {
	for _, of := range l.by {
		if len(of) > 0 && (first == nil || of[0].before(first)) {
			first = of[0]
		}
	}
	return first
}

// other returns the leg of the other party: of the legs beside the first the one that has progressed furthest, and of these the oldest.
func (l *legs) other(first *channel) *channel {
	for _, of := range l.by {
		if len(of) > 0 && of[0] != first {
			return of[0]
		}
		if len(of) > 1 { // the second of a heap is one of the two below its top
			second := of[1]
			if len(of) > 2 && of[2].before(second) {
				second = of[2]
			}
			return second
		}
	}
	return nil
}

// channels is a heap with the oldest channel on top.
type channels []*channel

func (h channels) Len() int           { return len(h) }
func (h channels) Less(i, j int) bool { return h[i].before(h[j]) }
func (h channels) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push adds a channel, for container/heap.
func (h *channels) Push(x any) {
	c, _ := x.(*channel)
	c.at = len(*h)
	*h = append(*h, c)
}

// Pop removes the last channel, for container/heap.
func (h *channels) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}

// before reports whether c is older than o.
func (c *channel) before(o *channel) bool {
	return cmp.Or(cmp.Compare(c.serial, o.serial), cmp.Compare(c.id, o.id)) < 0
}
