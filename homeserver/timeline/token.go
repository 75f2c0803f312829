package timeline

import (
	"context"
	"math"
	"strconv"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Ends of a room's history.
const (
	oldest = room.Order(math.MinInt64)
	newest = room.Order(math.MaxInt64)
)

// Token writes the place just after the event with this order: everything up to it lies before the token.
func Token(after room.Order) string { return "t" + strconv.FormatInt(int64(after), 10) }

// AppendToken appends Token(after).
func AppendToken(dst []byte, after room.Order) []byte {
	return strconv.AppendInt(append(dst, 't'), int64(after), 10)
}

// AppendTokenAt appends a token that also remembers which moment it was given out at: prev_batch of a sync.
func AppendTokenAt(dst []byte, after room.Order, at stream.Pos) []byte {
	return strconv.AppendInt(append(AppendToken(dst, after), '_'), int64(at), 10)
}

// moment is the position of the log that a token was given out at: that of a sync token, or what AppendTokenAt noted.
func moment(token string) (stream.Pos, bool) {
	if len(token) > 1 && token[0] == 't' {
		_, at, ok := strings.Cut(token, "_")
		n, err := strconv.ParseInt(at, 10, 64)
		return stream.Pos(n), ok && err == nil && n >= 0
	}
	pos, err := stream.ParseToken(token)
	return pos, err == nil
}

// Place reads a pagination token of a room.
func (t *Timelines) Place(ctx context.Context, roomID id.RoomID, token string) (room.Order, error) {
	return t.place(ctx, roomID, token)
}

// place reads a pagination token: one of ours, or a sync token, which stands for what the room's history was then.
func (t *Timelines) place(ctx context.Context, roomID id.RoomID, token string) (room.Order, error) {
	if len(token) > 1 && token[0] == 't' {
		order, _, _ := strings.Cut(token[1:], "_")
		n, err := strconv.ParseInt(order, 10, 64)
		if err != nil {
			return 0, mautrix.MInvalidParam.WithMessage("Malformed pagination token")
		}
		return room.Order(n), nil
	}
	pos, err := stream.ParseToken(token)
	if err != nil {
		return 0, mautrix.MInvalidParam.WithMessage("Malformed pagination token")
	}
	return t.rooms.OrderAt(ctx, roomID, pos)
}
