package asterisk_test

import (
	"io"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
)

func TestThePortalUsesTwoConsolesAndAppliesHavePriority(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := 0, 0
	began, next := make(chan string, 100), make(chan struct{})
	s := asterisktest.New(t, func(command string, out io.Writer, done <-chan struct{}) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		began <- command
		select {
		case <-next:
		case <-done:
		}
		mu.Lock()
		now--
		mu.Unlock()
		_, _ = io.WriteString(out, "yes\n")
	})
	c, err := asterisk.NewControl(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { _, _ = c.Patient().Run(t.Context(), "look") })
	}
	<-began
	<-began // both consoles are in use by looks
	waits := make(chan struct{})
	all.Go(func() { close(waits); _, _ = c.Run(t.Context(), "apply") })
	<-waits
	behind := 0
	for range 49 {
		next <- struct{}{}
		command := <-began
		if command == "apply" {
			break
		}
		behind++
	}
	close(next)
	all.Wait()
	if most != 2 {
		t.Errorf("%d consoles were in use at once", most)
	}
	if behind > 2 { // those that were handed on before the apply had come to wait
		t.Errorf("an apply waited while %d looks came before it", behind)
	}
}
