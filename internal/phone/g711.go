package phone

import "math/bits"

// codec is one of the two G.711 encodings: one byte per sample of 16 bits.
type codec uint8

const (
	ulaw codec = iota // PCMU, static payload type 0
	alaw              // PCMA, static payload type 8
)

func (c codec) encode(s int16) byte {
	if c == alaw {
		return encodeALaw(s)
	}
	return encodeULaw(s)
}

func (c codec) decode(b byte) int16 {
	if c == alaw {
		return decodeALaw(b)
	}
	return decodeULaw(b)
}

// G.711 is logarithmic: a sign, a segment of three bits and a place of four
// bits in the segment. µ-law shifts its segments by a bias so that the first
// one begins at zero, and inverts all bits; A-law inverts every second one.
const (
	ulawBias = 0x84
	ulawClip = 0x7fff - ulawBias
	alawFlip = 0x55
)

func encodeULaw(s int16) byte {
	v, sign := int32(s), byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, ulawClip) + ulawBias
	segment := bits.Len32(uint32(v)>>7) - 1
	return ^(sign | byte(segment)<<4 | byte(v>>(segment+3))&0xf)
}

func decodeULaw(b byte) int16 {
	b = ^b
	v := (int32(b&0xf)<<3+ulawBias)<<(b>>4&7) - ulawBias
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v)
}

func encodeALaw(s int16) byte {
	v, sign := int32(s), byte(0x80)
	if v < 0 {
		v, sign = ^v, 0
	}
	// The first two segments have the same step.
	segment := max(bits.Len32(uint32(v)>>7)-1, 0)
	place := v >> (max(segment, 1) + 3)
	return (sign | byte(segment)<<4 | byte(place)&0xf) ^ alawFlip
}

func decodeALaw(b byte) int16 {
	b ^= alawFlip
	segment := b >> 4 & 7
	v := int32(b&0xf)<<4 + 8
	if segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}
