package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/crypto/cryptohelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// botOrder tells the bot's process what to be.
type botOrder struct {
	Registration, Domain, Homeserver, Listen, Dir string
	// Sync: the bot logs in and syncs; otherwise it has a device without a login and
	// gets all it needs in transactions.
	Sync bool
}

// TestAppserviceBot: application services in processes of their own answer in the
// encrypted room of people on two servers, and in a plain one.
func TestAppserviceBot(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		a, b := w.add("localhost"), w.add("127.0.0.1")
		bots := []*bot{a.addBot("clerk", false), a.addBot("usher", true)}
		for _, s := range w.servers {
			s.launch()
		}
		for _, s := range w.servers {
			s.ready()
		}
		for _, x := range bots {
			x.start()
		}
		c := newConversation(a, b)
		c.messages()
		c.askBots(c.room, bots)
		c.askBots(c.plainRoom(), bots)

		bots[0].kill()
		question := c.bob.sayText(c.room, "!echo are you back?")
		bots[0].start()
		for _, x := range bots {
			c.awaitAnswer(c.room, x, question, "are you back?")
		}
	})
}

// plainRoom is a room of Bob, without encryption.
func (c *conversation) plainRoom() id.RoomID {
	c.t.Helper()
	res, err := c.bob.CreateRoom(c.bob.ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{c.alice.UserID}})
	must(c.t, err)
	c.alice.awaitMember(res.RoomID, c.alice.UserID, event.MembershipInvite)
	_, err = c.alice.JoinRoomByID(c.alice.ctx, res.RoomID)
	must(c.t, err)
	c.bob.awaitMember(res.RoomID, c.alice.UserID, event.MembershipJoin)
	return res.RoomID
}

// askBots invites the bots into the room, and both people ask them.
func (c *conversation) askBots(room id.RoomID, bots []*bot) {
	c.t.Helper()
	for _, x := range bots {
		host := c.alice
		if room != c.room {
			host = c.bob
		}
		_, err := host.InviteUser(host.ctx, room, &mautrix.ReqInviteUser{UserID: x.user})
		must(c.t, err)
		for _, p := range []*person{c.alice, c.bob} {
			p.awaitMember(room, x.user, event.MembershipJoin)
		}
	}
	for i, p := range []*person{c.alice, c.bob} {
		text := fmt.Sprintf("question %d", i)
		question := p.sayText(room, "!echo "+text)
		for _, x := range bots {
			c.awaitAnswer(room, x, question, text)
		}
	}
}

// awaitAnswer waits until both people can read the bot's answer, and demands that there is one only.
func (c *conversation) awaitAnswer(room id.RoomID, x *bot, question id.EventID, text string) {
	c.t.Helper()
	for _, p := range []*person{c.alice, c.bob} {
		got := p.await(fmt.Sprintf("the answer of %s to %q", x.user, text), func(evt *event.Event) bool {
			m, ok := evt.Content.Parsed.(*event.MessageEventContent)
			return ok && evt.RoomID == room && evt.Sender == x.user && evt.Type == event.EventMessage && m.RelatesTo.GetReplyTo() == question
		})
		if got.Content.AsMessage().Body != text {
			c.t.Errorf("the bot answers %q", got.Content.AsMessage().Body)
		}
		if secret := got.Mautrix.EventSource&event.SourceDecrypted != 0; secret != (room == c.room) {
			c.t.Errorf("the answer in %s is encrypted: %v", room, secret)
		}
	}
}

// bot is the process of an application service.
type bot struct {
	s     *server
	user  id.UserID
	order botOrder
	cmd   *exec.Cmd
}

// addBot registers an application service with a server that does not run yet.
func (s *server) addBot(name string, sync bool) *bot {
	t := s.w.t
	t.Helper()
	reg := appservice.CreateRegistration()
	reg.ID, reg.SenderLocalpart = name, name
	listen := freeAddr(t)
	reg.URL = "http://" + listen
	limited := false
	reg.RateLimited = &limited
	reg.EphemeralEvents, reg.SoruEphemeralEvents, reg.MSC3202, reg.MSC4190 = !sync, !sync, !sync, !sync
	reg.Namespaces.UserIDs = appservice.NamespaceList{{Regex: "@" + name + ":.*", Exclusive: true}}
	file := filepath.Join(s.services, name+".yaml")
	must(t, reg.Save(file))
	dir := filepath.Join(s.w.dir, "bot-"+name)
	must(t, os.MkdirAll(dir, 0o700))
	return &bot{s: s, user: id.NewUserID(name, s.name), order: botOrder{
		Registration: file, Domain: s.name, Homeserver: s.base, Listen: listen, Dir: dir, Sync: sync,
	}}
}

