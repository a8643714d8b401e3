// Package demo is a demonstration with two phones: from an empty portal to a call with sound, and a phone that is refused. It uses the portal only over
// HTTP and Asterisk only over SIP, and checks everything by what it receives. It starts and stops neither of them.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/phone"
)

// Show is one run of the demonstration. All fields are required.
type Show struct {
	URL   string    // of the portal, without a slash at the end
	Token string    // of the portal's API, with permission to manage users and apply
	SIP   string    // host:port of Asterisk for registrations
	Out   io.Writer // where the report goes
	Now   func() time.Time
}

// The two tones, far enough apart to be distinguished from each other and from silence, and how long they are played and recorded.
const (
	annasTone = 440.0
	bensTone  = 880.0
	playing   = 1500 * time.Millisecond
	listening = 1 * time.Second
)

// clearly is the share of the received energy that a tone must have to count as heard.
const clearly = 0.9

// user is the portal's response to POST /users.
type user struct {
	ID        string
	Name      string
	Extension struct {
		Number int
		Secret string
	}
}

// Run runs the demonstration and reports each step as it happens. The error names the step that failed.
func (s *Show) Run(ctx context.Context) error {
	var anna, ben user
	var annasPhone, bensPhone *phone.Phone
	defer func() {
		for _, p := range []*phone.Phone{annasPhone, bensPhone} {
			if p != nil {
				_ = p.Close() // the demonstration has ended
			}
		}
	}()
	steps := []struct {
		title string
		play  func(context.Context) (seen string, err error)
	}{
		{"create Anna", func(ctx context.Context) (string, error) { return s.create(ctx, "Anna Example", &anna) }},
		{"create Ben", func(ctx context.Context) (string, error) { return s.create(ctx, "Ben Example", &ben) }},
		{"apply", s.apply},
		{"register Anna's phone", func(ctx context.Context) (seen string, err error) {
			annasPhone, seen, err = s.register(ctx, anna)
			return seen, err
		}},
		{"register Ben's phone", func(ctx context.Context) (seen string, err error) {
			bensPhone, seen, err = s.register(ctx, ben)
			return seen, err
		}},
		{"call Ben from Anna's phone", func(ctx context.Context) (string, error) { return s.call(ctx, annasPhone, bensPhone, ben) }},
		{"delete Ben", func(ctx context.Context) (string, error) { return s.delete(ctx, ben) }},
		{"apply again", s.apply},
		{"Ben's phone is refused", func(ctx context.Context) (string, error) {
			return refused(bensPhone.Register(ctx, time.Minute), "registration")
		}},
		{"Ben's number is gone", func(ctx context.Context) (string, error) {
			_, err := annasPhone.Call(ctx, fmt.Sprint(ben.Extension.Number))
			return refused(err, "call")
		}},
		{"look at the apply logs", s.logs},
	}
	for i, step := range steps {
		start := s.Now()
		seen, err := step.play(ctx)
		if err != nil {
			fmt.Fprintf(s.Out, "  ✗ %2d  %-27s %v\n", i+1, step.title, err)
			return fmt.Errorf("the step %q failed: %w", step.title, err)
		}
		fmt.Fprintf(s.Out, "  ✓ %2d  %-27s %s  (%d ms)\n", i+1, step.title, seen, s.Now().Sub(start).Milliseconds())
	}
	return nil
}

func (s *Show) create(ctx context.Context, name string, u *user) (string, error) {
	first, _, _ := strings.Cut(strings.ToLower(name), " ")
	if err := s.ask(ctx, http.MethodPost, "/users", map[string]string{"name": name, "email": first + "@example.com"}, u); err != nil {
		return "", err
	}
	return fmt.Sprintf("extension %d, a secret of %d characters", u.Extension.Number, len(u.Extension.Secret)), nil
}

func (s *Show) apply(ctx context.Context) (string, error) {
	var report struct {
		Users        int    `json:"users_applied"`
		Verification string `json:"verification"`
	}
	if err := s.ask(ctx, http.MethodPost, "/apply", map[string]string{"triggered_by": "demo"}, &report); err != nil {
		return "", err
	}
	if report.Verification != "confirmed" {
		return "", fmt.Errorf("it could not be verified that the live Asterisk runs %s: verification %s", users(report.Users), report.Verification)
	}
	return fmt.Sprintf("%s, confirmed by the live Asterisk", users(report.Users)), nil
}

