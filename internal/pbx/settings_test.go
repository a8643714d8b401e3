package pbx_test

import (
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestHowPhonesReachAsteriskFollowsItsTransports(t *testing.T) {
	t.Parallel()
	udp, tls := pbx.Transport{Name: "u", Protocol: "udp", Address: "0.0.0.0:5070"}, pbx.Transport{Name: "t", Protocol: "tls", Address: "[::]:5443"}
	for _, c := range []struct {
		own        pbx.PhoneNetwork
		transports []pbx.Transport
		transport  string
		port       int
		from       string // of the port
	}{
		{pbx.PhoneNetwork{}, nil, "udp", 5060, pbx.FromDefault},
		{pbx.PhoneNetwork{Transport: "tls"}, nil, "tls", 5061, pbx.FromDefault},
		{pbx.PhoneNetwork{}, []pbx.Transport{tls, udp}, "udp", 5070, pbx.FromAsterisk},
		{pbx.PhoneNetwork{}, []pbx.Transport{tls}, "tls", 5443, pbx.FromAsterisk},
		{pbx.PhoneNetwork{Transport: "tcp", ServerPort: 5080}, []pbx.Transport{udp}, "tcp", 5080, pbx.FromOrganisation},
	} {
		got, from := c.own.Within(c.transports)
		if got.Transport != c.transport || got.ServerPort != c.port || from["server_port"] != c.from || got.Codecs != pbx.DefaultCodecs || got.SRTP != pbx.SRTPOff {
			t.Errorf("%v with %v: %v from %v", c.own, c.transports, got, from)
		}
	}
}

func TestAnAssignerReturnsEachFreeNumberOnceInItsOrder(t *testing.T) {
	t.Parallel()
	taken := func(n pbx.Number) bool { return n%3 == 0 }
	free := []pbx.Number{10, 11, 13, 14, 16, 17, 19}
	for _, order := range []pbx.PoolOrder{pbx.LowestFirst, pbx.NextFirst, pbx.RandomFirst} {
		for last := pbx.Number(9); last <= 20; last++ {
			a := pbx.NewAssigner(pbx.Pool{First: 10, Last: 19, Order: order}, last, taken)
			var got []pbx.Number
			for n, ok := a.Next(); ok; n, ok = a.Next() {
				got = append(got, n)
			}
			if order == pbx.NextFirst && last == 14 && got[0] != 16 || order == pbx.LowestFirst && !slices.Equal(got, free) {
				t.Errorf("%s after %d: %v", order, last, got)
			}
			if slices.Sort(got); !slices.Equal(got, free) {
				t.Errorf("%s after %d: %v", order, last, got)
			}
			if _, ok := a.Next(); ok {
				t.Errorf("%s: there is another one", order)
			}
		}
	}
}

func TestTheCoolDownIsThatOfThePoolThenTheOrganisationThenTheInstallation(t *testing.T) {
	t.Parallel()
	two, none := 2, 0
	for _, c := range []struct {
		pool, organisation *int
		want               time.Duration
	}{{nil, nil, time.Hour}, {nil, &two, 48 * time.Hour}, {&none, &two, 0}, {&two, &none, 48 * time.Hour}} {
		s := pbx.Settings{Organisation: pbx.Organisation{CoolDownDays: c.organisation}}
		if got := s.CoolDown(pbx.NumberPool{Pool: pbx.Pool{CoolDownDays: c.pool}}, time.Hour); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
