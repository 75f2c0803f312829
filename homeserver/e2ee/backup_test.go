package e2ee

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const backupAlgorithm = "m.megolm_backup.v1.curve25519-aes-sha2"

func (w *world) newBackup() string {
	w.t.Helper()
	version, err := w.keys.CreateBackup(w.ctx, alice, backupAlgorithm, json.RawMessage(`{"public_key":"x"}`))
	w.must(err)
	return version
}

func oneKey(room id.RoomID, session string, key BackedUpKey) BackedUpRooms {
	if key.SessionData == nil {
		key.SessionData = json.RawMessage(`{"a":"b"}`)
	}
	return BackedUpRooms{room: {Sessions: map[string]BackedUpKey{session: key}}}
}

func TestBackup_BetterKeyStays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		version := w.newBackup()
		ladder := []BackedUpKey{ // each better than the one before
			{11, 6, false, nil}, {11, 5, false, nil}, {10, 9, false, nil}, {10, 5, false, nil},
			{12, 7, true, nil}, {12, 6, true, nil}, {3, 9, true, nil},
		}
		for i, key := range ladder {
			before, err := w.keys.PutBackupKeys(w.ctx, alice, version, oneKey(room1, "s", key))
			w.must(err)
			if before.Count != 1 || before.Etag != fmt.Sprint(i+1) {
				t.Fatal(i, before)
			}
			for _, worse := range ladder[:i+1] {
				after, err := w.keys.PutBackupKeys(w.ctx, alice, version, oneKey(room1, "s", worse))
				w.must(err)
				if after != before {
					t.Fatalf("%v replaced %v", worse, key)
				}
			}
			got, err := w.keys.BackupKeys(w.ctx, alice, version, room1, "s")
			w.must(err)
			if g := got[room1].Sessions["s"]; g.FirstMessageIndex != key.FirstMessageIndex || g.ForwardedCount != key.ForwardedCount || g.IsVerified != key.IsVerified {
				t.Fatal(i, g)
			}
		}
	})
}

func TestBackup_OnlyTheCurrentVersionIsWritten(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if _, err := w.keys.CurrentBackup(w.ctx, alice); errcode(err) != "M_NOT_FOUND" {
			t.Fatal(err)
		}
		if _, err := w.keys.PutBackupKeys(w.ctx, alice, "1", oneKey(room1, "s", BackedUpKey{})); errcode(err) != "M_NOT_FOUND" {
			t.Fatal(err)
		}
		first := w.newBackup()
		_, err := w.keys.PutBackupKeys(w.ctx, alice, first, oneKey(room1, "s", BackedUpKey{}))
		w.must(err)
		second := w.newBackup()
		_, err = w.keys.PutBackupKeys(w.ctx, alice, first, oneKey(room1, "s", BackedUpKey{}))
		var refused mautrix.RespError
		if !errors.As(err, &refused) || refused.ErrCode != "M_WRONG_ROOM_KEYS_VERSION" || refused.StatusCode != 403 || refused.ExtraData["current_version"] != second {
			t.Fatal(err)
		}
		if got, err := w.keys.BackupKeys(w.ctx, alice, first, "", ""); err != nil || len(got) != 1 {
			t.Fatal("keys of an older version can be read:", got, err)
		}
		w.must(w.keys.DeleteBackup(w.ctx, alice, second))
		w.must(w.keys.DeleteBackup(w.ctx, alice, second))
		if err := w.keys.DeleteBackup(w.ctx, alice, "77"); errcode(err) != "M_NOT_FOUND" {
			t.Fatal(err)
		}
		if b, err := w.keys.CurrentBackup(w.ctx, alice); err != nil || fmt.Sprint(b.Version) != first || b.Count != 1 {
			t.Fatal(b, err)
		}
		if third := w.newBackup(); third == second || third == first {
			t.Fatal("a version was used again:", third)
		}
		for _, version := range []string{second, "0", "-1", "x", "", "99999999999999999999"} {
			if _, err := w.keys.GetBackup(w.ctx, alice, version); errcode(err) != "M_NOT_FOUND" {
				t.Error(version, err)
			}
		}
	})
}

func TestBackup_UpdateChangesAuthDataAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		version := w.newBackup()
		auth := json.RawMessage(`{"public_key":"y"}`)
		w.must(w.keys.UpdateBackup(w.ctx, alice, version, "", backupAlgorithm, auth))
		w.must(w.keys.UpdateBackup(w.ctx, alice, version, version, backupAlgorithm, auth))
		for name, err := range map[string]error{
			"algorithm": w.keys.UpdateBackup(w.ctx, alice, version, "", "other", auth),
			"version":   w.keys.UpdateBackup(w.ctx, alice, version, "9", backupAlgorithm, auth),
		} {
			if errcode(err) != "M_INVALID_PARAM" {
				t.Error(name, err)
			}
		}
		if err := w.keys.UpdateBackup(w.ctx, alice, "9", "", backupAlgorithm, auth); errcode(err) != "M_NOT_FOUND" {
			t.Error(err)
		}
		if err := w.keys.UpdateBackup(w.ctx, bob, version, "", backupAlgorithm, auth); errcode(err) != "M_NOT_FOUND" {
			t.Error(err)
		}
		if b, err := w.keys.GetBackup(w.ctx, alice, version); err != nil || string(b.AuthData) != string(auth) {
			t.Fatal(b, err)
		}
	})
}

func TestBackup_DeletesAtAllLevelsAndCounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		version := w.newBackup()
		rooms := BackedUpRooms{}
		for _, room := range []id.RoomID{room1, room2} {
			rooms[room] = BackedUpRoom{Sessions: map[string]BackedUpKey{}}
			for i := range 3 {
				rooms[room].Sessions[fmt.Sprint(i)] = BackedUpKey{SessionData: json.RawMessage(`{}`)}
			}
		}
		state, err := w.keys.PutBackupKeys(w.ctx, alice, version, rooms)
		w.must(err)
		if state.Count != 6 {
			t.Fatal(state)
		}
		for _, c := range []struct {
			room    id.RoomID
			session string
			left    int64
		}{{room1, "1", 5}, {room1, "1", 5}, {room1, "", 3}, {"", "", 0}} {
			after, err := w.keys.DeleteBackupKeys(w.ctx, alice, version, c.room, c.session)
			w.must(err)
			if after.Count != c.left || (after.Etag == state.Etag) != (after.Count == state.Count) {
				t.Fatal(c, after, state)
			}
			state = after
		}
	})
}

func TestBackup_ParallelWritersLoseNoCount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		version := w.newBackup()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := w.keys.PutBackupKeys(w.ctx, alice, version, oneKey(room1, fmt.Sprint(i/2), BackedUpKey{FirstMessageIndex: int64(i % 2)})); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b, err := w.keys.CurrentBackup(w.ctx, alice)
		w.must(err)
		got, err := w.keys.BackupKeys(w.ctx, alice, version, "", "")
		w.must(err)
		if b.Count != 4 || len(got[room1].Sessions) != 4 {
			t.Fatal(b.Count, len(got[room1].Sessions))
		}
		for session, key := range got[room1].Sessions {
			if key.FirstMessageIndex != 0 {
				t.Error("worse key kept for", session)
			}
		}
	})
}

func TestBackup_RefusesWhatIsMalformed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		version := w.newBackup()
		for name, rooms := range map[string]BackedUpRooms{
			"no room": oneKey("", "s", BackedUpKey{}), "no session": oneKey(room1, "", BackedUpKey{}),
			"negative": oneKey(room1, "s", BackedUpKey{FirstMessageIndex: -1}), "list": oneKey(room1, "s", BackedUpKey{SessionData: json.RawMessage(`[]`)}),
		} {
			if _, err := w.keys.PutBackupKeys(w.ctx, alice, version, rooms); errcode(err) != "M_INVALID_PARAM" && errcode(err) != "M_BAD_JSON" {
				t.Error(name, err)
			}
		}
		for _, auth := range []string{``, `[]`, `null`, `"x"`} {
			if _, err := w.keys.CreateBackup(w.ctx, alice, backupAlgorithm, json.RawMessage(auth)); errcode(err) != "M_BAD_JSON" {
				t.Error(auth, err)
			}
		}
	})
}
