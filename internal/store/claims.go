package store

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// ClaimLife is how long a request with an idempotency key is remembered.
const ClaimLife = 24 * time.Hour

// forAnswer is what the responses to requests with an idempotency key are sealed for.
const forAnswer = "response"

// Claim is a request with an idempotency key. The first transaction of a context with a claim records it, so that the request is carried out once: the
// same transaction of a repeated request fails with ErrClaimed. It is not safe for concurrent use.
type Claim struct {
	Caller  string    // the key counts for this caller alone
	Key     string    // chosen by the caller
	Request string    // a hash of the request
	At      time.Time // when the request was made

	made, lost bool
}

// Claimed is a recorded claim.
type Claimed struct {
	Request string
	Object  pbx.AuditObject // what the request changed, without its name; the zero object if nothing
	Answer  []byte          // nil if it is not known
}

// ErrClaimed is the error of a transaction whose claim another request has recorded before.
var ErrClaimed error = &pbx.Error{
	Kind: pbx.KindConflict, Code: pbx.CodeAnswerLost, Msg: "another request with this idempotency key was carried out at the same time: send it again for its response",
}

type claimKey struct{}

// WithClaim returns a context whose first transaction records the claim; nil for one without a claim.
func WithClaim(ctx context.Context, c *Claim) context.Context {
	return context.WithValue(ctx, claimKey{}, c)
}

// ClaimOf returns the claim of a context that is still to be recorded, nil if there is none.
func ClaimOf(ctx context.Context) *Claim {
	c, _ := ctx.Value(claimKey{}).(*Claim)
	if c == nil || c.made {
		return nil
	}
	return c
}

// Made reports whether a transaction recorded the claim.
func (c *Claim) Made() bool { return c.made }

// Lost reports whether another request with the same caller and key was found to be recorded, so that this one changed nothing.
func (c *Claim) Lost() bool { return c.lost }

// Claimed reports whether a request with the caller and the key of a claim is recorded.
func (t *Tx) Claimed(ctx context.Context, c *Claim) (claimed bool, err error) {
	_, c.lost, err = found(scanText(t.tx.QueryRowContext(ctx, `SELECT request FROM idempotency_keys WHERE caller = $1 AND request_key = $2 AND created_at > $3`,
		c.Caller, c.Key, c.At.Add(-ClaimLife))))
	return c.lost, err
}

// Claim records a claim for a request that changes an object; ErrClaimed if it is recorded already. Transactions of a context with a claim do it
// themselves: this is for one that serves the requests of several callers. Call Committed after the commit.
func (t *Tx) Claim(ctx context.Context, c *Claim, object pbx.AuditObject) error {
	switch claimed, err := t.Claimed(ctx, c); {
	case err != nil:
		return err
	case claimed:
		return ErrClaimed
	}
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE created_at <= $1`, c.At.Add(-ClaimLife)); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO idempotency_keys (caller, request_key, request, object_type, object_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		c.Caller, c.Key, c.Request, object.Type, object.ID, c.At)
	return err
}

// Committed notes that a transaction with the claim was committed.
func (c *Claim) Committed() { c.made = true }

// Claimed returns the recorded claim of a caller and a key; ok is false if there is none from after a time. An answer that cannot be decrypted is not
// known.
func (s *Store) Claimed(ctx context.Context, caller, key string, after time.Time) (c Claimed, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	c, ok, err = found(scanClaimed(s.read.QueryRowContext(ctx, `SELECT request, object_type, object_id, answer FROM idempotency_keys
WHERE caller = $1 AND request_key = $2 AND created_at > $3`, caller, key, after)))
	if err != nil {
		return c, false, s.fault("look for an idempotency key", err)
	}
	if c.Answer != nil && s.secrets.keys != nil {
		if c.Answer, err = s.secrets.keys.OpenBytes(forAnswer, caller+" "+key, c.Answer); isKeyFile(err) {
			return c, false, s.fault("read the response to an earlier request", err)
		} else if err != nil {
			c.Answer = nil
		}
	}
	return c, ok, nil
}

func scanClaimed(r row) (c Claimed, err error) {
	err = r.Scan(&c.Request, &c.Object.Type, &c.Object.ID, &c.Answer)
	return c, err
}

// KeepAnswer stores the response to a request with a claim, always sealed: it may contain secrets. A request that changed nothing is recorded with it.
func (s *Store) KeepAnswer(ctx context.Context, c *Claim, answer []byte) error {
	if s.secrets.keys == nil {
		return errNoKeys
	}
	sealed, err := s.secrets.keys.SealBytes(forAnswer, c.Caller+" "+c.Key, answer)
	if err != nil {
		return s.fault("encrypt a response", err)
	}
	return s.InTx(WithClaim(ctx, nil), func(ctx context.Context, tx *Tx) error {
		if !c.made {
			if err := tx.Claim(ctx, c, pbx.AuditObject{}); err != nil {
				return err
			}
		}
		_, err := tx.tx.ExecContext(ctx, `UPDATE idempotency_keys SET answer = $1 WHERE caller = $2 AND request_key = $3`, sealed, c.Caller, c.Key)
		return err
	})
}

// DropClaim removes a claim, so that the request can be repeated with its key.
func (s *Store) DropClaim(ctx context.Context, c *Claim) error {
	return s.InTx(WithClaim(ctx, nil), func(ctx context.Context, tx *Tx) error {
		_, err := tx.tx.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE caller = $1 AND request_key = $2`, c.Caller, c.Key)
		return err
	})
}

// forgetAnswers removes all responses: those sealed with an older key could not be read without it. Requests remain recorded.
func (t *Tx) forgetAnswers(ctx context.Context) error {
	_, err := t.tx.ExecContext(ctx, `UPDATE idempotency_keys SET answer = NULL WHERE answer IS NOT NULL`)
	return err
}
