package phone

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
)

// binding is the state of a phone's registration. All REGISTER requests of a phone share a Call-ID and count up, so only one may be in progress.
type binding struct {
	turn   chan struct{} // holds one token while no registration is in progress
	callID string
	tag    string
	seq    uint32 // owned by the holder of the token
}

func newBinding() binding {
	b := binding{turn: make(chan struct{}, 1), callID: token(), tag: token()}
	b.turn <- struct{}{}
	return b
}

// Register asks the server to send calls for the number to this phone for the given time; a refusal is a *StatusError. Registering again renews.
func (p *Phone) Register(ctx context.Context, expires time.Duration) error {
	if expires < time.Second {
		return fmt.Errorf("cannot register for %s: less than a second", expires)
	}
	_, err := p.register(ctx, p.contactHeader(), int64(expires/time.Second))
	if err != nil {
		return fmt.Errorf("cannot register %s: %w", p.number, err)
	}
	p.log.Info("registered", "contact", p.Contact(), "expires", expires)
	return nil
}

// Unregister removes this phone's contact from the server.
func (p *Phone) Unregister(ctx context.Context) error {
	if _, err := p.register(ctx, p.contactHeader(), 0); err != nil {
		return fmt.Errorf("cannot unregister %s: %w", p.number, err)
	}
	p.log.Info("unregistered")
	return nil
}

// Contact returns the SIP address that Register sends to the server.
func (p *Phone) Contact() string {
	return p.contactHeader().Address.String()
}

// Contacts returns the addresses at which the number is registered, of this phone and others.
func (p *Phone) Contacts(ctx context.Context) ([]string, error) {
	res, err := p.register(ctx, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the contacts of %s: %w", p.number, err)
	}
	var contacts []string
	for _, h := range res.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok && !c.Address.Wildcard {
			contacts = append(contacts, c.Address.String())
		}
	}
	return contacts, nil
}

// register sends one REGISTER. Without a contact it only queries (RFC 3261, 10.2.3).
func (p *Phone) register(ctx context.Context, contact *sip.ContactHeader, expires int64) (*sip.Response, error) {
	select {
	case <-p.binding.turn:
	case <-p.quit:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { p.binding.turn <- struct{}{} }()
	if !p.start() {
		return nil, ErrClosed
	}
	defer p.work.Done()

	own := p.uri(p.number)
	own.Port = 0
	next := func() uint32 { p.binding.seq++; return p.binding.seq }
	req := p.newRequest(sip.REGISTER, envelope{
		target: p.uri(""),
		from:   sip.FromHeader{Address: own, Params: sip.HeaderParams{{K: "tag", V: p.binding.tag}}},
		to:     sip.ToHeader{Address: own},
		callID: p.binding.callID,
	}, next())
	if contact != nil {
		req.AppendHeader(contact)
		req.AppendHeader(sip.NewHeader("Expires", strconv.FormatInt(expires, 10)))
	}
	res, err := p.ask(ctx, req, next)
	if err != nil {
		return nil, err
	}
	if !res.IsSuccess() {
		return nil, refusal(res)
	}
	if contact != nil && expires > 0 && !bound(res, contact) {
		return nil, errors.New("the server accepted without listing our contact")
	}
	return res, nil
}

// bound reports whether a registrar's answer lists the contact.
func bound(res *sip.Response, contact *sip.ContactHeader) bool {
	want, _ := address(&contact.Address)
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		if got, ok := address(&c.Address); ok && got == want {
			return true
		}
	}
	return false
}
