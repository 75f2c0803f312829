package mail

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/rs/zerolog"
	gomail "github.com/wneessen/go-mail"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/database"
)

// Message is one e-mail to one person.
type Message struct {
	To, Subject string
	Text, HTML  string
	// Unsubscribe is an address for List-Unsubscribe (one click); empty: none.
	Unsubscribe string
}

// Mailer sends messages. A nil *Mailer sends none.
type Mailer struct {
	cfg  config.Mail
	db   *database.DB
	now  func() time.Time
	wake chan struct{}
}

// New makes a mailer; nil if no server is configured. now may be nil.
func New(cfg config.Mail, db *database.DB, now func() time.Time) *Mailer {
	if cfg.Host == "" {
		return nil
	}
	if now == nil {
		now = time.Now
	}
	return &Mailer{cfg: cfg, db: db, now: now, wake: make(chan struct{}, 1)}
}

// Enabled reports whether messages can be sent.
func (m *Mailer) Enabled() bool { return m != nil }

const (
	maxText = 256 << 10
	// firstPause is the pause after a failure; it doubles up to longestPause. After giveUp the message is dropped.
	firstPause   = 30 * time.Second
	longestPause = time.Hour
	giveUp       = 24 * time.Hour
	sweepEvery   = 15 * time.Second
	batch        = 20
	timeout      = 30 * time.Second
)

var errNoMail = errors.New("mail: no server is configured")

// Send queues a message. It may be part of a transaction; the message is sent after it.
func (m *Mailer) Send(ctx context.Context, msg Message) error {
	if m == nil {
		return errNoMail
	}
	if _, ok := Address(msg.To); !ok || strings.ContainsAny(msg.Subject+msg.Unsubscribe, "\r\n") || len(msg.Text)+len(msg.HTML) > maxText {
		return errors.New("mail: not a message that can be sent")
	}
	nid, err := m.db.NextID(ctx, "outgoing_mails")
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	now := m.now().UnixMilli()
	if _, err := m.db.Exec(ctx, insertMail, nid, msg.To, msg.Subject, msg.Text, msg.HTML, msg.Unsubscribe, now, now); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	m.Wake()
	return nil
}

// Wake lets Run look at the queue soon.
func (m *Mailer) Wake() {
	if m == nil {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Address checks an e-mail address and gives it without a name and in lower case: addresses that differ only in that are taken
// for the same. spec: appendices#3pid-types
func Address(s string) (string, bool) {
	if len(s) > 254 || strings.ContainsAny(s, "\r\n\x00<> \t,;\"()\\") {
		return "", false
	}
	a, err := netmail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s {
		return "", false
	}
	local, domain, _ := strings.Cut(s, "@")
	if local == "" || len(local) > 64 || !strings.Contains(domain, ".") && domain != "localhost" || strings.ContainsAny(domain, "@[]_") {
		return "", false
	}
	return strings.ToLower(s), true
}

// Run sends what is queued, until ctx ends.
func (m *Mailer) Run(ctx context.Context) error {
	if m == nil {
		return nil
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := m.deliver(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Sending e-mail")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-tick.C:
		}
	}
}

// deliver sends all that is due, if no other replica does.
func (m *Mailer) deliver(ctx context.Context) error {
	lease := m.db.Lease("mail")
	held, ok, err := lease.TryAcquire(ctx)
	if err != nil || !ok {
		return err
	}
	defer lease.Release()
	for held.Err() == nil {
		due, err := m.due(held)
		if err != nil || len(due) == 0 {
			return err
		}
		for i := range due {
			if err := m.try(held, &due[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// try sends one message and notes how it went. An error is one of ours.
func (m *Mailer) try(ctx context.Context, q *queued) error {
	err := m.send(ctx, q)
	switch {
	case err == nil:
		metricSent.WithLabelValues("sent").Inc()
		return m.drop(ctx, q.nid)
	case ctx.Err() != nil:
		return nil // the next holder of the lease goes on
	case refused(err) || m.now().Sub(time.UnixMilli(q.created)) > giveUp:
		metricSent.WithLabelValues("given_up").Inc()
		zerolog.Ctx(ctx).Warn().Int("status", statusOf(err)).Msg("An e-mail was given up")
		return m.drop(ctx, q.nid)
	}
	metricSent.WithLabelValues("postponed").Inc()
	pause := min(firstPause<<min(q.tries, 10), longestPause)
	return m.postpone(ctx, q.nid, m.now().Add(pause))
}

// refused reports whether the server will never take the message.
func refused(err error) bool {
	se, ok := errors.AsType[*gomail.SendError](err)
	return ok && !se.IsTemp() && se.ErrorCode() >= 500
}

func statusOf(err error) int {
	if se, ok := errors.AsType[*gomail.SendError](err); ok {
		return se.ErrorCode()
	}
	return 0
}

func (m *Mailer) send(ctx context.Context, q *queued) error {
	msg := gomail.NewMsg()
	if err := msg.FromFormat(m.cfg.FromName, m.cfg.From); err != nil {
		return fmt.Errorf("mail: sender: %w", err)
	}
	if err := msg.To(q.To); err != nil {
		return fmt.Errorf("mail: recipient: %w", err)
	}
	msg.Subject(q.Subject)
	msg.SetDate()
	_, domain, _ := strings.Cut(m.cfg.From, "@")
	// The same in every try, so that a message that comes twice can be recognised.
	msg.SetMessageIDWithValue(fmt.Sprintf("%d.%d@%s", q.created, q.nid, domain))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if q.Unsubscribe != "" {
		msg.SetGenHeader("List-Unsubscribe", "<"+q.Unsubscribe+">")
		msg.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	}
	msg.SetBodyString(gomail.TypeTextPlain, q.Text)
	if q.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, q.HTML)
	}
	c, err := m.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.DialAndSendWithContext(ctx, msg)
}

func (m *Mailer) client() (*gomail.Client, error) {
	opts := []gomail.Option{gomail.WithPort(m.cfg.Port), gomail.WithTimeout(timeout)}
	switch m.cfg.Security {
	case "tls":
		opts = append(opts, gomail.WithSSL())
	case "none":
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if m.cfg.Username != "" {
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(m.cfg.Username), gomail.WithPassword(m.cfg.Password))
	}
	c, err := gomail.NewClient(m.cfg.Host, opts...)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return c, nil
}
