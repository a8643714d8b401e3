package phone

import (
	"context"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// cancelGrace bounds how long cancelling an unanswered call may take in the background.
const cancelGrace = 2 * time.Second

// Dial starts a call to a number and returns at once; if ctx ends before the far end has answered, the call is cancelled.
func (p *Phone) Dial(ctx context.Context, number string) (*Call, error) {
	if !dialable(number) {
		return nil, fmt.Errorf("cannot call %q: only digits, letters and *#+._- are possible", number)
	}
	if !p.start() {
		return nil, ErrClosed
	}
	own := p.uri(p.number)
	own.Port = 0
	c, err := p.newCall(dialog{
		callID: token(),
		local: sip.FromHeader{
			DisplayName: quote(p.name),
			Address:     own,
			Params:      sip.HeaderParams{{K: "tag", V: token()}},
		},
		remote: sip.ToHeader{Address: p.uri(number)},
		target: p.uri(number),
		source: p.server,

		remoteSeq: -1,
	}, Party{Name: p.name, Number: p.number})
	if err != nil {
		p.work.Done()
		return nil, fmt.Errorf("cannot call %s: %w", number, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c.giveUp = func() { cancel(ErrCanceled) }
	if err := p.enter(c); err != nil {
		cancel(nil)
		p.work.Done()
		return nil, err
	}
	go func() {
		defer p.work.Done()
		defer cancel(nil)
		if err := c.invite(ctx); err != nil {
			c.finish(fmt.Errorf("cannot call %s: %w", number, err))
		}
	}()
	return c, nil
}

// Call calls a number and returns when the far end has answered; a refusal is a *StatusError.
func (p *Phone) Call(ctx context.Context, number string) (*Call, error) {
	c, err := p.Dial(ctx, number)
	if err != nil {
		return nil, err
	}
	if err := c.Answered(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// invite makes the call: INVITE, the challenge, ringing, the answer, ACK.
func (c *Call) invite(ctx context.Context) error {
	p := c.phone
	req := c.newRequest(sip.INVITE)
	req.AppendHeader(p.contactHeader())
	req.AppendHeader(sip.NewHeader("Allow", allowed))
	req.AppendHeader(sip.NewHeader("Content-Type", sdpType))
	req.SetBody(c.media.offer())
	for n := 0; ; n++ {
		tx, err := p.send(ctx, req)
		if err != nil {
			return err
		}
		tx.OnRetransmission(func(*sip.Response) { c.acknowledgeAgain() })
		res, err := c.await(ctx, req, tx)
		if err != nil {
			tx.Terminate()
			return err
		}
		if res.IsSuccess() {
			return c.talk(ctx, req, tx, res)
		}
		// The stack has acknowledged the refusal and keeps the transaction for
		// its repetitions.
		again := p.authorize(req, res, n, c.nextSeq)
		if again == nil {
			return refusal(res)
		}
		req = again
	}
}

// await returns the final response of our INVITE. If ctx ends first it cancels the INVITE.
func (c *Call) await(ctx context.Context, req *sip.Request, tx sip.ClientTransaction) (*sip.Response, error) {
	provisional := false
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
			provisional = true
			c.progress(res)
		case <-tx.Done():
			return nil, unanswered(sip.INVITE, tx)
		case <-c.phone.quit:
			return nil, ErrClosed
		case <-ctx.Done():
			why := context.Cause(ctx)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
			defer cancel()
			c.withdraw(ctx, req, tx, provisional)
			return nil, why
		}
	}
}

// withdraw cancels an INVITE as far as the far end cooperates: a CANCEL may be
// sent only after a provisional response, and may come too late
// (RFC 3261, 9.1).
func (c *Call) withdraw(ctx context.Context, invite *sip.Request, tx sip.ClientTransaction, provisional bool) {
	for canceled := false; ; {
		if provisional && !canceled {
			canceled = true
			if _, err := c.phone.exchange(ctx, c.cancelRequest(invite)); err != nil {
				c.phone.log.Debug("call not withdrawn", "err", err)
				return
			}
		}
		select {
		case res := <-tx.Responses():
			switch {
			case res.IsProvisional():
				provisional = true
				continue
			case res.IsSuccess():
				if err := c.talk(ctx, invite, tx, res); err == nil {
					c.abandon(ctx, ErrCanceled)
				}
			}
			return
		case <-tx.Done():
			return
		case <-c.phone.quit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// progress handles a provisional response.
func (c *Call) progress(res *sip.Response) {
	if isSDP(res.ContentType()) && len(res.Body()) > 0 {
		if err := c.media.agree(res.Body()); err != nil {
			c.phone.log.Debug("early sound not understood", "err", err)
		}
	}
	if res.StatusCode == sip.StatusRinging {
		c.rings()
	}
}

// talk handles the far end's answer to our INVITE and acknowledges it.
func (c *Call) talk(ctx context.Context, req *sip.Request, tx sip.ClientTransaction, res *sip.Response) error {
	c.mu.Lock()
	c.dialing = tx
	c.mu.Unlock()
	err := c.learn(res)
	if err == nil {
		err = c.media.agree(res.Body())
	}
	// An unusable answer is acknowledged as well, then the call is ended.
	if ackErr := c.acknowledge(req.CSeq().SeqNo); err == nil {
		err = ackErr
	}
	if err != nil {
		c.abandon(ctx, err)
		return err
	}
	if !c.connect() {
		return ErrEnded
	}
	return nil
}
