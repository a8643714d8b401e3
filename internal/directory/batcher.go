package directory

import "context"

// maxBatch is the maximum number of requests that are processed together. It bounds how long the next request waits.
const maxBatch = 64

// batcher coalesces concurrent requests. The caller that gets the turn, the leader, processes every request queued by then, in order (group
// commit). A lone request is processed at once.
type batcher[T any] struct {
	leader chan struct{}    // holds a token while a leader is at work
	queue  chan *request[T] // hands the requests of the other callers to the leader
}

type request[T any] struct {
	value T
	done  chan struct{}
}

func newBatcher[T any]() *batcher[T] {
	return &batcher[T]{leader: make(chan struct{}, 1), queue: make(chan *request[T])}
}

// do returns when the request has been processed, by this or another caller. Processing is not cancelled once it has begun; if ctx ends
// earlier, do returns ctx.Err().
func (b *batcher[T]) do(ctx context.Context, value T, process func(batch []T)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	own := &request[T]{value, make(chan struct{})}
	select {
	case b.queue <- own:
		<-own.done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case b.leader <- struct{}{}:
	}
	batch, followers := []T{value}, []*request[T]{}
	defer func() { // also after a panic, so that no caller waits forever
		<-b.leader
		for _, r := range followers {
			close(r.done)
		}
	}()
	for len(batch) < maxBatch {
		select {
		case r := <-b.queue:
			batch, followers = append(batch, r.value), append(followers, r)
			continue
		default:
		}
		break
	}
	process(batch)
	return nil
}
