package phone

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// dialogKey finds the call a request belongs to. Our own tag is enough: it is
// random, and the far end's is not known until it has answered.
type dialogKey struct {
	callID string
	tag    string
}

// dialog is the state that requests within a call share (RFC 3261, 12).
type dialog struct {
	callID    string
	local     sip.FromHeader // us
	remote    sip.ToHeader   // the far end
	target    sip.Uri        // the far end's Contact
	routes    []string       // Route headers, the next hop first
	hop       *sip.Uri       // the first of routes
	source    netip.AddrPort // used where target names no address
	seq       uint32         // of our last request
	remoteSeq int64          // of the far end's last request, -1 before the first
}

// newRequest builds the next request of ours in the call.
func (c *Call) newRequest(method sip.RequestMethod) *sip.Request {
	seq := c.nextSeq()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buildLocked(method, seq)
}

func (c *Call) buildLocked(method sip.RequestMethod, seq uint32) *sip.Request {
	d := &c.dialog
	req := c.phone.newRequest(method, envelope{target: d.target, from: d.local, to: d.remote, callID: d.callID}, seq)
	for _, route := range d.routes {
		req.AppendHeader(sip.NewHeader("Route", route))
	}
	next := &d.target
	if d.hop != nil {
		next = d.hop
	}
	to, ok := address(next)
	if !ok {
		to = d.source
	}
	req.SetDestination(to.String())
	return req
}

func (c *Call) nextSeq() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialog.seq++
	return c.dialog.seq
}

// learn records the far end's identity from its answer to our INVITE.
func (c *Call) learn(res *sip.Response) error {
	to := res.To()
	if tagOf(to) == "" {
		return fmt.Errorf("the answer %d has no tag", res.StatusCode)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &c.dialog
	d.remote.Params = to.Params.Clone()
	if contact := res.Contact(); contact != nil {
		d.retarget(contact)
	}
	hops := res.GetHeaders("Record-Route")
	d.routes, d.hop = nil, nil
	for i := len(hops) - 1; i >= 0; i-- {
		d.route(hops[i])
	}
	return nil
}

func (d *dialog) retarget(contact *sip.ContactHeader) {
	if !contact.Address.Wildcard && contact.Address.Host != "" {
		d.target = *contact.Address.Clone()
		d.target.Headers = nil
	}
}

// route adds a Record-Route header to the route of our requests. Only loose routers exist nowadays.
func (d *dialog) route(h sip.Header) {
	d.routes = append(d.routes, h.Value())
	if rr, ok := h.(*sip.RecordRouteHeader); ok && d.hop == nil {
		d.hop = rr.Address.Clone()
	}
}

// cancelRequest withdraws an INVITE: same Via, same number, no tag of the far
// end (RFC 3261, 9.1).
func (c *Call) cancelRequest(invite *sip.Request) *sip.Request {
	req := c.phone.newRequest(sip.CANCEL, envelope{
		target: invite.Recipient,
		from:   *invite.From(),
		to:     *invite.To(),
		callID: invite.CallID().Value(),
	}, invite.CSeq().SeqNo)
	req.PrependHeader(sip.HeaderClone(invite.Via()))
	req.SetDestination(invite.Destination())
	return req
}

// acknowledge sends the ACK for a 2xx. It is not a transaction: it goes to the far end's Contact, once for every 2xx that arrives.
func (c *Call) acknowledge(seq uint32) error {
	c.mu.Lock()
	ack := c.buildLocked(sip.ACK, seq)
	c.mu.Unlock()
	c.ackMu.Lock()
	defer c.ackMu.Unlock()
	if err := c.phone.client.WriteRequest(ack, withVia); err != nil {
		return fmt.Errorf("cannot acknowledge: %w", err)
	}
	c.lastACK = ack
	return nil
}

func (c *Call) acknowledgeAgain() {
	c.ackMu.Lock()
	defer c.ackMu.Unlock()
	if c.lastACK == nil {
		return // the first one is about to be sent, which answers both
	}
	if err := c.phone.client.WriteRequest(c.lastACK.Clone(), withVia); err != nil {
		c.phone.log.Debug("cannot acknowledge again", "err", err)
	}
}

// callFor returns the call of a request, nil if there is none.
func (p *Phone) callFor(req *sip.Request) *Call {
	id, tag := req.CallID(), tagOf(req.To())
	if id == nil || tag == "" {
		return nil
	}
	p.mu.Lock()
	c := p.calls[dialogKey{id.Value(), tag}]
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// While a call of ours rings, the far end's tag is not yet known.
	if remote := tagOf(&c.dialog.remote); remote != "" && remote != tagOf(req.From()) {
		return nil
	}
	return c
}

// inOrder records the number of a request of the far end and reports whether it is higher than those before.
func (c *Call) inOrder(req *sip.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seq := int64(req.CSeq().SeqNo)
	if seq <= c.dialog.remoteSeq {
		return false
	}
	c.dialog.remoteSeq = seq
	return true
}

// within returns the call of a request after checking the order; otherwise it has answered the request and returns nil.
func (p *Phone) within(req *sip.Request, tx sip.ServerTransaction) *Call {
	c := p.callFor(req)
	if c == nil {
		p.respond(req, tx, sip.StatusCallTransactionDoesNotExists)
		return nil
	}
	if !c.inOrder(req) {
		p.respond(req, tx, sip.StatusInternalServerError)
		return nil
	}
	return c
}

func (p *Phone) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if !p.understands(req, tx) {
		return
	}
	if tagOf(req.To()) != "" {
		if c := p.within(req, tx); c != nil {
			c.onReinvite(req, tx)
		}
		return
	}
	p.onNewCall(req, tx)
}

