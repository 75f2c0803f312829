package mail_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/mail/mailtest"
)

type world struct {
	t     *testing.T
	sink  *mailtest.Sink
	m     *mail.Mailer
	db    *database.DB
	ahead atomic.Int64
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := &world{t: t, sink: mailtest.New(t), db: db}
		w.m = mail.New(w.sink.Config, db, w.now)
		fn(t, w)
	})
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.m.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) send(to, subject string) error {
	return w.m.Send(w.t.Context(), mail.Message{To: to, Subject: subject, Text: "Grüße, ça va", HTML: "<p>Grüße</p>", Unsubscribe: "https://hs1/u"})
}

func (w *world) left() (n int) {
	if err := w.db.QueryRow(w.t.Context(), `SELECT COUNT(*) FROM outgoing_mails`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestSend(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.send("a@example.org", "Été à Köln"); err != nil { // queued before anything runs: a crash loses nothing
			t.Fatal(err)
		}
		w.run()
		got := w.sink.Wait(t, 1)
		if got.From != "viaduc@example.org" || len(got.To) != 1 || got.To[0] != "a@example.org" {
			t.Errorf("from %s to %v", got.From, got.To)
		}
		for _, name := range []string{"Message-ID", "Date", "List-Unsubscribe", "Auto-Submitted", "Subject"} {
			if got.Header(name) == "" {
				t.Errorf("no %s", name)
			}
		}
		if !strings.Contains(got.Raw, "text/plain") || !strings.Contains(got.Raw, "text/html") {
			t.Error("a part is missing")
		}
		w.until("nothing is left", func() bool { return w.left() == 0 })
		if err := w.send("b@example.org", "Second"); err != nil {
			t.Fatal(err)
		}
		w.sink.Wait(t, 2)
	})
}

func TestSend_PassingFailuresAreTriedAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.sink.Refuse(451)
		if err := w.send("a@example.org", "x"); err != nil {
			t.Fatal(err)
		}
		w.run()
		w.until("it was tried", func() bool { return w.sink.Tries() == 1 })
		w.ahead.Add(int64(time.Hour))
		w.until("it came", func() bool { w.m.Wake(); return len(w.sink.Mails()) == 1 })
	})
}

func TestSend_RefusalsAreGivenUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.sink.Refuse(550)
		if err := w.send("a@example.org", "x"); err != nil {
			t.Fatal(err)
		}
		w.run()
		w.until("it was given up", func() bool { return w.sink.Tries() == 1 && w.left() == 0 })
	})
}

func TestSend_WhatIsNoMessage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for to, subject := range map[string]string{
			"a@example.org\r\nBcc: b@example.org": "x", "a@example.org": "x\r\nBcc: b@example.org", "nonsense": "x", "": "x", "A <a@example.org>": "x",
		} {
			if err := w.send(to, subject); err == nil {
				t.Errorf("%q %q was taken", to, subject)
			}
		}
		if w.left() != 0 {
			t.Error("something is queued")
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@example.org", "A@EXAMPLE.ORG", "a@b", "a@@b.c", "\"a b\"@c.d", "a@[1.2.3.4]", "é@ü.de", "a\n@b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := mail.Address(s)
		if !ok {
			return
		}
		if again, ok := mail.Address(got); strings.ContainsAny(got, "\r\n\x00<> ,;") || strings.Count(got, "@") != 1 || !ok || again != got {
			t.Fatalf("%q became %q", s, got)
		}
	})
}
