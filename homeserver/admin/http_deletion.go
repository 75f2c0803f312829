package admin

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

type deletionIn struct {
	roomIn
	NewRoomUser id.UserID `json:"new_room_user_id"`
	RoomName    string    `json:"room_name"`
	Message     string    `json:"message"`
	Block       bool      `json:"block"`
	Purge       *bool     `json:"purge"`
	ForcePurge  bool      `json:"force_purge"`
	_           struct{}  `body:"optional"`
}

func (a *Admin) deletion(ctx context.Context, in *deletionIn) (Deletion, error) {
	d := Deletion{in.NewRoomUser, in.RoomName, in.Message, in.Block, in.Purge, in.ForcePurge}
	if !event.ValidRoomID(string(in.RoomID)) {
		return d, errBadRoom
	}
	return d, a.checkDeletion(ctx, &d)
}

// DeleteRoomNow deletes a room before it answers.
func (a *Admin) DeleteRoomNow(ctx context.Context, who web.Requester, in deletionIn) (Deleted, error) {
	d, err := a.deletion(ctx, &in)
	if err != nil {
		return Deleted{}, err
	}
	return a.DeleteRoom(context.WithoutCancel(ctx), who.UserID, in.RoomID, d, nil)
}

type deletionOut struct {
	ID string `json:"delete_id"`
}

// DeleteRoomLater queues the deletion of a room.
func (a *Admin) DeleteRoomLater(ctx context.Context, who web.Requester, in deletionIn) (deletionOut, error) {
	d, err := a.deletion(ctx, &in)
	if err != nil {
		return deletionOut{}, err
	}
	running, err := a.listJobs(ctx, jobDeleteRoom, string(in.RoomID))
	if err != nil {
		return deletionOut{}, err
	}
	for _, j := range running {
		if j.Status != statusComplete && j.Status != statusFailed {
			return deletionOut{}, unknown("Purge already in progress for %s", in.RoomID)
		}
	}
	started, err := a.start(ctx, jobDeleteRoom, string(in.RoomID), who.UserID, d)
	return deletionOut{started}, err
}