// understands refuses extensions that a request requires and we do not support.
func (p *Phone) understands(req *sip.Request, tx sip.ServerTransaction) bool {
	if req.From() == nil || req.To() == nil || req.CallID() == nil {
		p.respond(req, tx, sip.StatusBadRequest)
		return false
	}
	for _, h := range req.GetHeaders("Require") {
		for option := range strings.SplitSeq(h.Value(), ",") {
			if option = strings.TrimSpace(option); !strings.EqualFold(option, "timer") {
				p.respond(req, tx, sip.StatusBadExtension, sip.NewHeader("Unsupported", option))
				return false
			}
		}
	}
	if len(req.Body()) > 0 && !isSDP(req.ContentType()) {
		p.respond(req, tx, sip.StatusUnsupportedMediaType, sip.NewHeader("Accept", sdpType))
		return false
	}
	return true
}

// onNewCall lets a call ring. The stack ends the transaction when we return, so we stay until the call is decided.
func (p *Phone) onNewCall(req *sip.Request, tx sip.ServerTransaction) {
	from, contact := req.From(), req.Contact()
	if tagOf(from) == "" || contact == nil || contact.Address.Wildcard {
		p.respond(req, tx, sip.StatusBadRequest)
		return
	}
	if len(req.Body()) > 0 {
		if _, _, err := readStream(req.Body()); err != nil {
			p.log.Debug("cannot take call", "err", err)
			p.respond(req, tx, sip.StatusNotAcceptableHere)
			return
		}
	}

	// A copy, because the stack still reads the original.
	own := req.Clone()
	own.To().Params.Add("tag", token())
	d := dialog{
		callID:    own.CallID().Value(),
		local:     own.To().AsFrom(),
		remote:    own.From().AsTo(),
		target:    own.Recipient,
		remoteSeq: int64(own.CSeq().SeqNo),
	}
	d.source, _ = netip.ParseAddrPort(req.Source())
	d.retarget(own.Contact())
	for _, h := range own.GetHeaders("Record-Route") {
		d.route(h)
	}
	c, err := p.newCall(d, Party{Name: unquote(from.DisplayName), Number: unescape(from.Address.User)})
	if err != nil {
		p.log.Warn("cannot take call", "err", err)
		p.respond(req, tx, sip.StatusInternalServerError)
		return
	}
	c.request, c.tx = own, tx
	if err := p.enter(c); err != nil {
		return
	}
	// The stack itself answers a CANCEL, and the INVITE with 487.
	if !tx.OnCancel(func(cancel *sip.Request) { c.finish(canceled(cancel)) }) {
		c.finish(ErrCanceled)
		return
	}
	p.respond(own, tx, sip.StatusRinging, p.contactHeader())
	p.log.Debug("call came in", "from", c.from.Number, "call_id", c.key.callID)
	select {
	case p.incoming <- c:
	default:
		if err := c.Reject(sip.StatusBusyHere); err != nil {
			p.log.Debug("cannot refuse call", "err", err)
		}
	}
	select {
	case <-c.decided:
	case <-c.done:
	}
}

