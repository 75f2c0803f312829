package account

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"
)

const ignoredUsers = "m.ignored_user_list"

// IgnoredUsers gives the users whom a user does not want to hear of. The map is shared: nobody changes it.
//
// spec: cs#ignoring-users
func (a *Accounts) IgnoredUsers(ctx context.Context, user id.UserID) (map[id.UserID]struct{}, error) {
	return a.ignored.get(ctx, user, a.readIgnored)
}

func (a *Accounts) readIgnored(ctx context.Context, user id.UserID) (map[id.UserID]struct{}, error) {
	raw, err := a.AccountData(ctx, user, "", ignoredUsers)
	if err != nil {
		return nil, err
	}
	var list struct {
		IgnoredUsers map[id.UserID]json.RawMessage `json:"ignored_users"`
	}
	if json.Unmarshal(raw, &list) != nil || len(list.IgnoredUsers) == 0 {
		return nil, nil // what makes no sense ignores nobody
	}
	out := make(map[id.UserID]struct{}, len(list.IgnoredUsers))
	for u := range list.IgnoredUsers {
		if u != user { // nobody can ignore themselves
			out[u] = struct{}{}
		}
	}
	return out, nil
}
