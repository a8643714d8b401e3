package directory

import "context"

// most is how many of a line are served together: what waits behind them waits no longer than they take.
const most = 64

// line is where those stand who want the same done. Whoever's turn it is does it for all who stand there by then, in the order in which
// they came; who comes alone waits for nobody.
type line[T any] struct {
	turn chan struct{}
	next chan *place[T] // where those who stand in the line hand over what they want
}

type place[T any] struct {
	wants T
	done  chan struct{}
}

func newLine[T any]() *line[T] {
	return &line[T]{turn: make(chan struct{}, 1), next: make(chan *place[T])}
}

// join comes back when it was done, by the caller or by another. Once it is begun the caller stays to the end, whatever his context says;
// an error is that of a context which ended before.
func (l *line[T]) join(ctx context.Context, wants T, do func(all []T)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	mine := &place[T]{wants, make(chan struct{})}
	select {
	case l.next <- mine:
		<-mine.done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case l.turn <- struct{}{}:
	}
	all, others := []T{wants}, []*place[T]{}
	defer func() { // also when it panics: nobody shall wait for ever
		<-l.turn
		for _, p := range others {
			close(p.done)
		}
	}()
	for len(all) < most {
		select {
		case p := <-l.next:
			all, others = append(all, p.wants), append(others, p)
			continue
		default:
		}
		break
	}
	do(all)
	return nil
}