type deletionStatus struct {
	ID     string          `json:"delete_id,omitempty"`
	RoomID string          `json:"room_id,omitempty"`
	Status string          `json:"status"`
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"shutdown_room"`
}

func deletionStatusOf(j *job) deletionStatus {
	s := deletionStatus{Status: j.Status, Error: j.Error, Result: j.Result, ID: j.ID, RoomID: j.Subject}
	if len(s.Result) == 0 {
		s.Result = json.RawMessage(`{"kicked_users":[],"failed_to_kick_users":[],"local_aliases":[],"new_room_id":null}`)
	}
	return s
}

type deletionsOut struct {
	Results []deletionStatus `json:"results"`
}

// GetRoomDeletions tells how far the deletions of a room are.
func (a *Admin) GetRoomDeletions(ctx context.Context, _ web.Requester, in roomIn) (out deletionsOut, err error) {
	if !event.ValidRoomID(string(in.RoomID)) {
		return out, errBadRoom
	}
	list, err := a.listJobs(ctx, jobDeleteRoom, string(in.RoomID))
	if err == nil && len(list) == 0 {
		err = mautrix.MNotFound.WithMessage("No delete task for room_id '%s' found", in.RoomID)
	}
	for _, j := range list {
		out.Results = append(out.Results, deletionStatusOf(j))
	}
	return out, err
}

type deletionIDIn struct {
	ID string `path:"deleteId"`
}

// GetDeletion tells how far a deletion is.
func (a *Admin) GetDeletion(ctx context.Context, _ web.Requester, in deletionIDIn) (deletionStatus, error) {
	j, err := a.readJob(ctx, jobDeleteRoom, in.ID)
	if err == nil && j == nil {
		err = mautrix.MNotFound.WithMessage("delete id '%s' not found", in.ID)
	}
	if err != nil {
		return deletionStatus{}, err
	}
	s := deletionStatusOf(j)
	s.ID, s.RoomID = "", ""
	return s, nil
}

type purgeIn struct {
	roomIn
	UpTo id.EventID `json:"purge_up_to_event_id"`
	Time int64      `json:"purge_up_to_ts"`
	_    struct{}   `body:"optional"`
}

type purgeEventIn struct {
	roomIn
	EventID id.EventID `path:"eventId"`
	_       struct{}   `body:"optional"`
}

type purgeOut struct {
	ID string `json:"purge_id"`
}

// PostPurgeHistory queues the removal of old messages of a room.
func (a *Admin) PostPurgeHistory(ctx context.Context, who web.Requester, in purgeIn) (purgeOut, error) {
	return a.purge(ctx, who, in.RoomID, HistoryPurge{in.UpTo, in.Time})
}

// PostPurgeHistoryUpTo is PostPurgeHistory with the event in the path.
func (a *Admin) PostPurgeHistoryUpTo(ctx context.Context, who web.Requester, in purgeEventIn) (purgeOut, error) {
	return a.purge(ctx, who, in.RoomID, HistoryPurge{EventID: in.EventID})
}

func (a *Admin) purge(ctx context.Context, who web.Requester, r id.RoomID, p HistoryPurge) (purgeOut, error) {
	if _, err := a.purgeBefore(ctx, r, p); err != nil {
		return purgeOut{}, err
	}
	started, err := a.start(ctx, jobPurgeHistory, string(r), who.UserID, p)
	return purgeOut{started}, err
}

type purgeIDIn struct {
	ID string `path:"purgeId"`
}

type jobStatusOut struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// GetPurgeHistory tells how far a removal of messages is.
func (a *Admin) GetPurgeHistory(ctx context.Context, _ web.Requester, in purgeIDIn) (jobStatusOut, error) {
	j, err := a.readJob(ctx, jobPurgeHistory, in.ID)
	if err == nil && j == nil {
		err = mautrix.MNotFound.WithMessage("purge id '%s' not found", in.ID)
	}
	if err != nil {
		return jobStatusOut{}, err
	}
	return jobStatusOut{j.Status, j.Error}, nil
}

type redactIn struct {
	userIn
	Rooms    *[]id.RoomID `json:"rooms"`
	Reason   string       `json:"reason"`
	Limit    *int         `json:"limit"`
	UseAdmin bool         `json:"use_admin"`
}

type redactOut struct {
	ID string `json:"redact_id"`
}

// PostRedactUser queues the redaction of a user's messages.
func (a *Admin) PostRedactUser(ctx context.Context, who web.Requester, in redactIn) (redactOut, error) {
	if in.Rooms == nil {
		return redactOut{}, web.MMissingParam.WithMessage("rooms is missing")
	}
	if !event.ValidUserID(string(in.UserID)) {
		return redactOut{}, errBadUser
	}
	d := Redaction{Rooms: *in.Rooms, Reason: in.Reason, UseAdmin: in.UseAdmin}
	if in.Limit != nil {
		if d.Limit = *in.Limit; d.Limit <= 0 {
			return redactOut{}, mautrix.MInvalidParam.WithMessage("limit must be positive")
		}
	}
	started, err := a.start(ctx, jobRedactUser, string(in.UserID), who.UserID, d)
	return redactOut{started}, err
}

type redactIDIn struct {
	ID string `path:"redactId"`
}

type redactStatusOut struct {
	Status string                `json:"status"`
	Failed map[id.EventID]string `json:"failed_redactions"`
	Error  string                `json:"error,omitempty"`
}

// GetRedactStatus tells how far a redaction of messages is.
func (a *Admin) GetRedactStatus(ctx context.Context, _ web.Requester, in redactIDIn) (out redactStatusOut, err error) {
	j, err := a.readJob(ctx, jobRedactUser, in.ID)
	if err == nil && j == nil {
		err = mautrix.MNotFound.WithMessage("redact id '%s' not found", in.ID)
	}
	if err != nil {
		return out, err
	}
	if len(j.Result) > 0 {
		if err := json.Unmarshal(j.Result, &out); err != nil {
			return out, doing("reading a job", err)
		}
	}
	if out.Status, out.Error = j.Status, j.Error; out.Failed == nil {
		out.Failed = map[id.EventID]string{}
	}
	return out, nil
}
