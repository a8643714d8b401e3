package phone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// maxChallenges bounds how often one request is repeated because the server calls its own nonce stale.
const maxChallenges = 3

// uri returns the SIP address of a number at the server.
func (p *Phone) uri(number string) sip.Uri {
	return sip.Uri{
		Scheme: "sip",
		User:   strings.ReplaceAll(number, "#", "%23"),
		Host:   p.server.Addr().String(),
		Port:   int(p.server.Port()),
	}
}

// contactHeader returns the phone's own address.
func (p *Phone) contactHeader() *sip.ContactHeader {
	return &sip.ContactHeader{Address: sip.Uri{
		Scheme: "sip",
		User:   strings.ReplaceAll(p.number, "#", "%23"),
		Host:   p.local.Addr().String(),
		Port:   int(p.local.Port()),
	}}
}

// envelope holds what the requests of one dialog, or of one registration, have in common.
type envelope struct {
	target sip.Uri
	from   sip.FromHeader
	to     sip.ToHeader
	callID string
}

// newRequest returns a request with every required header except Via, which is added when it is sent.
func (p *Phone) newRequest(method sip.RequestMethod, e envelope, seq uint32) *sip.Request {
	req := sip.NewRequest(method, e.target)
	id := sip.CallIDHeader(e.callID)
	forwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(sip.HeaderClone(&e.from))
	req.AppendHeader(sip.HeaderClone(&e.to))
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	req.AppendHeader(&forwards)
	req.AppendHeader(sip.NewHeader("User-Agent", p.agent))
	req.SetBody(nil)
	req.SetTransport("UDP")
	// From the socket that also listens: otherwise the stack opens another one for each new destination.
	req.Laddr = sip.Addr{IP: net.IP(p.local.Addr().AsSlice()), Port: int(p.local.Port())}
	return req
}

// withVia adds a Via header unless the request, a CANCEL or a repeated ACK, has one.
func withVia(c *sipgo.Client, req *sip.Request) error {
	if req.Via() != nil {
		return nil
	}
	return sipgo.ClientRequestAddVia(c, req)
}

// send starts the client transaction of a request, which must not be changed
// afterwards because the stack repeats it.
func (p *Phone) send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	tx, err := p.client.TransactionRequest(ctx, req, withVia)
	if err != nil {
		return nil, fmt.Errorf("cannot send %s: %w", req.Method, err)
	}
	return tx, nil
}

// exchange sends a request and waits for its final response.
func (p *Phone) exchange(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	tx, err := p.send(ctx, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, unanswered(req.Method, tx)
		case <-p.quit:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer to %s: %w", req.Method, context.Cause(ctx))
		}
	}
}

// ask is exchange with the server's challenges answered. Each repetition takes its sequence number from next.
func (p *Phone) ask(ctx context.Context, req *sip.Request, next func() uint32) (*sip.Response, error) {
	for n := 0; ; n++ {
		res, err := p.exchange(ctx, req)
		if err != nil {
			return nil, err
		}
		again := p.authorize(req, res, n, next)
		if again == nil {
			return res, nil
		}
		req = again
	}
}

// authorize returns the request to send after a challenge, or nil if the
// response is final: no challenge, one that we cannot answer, or a refusal of
// the answer already given. n counts the challenges answered so far.
func (p *Phone) authorize(req *sip.Request, res *sip.Response, n int, next func() uint32) *sip.Request {
	var asked, answer string
	switch res.StatusCode {
	case sip.StatusUnauthorized:
		asked, answer = "WWW-Authenticate", "Authorization"
	case sip.StatusProxyAuthRequired:
		asked, answer = "Proxy-Authenticate", "Proxy-Authorization"
	default:
		return nil
	}
	if n >= maxChallenges {
		return nil
	}
	// RFC 8760: the server lists its challenges by preference and the client
	// answers the topmost one it can.
	for _, h := range res.GetHeaders(asked) {
		challenge, err := digest.ParseChallenge(h.Value())
		if err != nil || !digest.CanDigest(challenge) || !p.knows(challenge.Algorithm) {
			continue
		}
		if req.GetHeader(answer) != nil && !challenge.Stale {
			return nil
		}
		credentials, err := digest.Digest(challenge, digest.Options{
			Method:   req.Method.String(),
			URI:      req.Recipient.String(),
			Username: p.number,
			Password: p.secret,
		})
		if err != nil {
			continue
		}
		again := req.Clone()
		again.RemoveHeader("Via")
		again.RemoveHeader(answer)
		again.AppendHeader(sip.NewHeader(answer, credentials.String()))
		again.CSeq().SeqNo = next()
		return again
	}
	return nil
}

