// Package mailtest is an SMTP server for tests that keeps what it gets.
package mailtest

import (
	"io"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/viaduc/viaduc/config"
)

// Mail is a message that came.
type Mail struct {
	From string
	To   []string
	Raw  string
}

// Header reads a header of the message.
func (m Mail) Header(name string) string {
	msg, err := netmail.ReadMessage(strings.NewReader(m.Raw))
	if err != nil {
		return ""
	}
	return msg.Header.Get(name)
}

// Sink is the server.
type Sink struct {
	Config config.Mail // how to reach it

	mu    sync.Mutex
	mails []Mail
	next  []error // answers to the next messages
	tries int
}

// New starts a sink that ends with the test.
func New(t testing.TB) *Sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{Config: config.Mail{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: "none", From: "viaduc@example.org", FromName: "Viaduc"}}
	srv := smtp.NewServer(s)
	srv.Domain, srv.ReadTimeout, srv.WriteTimeout = "sink.example.org", time.Minute, time.Minute
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

// Refuse makes the next message fail with an SMTP code.
func (s *Sink) Refuse(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: "not now"})
}

// Mails lists what came.
func (s *Sink) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.mails...)
}

// Tries counts the messages offered.
func (s *Sink) Tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

// Wait gives the n-th message, counted from 1.
func (s *Sink) Wait(t testing.TB, n int) Mail {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if all := s.Mails(); len(all) >= n {
			return all[n-1]
		}
		if time.Now().After(end) {
			t.Fatalf("%d mails came, not %d", len(s.Mails()), n)
		}
	}
}

// NewSession implements smtp.Backend.
func (s *Sink) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{s: s}, nil }

type session struct {
	s *Sink
	m Mail
}

func (x *session) Mail(from string, _ *smtp.MailOptions) error { x.m.From = from; return nil }
func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error   { x.m.To = append(x.m.To, to); return nil }
func (x *session) Reset()                                      { x.m = Mail{} }
func (x *session) Logout() error                               { return nil }

func (x *session) Data(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return err
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.tries++
	if len(x.s.next) > 0 {
		err, x.s.next = x.s.next[0], x.s.next[1:]
		return err
	}
	x.m.Raw = string(b)
	x.s.mails = append(x.s.mails, x.m)
	return nil
}
