package pbx

import "math/rand/v2"

// Assigner returns the free numbers of a pool in its order.
type Assigner struct {
	pool  Pool
	taken func(Number) bool
	next  Number
	left  int      // the numbers that have not been looked at; of a random order: -1 until free is filled
	free  []Number // of a random order
}

// NewAssigner returns an Assigner for a pool. last is the number that was assigned last, 0 if there is none; taken reports whether a number is not free.
func NewAssigner(p Pool, last Number, taken func(Number) bool) *Assigner {
	a := &Assigner{pool: p, taken: taken, next: p.First, left: p.Size()}
	switch {
	case p.Order == NextFirst && p.Contains(last) && last < p.Last:
		a.next = last + 1
	case p.Order == RandomFirst:
		a.left = -1
	}
	return a
}

// Next returns the next free number; ok is false if there is none.
func (a *Assigner) Next() (n Number, ok bool) {
	if a.pool.Order == RandomFirst {
		return a.random()
	}
	for ; a.left > 0; a.left-- {
		n, a.next = a.next, a.next+1
		if a.next > a.pool.Last {
			a.next = a.pool.First
		}
		if !a.taken(n) {
			a.left--
			return n, true
		}
	}
	return 0, false
}

// random returns one of the free numbers.
func (a *Assigner) random() (n Number, ok bool) {
	for n := a.pool.First; a.left < 0 && n <= a.pool.Last; n++ {
		if !a.taken(n) {
			a.free = append(a.free, n)
		}
	}
	for a.left = 0; len(a.free) > 0 && !ok; {
		i, last := rand.IntN(len(a.free)), len(a.free)-1 //nolint:gosec // a number is no secret
		n, ok = a.free[i], !a.taken(a.free[i])           // it may have been given explicitly since
		a.free[i], a.free = a.free[last], a.free[:last]
	}
	return n, ok
}