func (x *bot) start() {
	t := x.s.w.t
	t.Helper()
	order, err := json.Marshal(x.order)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	log, err := os.OpenFile(filepath.Join(x.order.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	x.cmd = exec.Command(self)
	x.cmd.Env = append(os.Environ(), botEnv+"="+string(order))
	x.cmd.Stdout, x.cmd.Stderr = log, log
	x.cmd.SysProcAttr = dieWithParent()
	must(t, x.cmd.Start())
	cmd := x.cmd
	t.Cleanup(func() {
		x.kill()
		text, _ := os.ReadFile(log.Name())
		if strings.Contains(string(text), "duplicate olm message") {
			t.Errorf("%s got a to-device message twice", x.user)
		}
		if t.Failed() {
			t.Logf("--- log of %s (%v)\n%s", x.user, cmd.ProcessState, text[max(0, len(text)-8000):])
		}
	})
}

func (x *bot) kill() {
	if x.cmd.ProcessState == nil {
		_ = x.cmd.Process.Kill()
		_ = x.cmd.Wait()
	}
}

// botMain is the bot's process: it joins where it is invited and says again what
// follows "!echo ".
func botMain() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := zerolog.New(os.Stderr).With().Timestamp().Logger().Level(zerolog.DebugLevel)
	ctx = log.WithContext(ctx)
	var order botOrder
	err := json.Unmarshal([]byte(os.Getenv(botEnv)), &order)
	if err == nil {
		err = runBot(ctx, order, log)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal().Err(err).Msg("The bot ends")
	}
}

func runBot(ctx context.Context, order botOrder, log zerolog.Logger) error {
	reg, err := appservice.LoadRegistration(order.Registration)
	if err != nil {
		return err
	}
	host, portText, err := net.SplitHostPort(order.Listen)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return err
	}
	as, err := appservice.CreateFull(appservice.CreateOpts{
		Registration: reg, HomeserverDomain: order.Domain, HomeserverURL: order.Homeserver,
		HostConfig: appservice.HostConfig{Hostname: host, Port: uint16(port)},
	})
	if err != nil {
		return err
	}
	as.Log = log
	as.Ready = true
	if err := as.BotIntent().EnsureRegistered(ctx); err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	if order.Sync {
		go as.Start() // its transactions are taken and not used
		return botBySync(ctx, as, order)
	}
	return botByTransactions(ctx, as, order)
}

// botByTransactions gets room events, to-device messages, key counts and changed
// devices in transactions; its device is made without a login.
func botByTransactions(ctx context.Context, as *appservice.AppService, order botOrder) error {
	cli := as.BotClient()
	cli.SetAppServiceDeviceID = true
	events := appservice.NewEventProcessor(as)
	events.ExecMode = appservice.Sync
	helper, err := botCrypto(cli, order)
	if err != nil {
		return err
	}
	helper.MSC4190 = true
	helper.LoginAs = &mautrix.ReqLogin{InitialDeviceDisplayName: "bot"}
	helper.ASEventProcessor = events
	if err := helper.Init(ctx); err != nil {
		return fmt.Errorf("encryption: %w", err)
	}
	cli.Crypto = helper
	e := &echo{cli: cli}
	events.On(event.StateMember, e.member)
	events.On(event.EventMessage, e.message)
	events.Start(ctx)
	go as.Start()
	for {
		conn, err := net.Dial("tcp", order.Listen)
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !as.BotIntent().EnsureAppserviceConnection(ctx) {
		return errors.New("the homeserver does not reach the bot")
	}
	<-ctx.Done()
	return ctx.Err()
}

// botBySync logs in as an application service and syncs like a person.
func botBySync(ctx context.Context, as *appservice.AppService, order botOrder) error {
	cli, err := mautrix.NewClient(order.Homeserver, as.BotMXID(), as.Registration.AppToken)
	if err != nil {
		return err
	}
	cli.Log = as.Log
	syncer := impatient{mautrix.NewDefaultSyncer()}
	cli.Syncer = syncer
	cli.StateStore = as.StateStore
	helper, err := botCrypto(cli, order)
	if err != nil {
		return err
	}
	helper.LoginAs = &mautrix.ReqLogin{
		Type:       mautrix.AuthTypeAppservice,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: string(as.BotMXID())},
	}
	if err := helper.Init(ctx); err != nil {
		return fmt.Errorf("encryption: %w", err)
	}
	cli.Crypto = helper
	e := &echo{cli: cli}
	syncer.OnEvent(cli.StateStoreSyncHandler)
	syncer.OnEventType(event.StateMember, e.member)
	syncer.OnEventType(event.EventMessage, e.message)
	return cli.SyncWithContext(ctx)
}

func botCrypto(cli *mautrix.Client, order botOrder) (*cryptohelper.CryptoHelper, error) {
	raw, err := sql.Open("sqlite", "file:"+filepath.Join(order.Dir, "bot.db")+"?_txlock=immediate&_time_format=sqlite&_pragma=foreign_keys(1)&_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	db, err := dbutil.NewWithDB(raw, "sqlite3")
	if err != nil {
		return nil, err
	}
	return cryptohelper.NewCryptoHelper(cli, []byte("pickle"), db)
}

// echo is what the bot does.
type echo struct{ cli *mautrix.Client }

func (e *echo) member(ctx context.Context, evt *event.Event) {
	if evt.GetStateKey() != string(e.cli.UserID) || evt.Content.AsMember().Membership != event.MembershipInvite {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := e.cli.JoinRoomByID(ctx, evt.RoomID); err != nil {
		e.cli.Log.Err(err).Msg("Joining")
		return
	}
	if _, err := e.cli.State(ctx, evt.RoomID); err != nil {
		e.cli.Log.Err(err).Msg("Reading the state")
	}
}

func (e *echo) message(ctx context.Context, evt *event.Event) {
	text, ok := strings.CutPrefix(evt.Content.AsMessage().Body, "!echo ")
	if !ok || evt.Sender == e.cli.UserID {
		return
	}
	encrypted, err := e.cli.StateStore.IsEncrypted(ctx, evt.RoomID)
	if err == nil && !encrypted {
		_, err = e.cli.State(ctx, evt.RoomID) // after a restart nothing is known
	}
	if err == nil {
		_, err = e.cli.SendMessageEvent(ctx, evt.RoomID, event.EventMessage, &event.MessageEventContent{
			MsgType: event.MsgNotice, Body: text, RelatesTo: (&event.RelatesTo{}).SetReplyTo(evt.ID),
		})
	}
	if err != nil {
		e.cli.Log.Err(err).Msg("Answering")
	}
}