// users returns a number of users as text.
func users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

func (s *Show) delete(ctx context.Context, u user) (string, error) {
	var answer struct {
		Freed int `json:"freed_extension"`
	}
	if err := s.ask(ctx, http.MethodDelete, "/users/"+u.ID, nil, &answer); err != nil {
		return "", err
	}
	return fmt.Sprintf("extension %d is free", answer.Freed), nil
}

func (s *Show) logs(ctx context.Context) (string, error) {
	var answer struct {
		Logs []struct{ Outcome string }
	}
	if err := s.ask(ctx, http.MethodGet, "/apply/logs", nil, &answer); err != nil {
		return "", err
	}
	for _, l := range answer.Logs {
		if l.Outcome != "success" {
			return "", fmt.Errorf("an apply is on record as %s", l.Outcome)
		}
	}
	return fmt.Sprintf("%d applies on record, all of them successes", len(answer.Logs)), nil
}

func (s *Show) register(ctx context.Context, u user) (*phone.Phone, string, error) {
	p, err := phone.New(phone.Config{Server: s.SIP, Number: fmt.Sprint(u.Extension.Number), Secret: u.Extension.Secret, Name: u.Name})
	if err != nil {
		return nil, "", err
	}
	if err := p.Register(ctx, 5*time.Minute); err != nil {
		return p, "", err
	}
	return p, fmt.Sprintf("%d is reachable at %s", u.Extension.Number, p.Addr()), nil
}

// call lets one phone call the other, plays a tone each way, and checks what each end received.
func (s *Show) call(ctx context.Context, from, to *phone.Phone, callee user) (string, error) {
	out, err := from.Dial(ctx, fmt.Sprint(callee.Extension.Number))
	if err != nil {
		return "", err
	}
	in, err := to.Incoming(ctx)
	if err != nil {
		return "", err
	}
	caller := in.From()
	if err := errors.Join(in.Accept(ctx), out.Answered(ctx)); err != nil {
		return "", err
	}
	var atBen, atAnna float64
	err = errors.Join(
		both(func() error { return out.Play(ctx, phone.Tone{Hz: annasTone, Duration: playing}.PCM()) },
			func() error { return in.Play(ctx, phone.Tone{Hz: bensTone, Duration: playing}.PCM()) },
			func() (err error) { atBen, err = heard(ctx, in, annasTone); return err },
			func() (err error) { atAnna, err = heard(ctx, out, bensTone); return err }),
		out.Hangup(ctx),
	)
	if err != nil {
		return "", err
	}
	select {
	case <-in.Done():
	case <-ctx.Done():
		return "", errors.New("Anna hung up, but Ben's phone was not notified")
	}
	return fmt.Sprintf("shown as %s; Ben heard %.0f Hz (%.0f %% of the sound), Anna heard %.0f Hz (%.0f %%); hung up",
		caller, annasTone, 100*atBen, bensTone, 100*atAnna), nil
}

// heard listens to a call and returns the share of the tone in what was received; an error if it is not clearly there.
func heard(ctx context.Context, c *phone.Call, hz float64) (float64, error) {
	sound, err := c.Record(ctx, listening)
	if err != nil {
		return 0, err
	}
	share := phone.Strength(sound, hz)
	if share < clearly {
		return share, fmt.Errorf("%.0f Hz was played, but is only %.0f %% of what was heard", hz, 100*share)
	}
	return share, nil
}

// both runs several functions concurrently and waits for all.
func both(things ...func() error) error {
	errs := make([]error, len(things))
	var all sync.WaitGroup
	for i, do := range things {
		all.Go(func() { errs[i] = do() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// refused expects the error of a refusal by the server.
func refused(err error, what string) (string, error) {
	status, ok := errors.AsType[*phone.StatusError](err)
	switch {
	case err == nil:
		return "", fmt.Errorf("the %s was accepted", what)
	case !ok:
		return "", err
	}
	return fmt.Sprintf("the %s was answered with %d %s", what, status.Code, status.Reason), nil
}

// ask calls the portal and reads its response into out.
func (s *Show) ask(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("cannot encode the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, &body)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the portal: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("cannot read the portal's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s was answered with %s: %s", method, path, resp.Status, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("cannot understand the portal's answer: %w", err)
	}
	return nil
}
