package phone

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
)

const (
	frameTime    = 20 * time.Millisecond
	frameSamples = int(SampleRate * frameTime / time.Second)

	// maxCatchUp bounds the packets sent at once after the process was held up.
	maxCatchUp = 5

	// maxHeard bounds how much received sound a call keeps; the oldest is dropped first.
	maxHeard = 10 * 60 * SampleRate

	// maxRecord keeps a recording well within what is kept.
	maxRecord = maxHeard / 2

	// maxPacket is more than the length of any packet of G.711.
	maxPacket = 2048

	// portAttempts bounds the search for a free pair of ports.
	portAttempts = 50
)

// Reception is what a call has received so far.
type Reception struct {
	// PCM is the sound in the order of arrival, the last ten minutes of it.
	// A lost packet leaves no gap.
	PCM PCM
	// Packets counts the RTP packets with sound.
	Packets int
	// Lost counts the sequence numbers that never arrived.
	Lost int
}

// media is the sound of one call: an RTP socket, a goroutine that sends a
// packet every 20 ms, silence if nothing is played, and one that receives.
type media struct {
	rtp   *net.UDPConn
	rtcp  *net.UDPConn // kept so that no other program gets the reports meant for us; never read
	local netip.AddrPort
	quit  chan struct{}
	work  sync.WaitGroup
	muted bool // sends nothing; set before the first use

	mu      sync.Mutex // guards everything below
	text    description
	sending bool
	agreed  stream
	playing []*playback
	heard   PCM
	dropped int           // samples no longer in heard
	news    chan struct{} // closed and replaced whenever heard grows
	stats   arrivals
}

// playback is sound that waits to be sent.
type playback struct {
	rest PCM
	done chan struct{}
}

// openMedia binds an even port for RTP and the odd one above it for RTCP.
func openMedia() (*media, error) {
	for range portAttempts {
		first, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback(), 0)))
		if err != nil {
			return nil, fmt.Errorf("cannot open RTP socket: %w", err)
		}
		local := boundTo(first)
		if local.Port()%2 != 0 {
			_ = first.Close() // nothing was sent or received
			continue
		}
		second, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback(), local.Port()+1)))
		if err != nil {
			_ = first.Close() // as above; the port of its pair is taken
			continue
		}
		m := &media{
			rtp:   first,
			rtcp:  second,
			local: local,
			quit:  make(chan struct{}),
			text:  description{id: random()},
			news:  make(chan struct{}),
		}
		m.agreed.codecs = map[uint8]codec{0: ulaw, 8: alaw}
		m.work.Go(m.receive)
		return m, nil
	}
	return nil, errors.New("cannot open RTP socket: no free pair of ports")
}

// boundTo is the address a socket of ours has got.
func boundTo(conn *net.UDPConn) netip.AddrPort {
	addr, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{} // a UDP socket has no other kind of address
	}
	return addr.AddrPort()
}

// close ends both goroutines and waits for them.
func (m *media) close() {
	close(m.quit)
	_, _ = m.rtp.Close(), m.rtcp.Close() // sockets without unsent data cannot fail in a way that matters
	m.work.Wait()
}

// offer returns our session description for an outgoing call.
func (m *media) offer() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.write(m.local, offer(m.local))
}

// accept handles an offer and returns our answer to it.
func (m *media) accept(body []byte) ([]byte, error) {
	s, lines, err := readStream(body)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agreed = s
	return m.text.write(m.local, answer(m.local, lines, s)), nil
}

// agree handles the answer to our offer.
func (m *media) agree(body []byte) error {
	s, _, err := readStream(body)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agreed = s
	return nil
}

// start begins to send; it is called once, when the call is answered.
func (m *media) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sending && !m.muted {
		m.sending = true
		m.work.Go(m.send)
	}
}

// send keeps the pace of real time: after a delay it catches up, so that the far end gets 50 packets in every second.
func (m *media) send() {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	packet := rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: true, SSRC: random(), SequenceNumber: uint16(random()), Timestamp: random()},
		Payload: make([]byte, frameSamples),
	}
	buf := make([]byte, maxPacket)
	var start time.Time
	var sent int
	for {
		var now time.Time
		select {
		case now = <-ticker.C:
		case <-m.quit:
			return
		}
		if start.IsZero() {
			start = now
		}
		due := int(now.Sub(start)/frameTime) + 1
		if due-sent > maxCatchUp {
			start, sent, due = now, 0, 1
		}
		for ; sent < due; sent++ {
			m.sendFrame(&packet, buf)
		}
	}
}

