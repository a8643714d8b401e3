package asterisk

import (
	"context"
	"slices"
	"sync"
)

// mostConsoles is how many consoles of Asterisk one process of the portal uses at a time. Asterisk has 128 for all who ask it, the
// administrator among them, and accepts one after the other.
const mostConsoles = 2

// places are the consoles of one process. Those who do not wait patiently come first: an apply waits for no look longer than for one
// question that has been asked already.
type places struct {
	mu      sync.Mutex // guards what follows
	free    int        // none while anybody waits
	first   []chan struct{}
	patient []chan struct{}
}

func newPlaces() *places { return &places{free: mostConsoles} }

// take waits for a place. leave must follow, unless there is an error, which is that of ctx.
func (p *places) take(ctx context.Context, patiently bool) error {
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	row := p.row(patiently)
	*row = append(*row, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(*row, turn)
	if i >= 0 {
		*row = slices.Delete(*row, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // the place came at the same moment
		p.leave()
	}
	return ctx.Err()
}

// leave gives a place to whoever is next.
func (p *places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, row := range []*[]chan struct{}{&p.first, &p.patient} {
		if len(*row) > 0 {
			close((*row)[0])
			*row = slices.Delete(*row, 0, 1)
			return
		}
	}
	p.free++
}

func (p *places) row(patiently bool) *[]chan struct{} {
	if patiently {
		return &p.patient
	}
	return &p.first
}
