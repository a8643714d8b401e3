// Package idempotency carries out a request with an idempotency key once per caller, and gives its response again when the request is repeated. The
// claim of a request is recorded in the transaction of its change: whatever ends the process, either both exist or neither.
package idempotency

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Keys is the service. It is safe for concurrent use.
type Keys struct {
	store *store.Store
	now   func() time.Time

	mu      sync.Mutex // guards running
	running map[string]chan struct{}
}

// New returns the service over a store; now returns the current time.
func New(s *store.Store, now func() time.Time) *Keys {
	return &Keys{store: s, now: now, running: map[string]chan struct{}{}}
}

// Request is a request with an idempotency key.
type Request struct {
	Caller string // the account or token
	Key    string
	Hash   string // of everything that makes the request what it is
}

// Answer is a response.
type Answer struct {
	Status int                 `json:"status"`
	Header map[string][]string `json:"header"`
	Body   []byte              `json:"body"`
}

// Repeated is what is known of a request that was carried out before.
type Repeated struct {
	Answer *Answer         // nil if it is not known
	Object pbx.AuditObject // what the request changed, without its name; the zero object if nothing
}

// Do carries out a request with run, or returns what is known of it if it was carried out before; repeated is nil in the first case. Requests with the
// same caller and key wait for each other. run returns its response, and is called with a context that all changes must be made with. A failed request
// (status 4xx) can be repeated with its key; after a 5xx the key counts only if the change was made. Errors: KindConflict with CodeKeyReused if the key
// was used for another request; KindUnavailable for the database. A response that cannot be stored is reported to unsaved, and nothing else happens.
func (k *Keys) Do(ctx context.Context, r Request, run func(context.Context) Answer, unsaved func(context.Context, error)) (_ Answer, repeated *Repeated, err error) {
	leave, err := k.enter(ctx, r.Caller+" "+r.Key)
	if err != nil {
		return Answer{}, nil, err
	}
	defer leave()
	for attempt := 0; ; attempt++ {
		now := k.now().UTC().Truncate(time.Microsecond)
		before, found, err := k.store.Claimed(ctx, r.Caller, r.Key, now.Add(-store.ClaimLife))
		switch {
		case err != nil:
			return Answer{}, nil, err
		case found && before.Request != r.Hash:
			return Answer{}, nil, &pbx.Error{
				Kind: pbx.KindConflict, Code: pbx.CodeKeyReused,
				Msg: "this idempotency key was used for a different request: use a new key for a new request",
			}
		case found:
			return Answer{}, newRepeated(before), nil
		}
		claim := &store.Claim{Caller: r.Caller, Key: r.Key, Request: r.Hash, At: now}
		a := run(store.WithClaim(ctx, claim))
		if claim.Lost() && attempt == 0 { // another process was faster
			continue
		}
		if err := k.conclude(context.WithoutCancel(ctx), claim, a); err != nil {
			unsaved(ctx, err)
		}
		return a, nil, nil
	}
}

// conclude stores the response to a request that succeeded, and forgets one that failed.
func (k *Keys) conclude(ctx context.Context, claim *store.Claim, a Answer) error {
	switch {
	case a.Status < 400:
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		return k.store.KeepAnswer(ctx, claim, text)
	case a.Status < 500 && claim.Made(): // what was written belongs to the failure, such as the event of a wrong password
		return k.store.DropClaim(ctx, claim)
	}
	return nil
}

func newRepeated(before store.Claimed) *Repeated {
	r := &Repeated{Object: before.Object}
	var a Answer
	if before.Answer != nil && json.Unmarshal(before.Answer, &a) == nil {
		r.Answer = &a
	}
	return r
}

// enter waits until no other request with the same name is in progress in this process. The caller calls leave when done.
func (k *Keys) enter(ctx context.Context, name string) (leave func(), err error) {
	for {
		k.mu.Lock()
		other, busy := k.running[name]
		if !busy {
			done := make(chan struct{})
			k.running[name] = done
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.running, name)
				k.mu.Unlock()
				close(done)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