// canceled returns the reason in a CANCEL.
func canceled(cancel *sip.Request) error {
	for _, h := range cancel.GetHeaders("Reason") {
		protocol, params, _ := strings.Cut(h.Value(), ";")
		if strings.EqualFold(strings.TrimSpace(protocol), "SIP") && slices.Contains(strings.Split(strings.ReplaceAll(params, " ", ""), ";"), "cause=200") {
			return ErrAnsweredElsewhere
		}
	}
	return ErrCanceled
}

// onReinvite handles a new description of a running session, or a repeated one that only keeps it alive.
func (c *Call) onReinvite(req *sip.Request, tx sip.ServerTransaction) {
	p := c.phone
	// Asterisk may send this right after the ACK, before we have processed that.
	soon := time.NewTimer(sip.T1)
	defer soon.Stop()
	select {
	case <-c.answered:
	case <-c.done:
		p.respond(req, tx, sip.StatusCallTransactionDoesNotExists)
		return
	case <-soon.C:
		p.respond(req, tx, sip.StatusRequestPending)
		return
	}
	if !c.renegotiating.CompareAndSwap(false, true) {
		p.respond(req, tx, sip.StatusRequestPending)
		return
	}
	defer c.renegotiating.Store(false)

	offered := len(req.Body()) > 0
	ours, err := c.renegotiate(req)
	if err != nil {
		p.log.Debug("cannot change session", "err", err)
		p.respond(req, tx, sip.StatusNotAcceptableHere)
		return
	}
	if !offered {
		ours = c.media.offer()
	}
	//nolint:forbidigo // no caller's context: the call's end and the timer inside bound it
	ack, err := c.confirm(context.Background(), req, tx, ours)
	if err == nil && !offered {
		err = c.media.agree(ack.Body())
	}
	if err != nil {
		p.log.Debug("session not changed", "err", err)
	}
}

// renegotiate handles the offer of a request within the call and returns our answer, nil if nothing was offered.
func (c *Call) renegotiate(req *sip.Request) ([]byte, error) {
	var ours []byte
	if len(req.Body()) > 0 {
		var err error
		if ours, err = c.media.accept(req.Body()); err != nil {
			return nil, err
		}
	}
	if contact := req.Contact(); contact != nil {
		c.mu.Lock()
		c.dialog.retarget(contact)
		c.mu.Unlock()
	}
	return ours, nil
}

// onUpdate does what a re-INVITE does without an ACK (RFC 3311).
func (p *Phone) onUpdate(req *sip.Request, tx sip.ServerTransaction) {
	if !p.understands(req, tx) {
		return
	}
	c := p.within(req, tx)
	if c == nil {
		return
	}
	if c.renegotiating.Load() {
		p.respond(req, tx, sip.StatusRequestPending)
		return
	}
	ours, err := c.renegotiate(req)
	if err != nil {
		p.log.Debug("cannot change session", "err", err)
		p.respond(req, tx, sip.StatusNotAcceptableHere)
		return
	}
	if err := tx.Respond(c.success(req, ours)); err != nil {
		p.log.Debug("cannot answer", "method", "UPDATE", "err", err)
	}
}

// onAck passes the ACK for one of our 2xx to the goroutine that waits for it.
func (p *Phone) onAck(req *sip.Request, _ sip.ServerTransaction) {
	c := p.callFor(req)
	if c == nil {
		return
	}
	select {
	case c.acks <- req:
	default: // a repeated one
	}
}

func (p *Phone) onBye(req *sip.Request, tx sip.ServerTransaction) {
	c := p.within(req, tx)
	if c == nil {
		return
	}
	p.respond(req, tx, sip.StatusOK)
	c.finish(nil)
}

// onCancel gets only a CANCEL that the stack has found no INVITE for.
func (p *Phone) onCancel(req *sip.Request, tx sip.ServerTransaction) {
	p.respond(req, tx, sip.StatusCallTransactionDoesNotExists)
}
