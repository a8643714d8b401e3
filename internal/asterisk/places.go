package asterisk

import (
	"context"
	"slices"
	"sync"
)

// mostConsoles is the maximum number of Asterisk consoles that one process of the portal uses at a time. Asterisk has 128 for all its clients, including
// the administrator, and accepts one after the other.
const mostConsoles = 2

// places are the consoles of one process. Callers with priority come first: an apply waits for a check only until its current command has ended.
type places struct {
	mu      sync.Mutex // guards the fields below
	free    int        // 0 while a caller waits
	first   []chan struct{}
	patient []chan struct{}
}

func newPlaces() *places { return &places{free: mostConsoles} }

// take waits for a console. The caller must call leave, unless there is an error, which is that of ctx.
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
	if i < 0 { // the console was granted at the same moment
		p.leave()
	}
	return ctx.Err()
}

// leave passes a console to the next caller.
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