func (m *media) sendFrame(packet *rtp.Packet, buf []byte) {
	m.mu.Lock()
	remote, c := m.agreed.remote, m.agreed.codec
	packet.PayloadType = m.agreed.payload
	frame := m.nextFrameLocked()
	m.mu.Unlock()

	for i := range packet.Payload {
		var sample int16
		if i < len(frame) {
			sample = frame[i]
		}
		packet.Payload[i] = c.encode(sample)
	}
	if remote.IsValid() {
		if n, err := packet.MarshalTo(buf); err == nil {
			// Sound that cannot be sent is lost, as on the network: the far end counts it.
			_, _ = m.rtp.WriteToUDPAddrPort(buf[:n], remote)
		}
		packet.Marker = false
	}
	packet.SequenceNumber++
	packet.Timestamp += uint32(frameSamples)
}

// nextFrameLocked takes the next 20 ms from what is being played; nil is silence.
func (m *media) nextFrameLocked() PCM {
	if len(m.playing) == 0 {
		return nil
	}
	p := m.playing[0]
	n := min(frameSamples, len(p.rest))
	frame := p.rest[:n]
	p.rest = p.rest[n:]
	if len(p.rest) == 0 {
		m.playing = slices.Delete(m.playing, 0, 1)
		close(p.done)
	}
	return frame
}

// play sends sound after what is already being played and returns when the last
// of it has been sent.
func (m *media) play(ctx context.Context, pcm PCM) error {
	if len(pcm) == 0 {
		return nil
	}
	p := &playback{rest: slices.Clone(pcm), done: make(chan struct{})}
	m.mu.Lock()
	if !m.sending {
		m.mu.Unlock()
		return ErrNotAnswered
	}
	m.playing = append(m.playing, p)
	m.mu.Unlock()

	var err error
	select {
	case <-p.done:
		return nil
	case <-m.quit:
		err = ErrEnded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.playing = slices.DeleteFunc(m.playing, func(other *playback) bool { return other == p })
	return err
}

// receive decodes what comes in until the socket is closed.
func (m *media) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := m.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		var packet rtp.Packet
		if err := packet.Unmarshal(buf[:n]); err != nil || packet.Version != 2 {
			continue
		}
		m.hear(&packet)
	}
}

func (m *media) hear(packet *rtp.Packet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.agreed.codecs[packet.PayloadType]
	if !ok || len(packet.Payload) == 0 || !m.stats.count(packet.SSRC, packet.SequenceNumber) {
		return
	}
	for _, b := range packet.Payload {
		m.heard = append(m.heard, c.decode(b))
	}
	// Twice the limit, so that the copy happens rarely.
	if extra := len(m.heard) - maxHeard; extra >= maxHeard {
		m.dropped += extra
		m.heard = slices.Delete(m.heard, 0, extra)
	}
	close(m.news)
	m.news = make(chan struct{})
}

// reception returns a copy of everything received so far.
func (m *media) reception() Reception {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Reception{
		PCM:     slices.Clone(m.heard[max(0, len(m.heard)-maxHeard):]),
		Packets: m.stats.packets,
		Lost:    m.stats.lost,
	}
}

// record waits for the next n samples.
func (m *media) record(ctx context.Context, n int) (PCM, error) {
	if n > maxRecord {
		return nil, fmt.Errorf("cannot record more than %d minutes at once", maxRecord/60/SampleRate)
	}
	m.mu.Lock()
	from := m.dropped + len(m.heard)
	for {
		if m.dropped+len(m.heard) >= from+n {
			pcm := slices.Clone(m.heard[from-m.dropped:][:n])
			m.mu.Unlock()
			return pcm, nil
		}
		news := m.news
		m.mu.Unlock()
		select {
		case <-news:
		case <-m.quit:
			return nil, ErrEnded
		case <-ctx.Done():
			return nil, fmt.Errorf("not enough sound was received: %w", context.Cause(ctx))
		}
		m.mu.Lock()
	}
}

// arrivals counts packets and finds the gaps in their numbers.
type arrivals struct {
	packets int
	lost    int
	ssrc    uint32
	next    uint16 // the sequence number to come
}

// maxGap is the largest jump of sequence numbers that counts as loss; a larger
// one is a source that started anew (RFC 3550, A.1).
const maxGap = 3000

// count records a packet and reports whether it is new.
func (a *arrivals) count(ssrc uint32, seq uint16) bool {
	gap := int(int16(seq - a.next))
	switch {
	case a.packets == 0, ssrc != a.ssrc, gap > maxGap, gap < -maxGap:
		a.ssrc = ssrc
	case gap >= 0:
		a.lost += gap
	case a.lost > 0: // late, but not lost after all
		a.lost--
		a.packets++
		return true
	default:
		return false
	}
	a.next = seq + 1
	a.packets++
	return true
}

// random returns an unpredictable number, as required for the first ones of RTP (RFC 3550, 5.1).
func random() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return binary.BigEndian.Uint32(b[:])
}
