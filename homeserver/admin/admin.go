package admin

import (
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/directory"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// Deps is what New needs.
type Deps struct {
	DB        *database.DB
	Accounts  *account.Accounts
	Rooms     *room.Rooms
	Timeline  *timeline.Timelines
	Directory *directory.Directory
	Notices   config.ServerNotices
	// Version of this program.
	Version string
	Now     func() time.Time
}

// Admin serves operators.
type Admin struct {
	Deps
	db       *database.DB
	accounts *account.Accounts
	rooms    *room.Rooms
	notifier id.UserID // who sends notices; empty: nobody

	jobs *database.Lease
	wake chan struct{} // there may be a new job

	noticesMu sync.Mutex
	noticing  map[id.UserID]*noticeLock
}

// New builds the slice.
func New(d Deps) *Admin {
	if d.Now == nil {
		d.Now = time.Now
	}
	a := &Admin{Deps: d, db: d.DB, accounts: d.Accounts, rooms: d.Rooms, noticing: map[id.UserID]*noticeLock{},
		jobs: d.DB.Lease("admin.jobs"), wake: make(chan struct{}, 1)}
	if d.Notices.Localpart != "" {
		a.notifier = d.Accounts.UserID(d.Notices.Localpart)
	}
	return a
}

func (a *Admin) now() int64 { return a.Now().UnixMilli() }