// knows reports whether the phone supports this digest algorithm; the one without a name is MD5 (RFC 8760, 2.4).
func (p *Phone) knows(algorithm string) bool {
	return p.only == "" || strings.EqualFold(p.only, algorithm) || p.only == "MD5" && algorithm == ""
}

// respond answers a request outside of call setup; if an answer cannot be sent the far end repeats its request.
func (p *Phone) respond(req *sip.Request, tx sip.ServerTransaction, code int, headers ...sip.Header) {
	if err := tx.Respond(p.response(req, code, headers...)); err != nil {
		p.log.Debug("cannot answer", "method", req.Method.String(), "status", code, "err", err)
	}
}

func (p *Phone) response(req *sip.Request, code int, headers ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(req, code, reason(code), nil)
	res.AppendHeader(sip.NewHeader("Allow", allowed))
	res.AppendHeader(sip.NewHeader("User-Agent", p.agent))
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return res
}

// refusal turns a final response other than success into an error.
func refusal(res *sip.Response) error {
	return &StatusError{Code: res.StatusCode, Reason: res.Reason}
}

// unanswered returns why a transaction has ended without a final response.
func unanswered(method sip.RequestMethod, tx sip.ClientTransaction) error {
	err := tx.Err()
	if err == nil {
		err = errors.New("transaction ended")
	}
	return fmt.Errorf("no answer to %s: %w", method, err)
}

// reason returns the phrase for a status we send.
func reason(code int) string {
	switch code {
	case sip.StatusOK:
		return "OK"
	case sip.StatusRinging:
		return "Ringing"
	case sip.StatusBadRequest:
		return "Bad Request"
	case sip.StatusNotFound:
		return "Not Found"
	case sip.StatusMethodNotAllowed:
		return "Method Not Allowed"
	case sip.StatusUnsupportedMediaType:
		return "Unsupported Media Type"
	case sip.StatusBadExtension:
		return "Bad Extension"
	case sip.StatusTemporarilyUnavailable:
		return "Temporarily Unavailable"
	case sip.StatusCallTransactionDoesNotExists:
		return "Call/Transaction Does Not Exist"
	case sip.StatusBusyHere:
		return "Busy Here"
	case sip.StatusNotAcceptableHere:
		return "Not Acceptable Here"
	case sip.StatusRequestPending:
		return "Request Pending"
	case sip.StatusInternalServerError:
		return "Server Internal Error"
	case sip.StatusGlobalBusyEverywhere:
		return "Busy Everywhere"
	case sip.StatusGlobalDecline:
		return "Decline"
	default:
		return "Rejected"
	}
}

// address returns the literal address of a URI; ok is false if it would need a name server.
func address(u *sip.Uri) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(u.Host)
	if err != nil || u.Port < 0 || u.Port > 65535 {
		return netip.AddrPort{}, false
	}
	port := u.Port
	if port == 0 {
		port = sip.DefaultUdpPort
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// tagged is a From or To header.
type tagged interface {
	*sip.FromHeader | *sip.ToHeader
}

// tagOf returns the tag of a From or To header, empty if there is none.
func tagOf[H tagged](h H) string {
	var params sip.HeaderParams
	switch h := any(h).(type) {
	case *sip.FromHeader:
		if h != nil {
			params = h.Params
		}
	case *sip.ToHeader:
		if h != nil {
			params = h.Params
		}
	}
	tag, _ := params.Get("tag")
	return tag
}

// quote escapes a display name for the quoted form in which the stack writes it.
func quote(name string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
}

// unquote undoes the quoting of a received display name, which the stack keeps.
func unquote(name string) string {
	if !strings.Contains(name, `\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+1 < len(name) {
			i++
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// unescape undoes the percent signs of the user part of a SIP address.
func unescape(user string) string {
	if s, err := url.PathUnescape(user); err == nil {
		return s
	}
	return user
}

// token returns a random name for a tag or a Call-ID.
func token() string { return rand.Text() }
