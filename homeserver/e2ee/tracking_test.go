package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
)

func (w *world) farDevice(user id.UserID, device id.DeviceID, name string) UserDevice {
	return UserDevice{device, newSigner(w.t).deviceKeys(w.t, user, device), name}
}

func (w *world) update(user id.UserID, d UserDevice, streamID int64, prev ...int64) {
	w.t.Helper()
	raw, err := json.Marshal(deviceListUpdate{UserID: user, DeviceID: d.DeviceID, StreamID: streamID, PrevID: prev, Keys: d.Keys, DisplayName: d.DisplayName})
	w.must(err)
	w.must(w.keys.ReceiveDeviceList(w.ctx, "there", raw))
}

func (w *world) devicesOf(user id.UserID, a *Answer) string {
	w.t.Helper()
	var m map[string]struct {
		Unsigned struct {
			Name string `json:"device_display_name"`
		} `json:"unsigned"`
	}
	w.must(json.Unmarshal(a.DeviceKeys[user], &m))
	var out []string
	for device, d := range m {
		out = append(out, device+"="+d.Unsigned.Name)
	}
	return joinSorted(out)
}

func TestRemoteList_IsFetchedOnceAndThenFollowed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		d1, d2 := w.farDevice(dave, "D1", "one"), w.farDevice(dave, "D2", "two")
		w.remote.set(dave, 5, d1)
		since := w.stream.Head()
		for range 3 {
			if got := w.devicesOf(dave, w.query(alice, dave)); got != "D1=one" {
				t.Fatal(got)
			}
		}
		if n := w.remote.count(); n != 1 {
			t.Fatalf("fetched %d times", n)
		}
		if changed, _ := w.changes(alice, since); changed != "" {
			t.Fatalf("asking made news: %q", changed)
		}
		w.update(dave, d2, 7, 5)
		if changed, _ := w.changes(alice, since); changed != "dave" {
			t.Fatalf("changed: %q", changed)
		}
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D1=one D2=two" || w.remote.count() != 1 {
			t.Fatal(got, w.remote.count())
		}
		since = w.stream.Head()
		w.update(dave, d1, 7, 5)
		w.update(dave, d1, 6, 5)
		if changed, _ := w.changes(alice, since); changed != "" {
			t.Fatalf("an old update made news: %q", changed)
		}
		raw := `{"user_id":"@dave:there","device_id":"D1","stream_id":8,"prev_id":[7],"deleted":true}`
		w.must(w.keys.ReceiveDeviceList(w.ctx, "there", json.RawMessage(raw)))
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D2=two" || w.remote.count() != 1 {
			t.Fatal(got, w.remote.count())
		}
	})
}

func TestRemoteList_GapLeadsToFetchingItAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		d1, d2, d3 := w.farDevice(dave, "D1", ""), w.farDevice(dave, "D2", ""), w.farDevice(dave, "D3", "")
		w.remote.set(dave, 5, d1)
		w.query(alice, dave)
		w.remote.set(dave, 9, d2, d3)
		since := w.stream.Head()
		w.update(dave, d3, 9, 8)
		if _, err := w.keys.Resync(w.ctx); err != nil {
			t.Fatal(err)
		}
		if changed, _ := w.changes(alice, since); changed != "dave" {
			t.Fatalf("changed: %q", changed)
		}
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D2= D3=" || w.remote.count() != 2 {
			t.Fatal(got, w.remote.count())
		}
	})
}

func TestRemoteList_FailedFetchIsRetriedAndReported(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		w.remote.err = errors.New("down")
		a := w.query(alice, dave)
		if a.Failures["there"].Status != 503 || a.DeviceKeys[dave] != nil {
			t.Fatalf("%s", a.Encode())
		}
		w.remote.err = nil
		w.remote.set(dave, 1, w.farDevice(dave, "D1", ""))
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D1=" {
			t.Fatal(got)
		}
	})
}

func TestRemoteList_UpdateDuringTheFetchKeepsItStale(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		d1, d2 := w.farDevice(dave, "D1", ""), w.farDevice(dave, "D2", "")
		w.remote.set(dave, 5, d1)
		since := w.stream.Head()
		w.remote.during = func() {
			w.remote.set(dave, 6, d1, d2)
			w.update(dave, d2, 6, 5)
		}
		w.query(alice, dave)
		if changed, _ := w.changes(alice, since); changed != "dave" {
			t.Fatalf("changed: %q", changed)
		}
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D1= D2=" {
			t.Fatal(got)
		}
	})
}

func TestRemoteList_NotKeptForThoseWhoShareNoRoom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		w.remote.set(dave, 5, w.farDevice(dave, "D1", ""))
		w.query(alice, dave)
		w.remote.set(dave, 6, w.farDevice(dave, "D2", ""))
		if got := w.devicesOf(dave, w.query(bob, dave)); got != "D2=" || len(w.remote.queried) != 1 {
			t.Fatal("bob, who shares no room, got", got)
		}
		since := w.stream.Head()
		w.member(room1, dave, "leave")
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D2=" {
			t.Fatal("after leaving:", got)
		}
		w.update(dave, w.farDevice(dave, "D3", ""), 7, 6)
		if changed, left := w.changes(alice, since); changed != "" || left != "dave" {
			t.Fatalf("changed %q, left %q", changed, left)
		}
	})
}

func TestRemoteList_RejoiningMakesItStale(t *testing.T) {
	for name, move := range map[string]id.UserID{"TheRemoteUser": dave, "TheOnlyLocalUser": alice} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.member(room1, alice, "join")
				w.member(room1, dave, "join")
				w.remote.set(dave, 5, w.farDevice(dave, "D1", ""))
				w.query(alice, dave)
				w.member(room1, move, "leave")
				w.remote.set(dave, 6, w.farDevice(dave, "D2", ""))
				w.member(room1, move, "join")
				w.eventually("the list is fetched again", func() bool { return w.devicesOf(dave, w.query(alice, dave)) == "D2=" })
			})
		})
	}
}

func TestRemoteList_StaysWhileAnotherRoomIsShared(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, room := range []id.RoomID{room1, room2} {
			w.member(room, alice, "join")
			w.member(room, dave, "join")
		}
		w.remote.set(dave, 5, w.farDevice(dave, "D1", ""))
		w.query(alice, dave)
		pos := w.member(room1, dave, "leave")
		w.must(w.keys.checkKept(w.ctx, []id.UserID{dave}, pos))
		w.query(alice, dave)
		if n := w.remote.count(); n != 1 {
			t.Fatalf("fetched %d times", n)
		}
	})
}

func TestReceiveDeviceList_UnknownListIsAnnounced(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		since := w.stream.Head()
		w.update(dave, w.farDevice(dave, "D1", ""), 3)
		if changed, _ := w.changes(alice, since); changed != "dave" || w.remote.count() != 0 {
			t.Fatalf("changed: %q", changed)
		}
	})
}

func TestReceiveDeviceList_DeviceWithoutKeysIsNoNews(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		since := w.stream.Head()
		w.update(dave, UserDevice{DeviceID: "D1"}, 3)
		w.remote.set(dave, 3)
		w.query(alice, dave)
		w.update(dave, UserDevice{DeviceID: "D2"}, 4, 3)
		if changed, _ := w.changes(alice, since); changed != "" {
			t.Fatalf("changed: %q", changed)
		}
		w.update(dave, w.farDevice(dave, "D2", ""), 5, 4)
		if changed, _ := w.changes(alice, since); changed != "dave" || w.remote.count() != 1 {
			t.Fatalf("changed: %q, fetched %d times", changed, w.remote.count())
		}
	})
}

func TestReceiveDeviceList_IgnoresWhatCannotBeRight(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, user := range []id.UserID{alice, bob, dave} {
			w.member(room1, user, "join")
		}
		w.remote.set(dave, 5, w.farDevice(dave, "D1", ""))
		w.query(alice, dave)
		since := w.stream.Head()
		for _, c := range [][2]string{
			{"evil", `{"user_id":"@dave:there","device_id":"D1","stream_id":6,"prev_id":[5],"deleted":true}`},
			{"here", `{"user_id":"@bob:here","device_id":"D1","stream_id":6}`},
			{"there", `{"user_id":"@erin:there","device_id":"D1","stream_id":6}`},
			{"there", `{"user_id":"@dave:there","device_id":"","stream_id":6,"prev_id":[5]}`},
			{"there", `{"user_id":"@dave:there","device_id":"D1","stream_id":"6"}`},
			{"there", `[]`}, {"there", ``}, {"", `{}`},
		} {
			w.must(w.keys.ReceiveDeviceList(w.ctx, c[0], json.RawMessage(c[1])))
			w.must(w.keys.ReceiveSigningKeys(w.ctx, c[0], json.RawMessage(c[1])))
		}
		for _, user := range []id.UserID{alice, bob} {
			if changed, _ := w.changes(user, since); changed != "" {
				t.Fatalf("changed: %q", changed)
			}
		}
		if got := w.devicesOf(dave, w.query(alice, dave)); got != "D1=" {
			t.Fatal(got)
		}
	})
}

func TestReceiveSigningKeys_ReplacesKeysOfAFollowedList(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		w.remote.set(dave, 5)
		w.query(alice, dave)
		since := w.stream.Head()
		master := newSigner(t)
		raw, err := json.Marshal(signingKeyUpdate{UserID: dave, MasterKey: master.signingKey(t, dave, "master", nil)})
		w.must(err)
		w.must(w.keys.ReceiveSigningKeys(w.ctx, "there", raw))
		if changed, _ := w.changes(alice, since); changed != "dave" {
			t.Fatalf("changed: %q", changed)
		}
		if got := signingPublic(w.query(alice, dave).Master[dave]); got != master.public || w.remote.count() != 1 {
			t.Fatal(got)
		}
		since = w.stream.Head()
		w.must(w.keys.ReceiveSigningKeys(w.ctx, "there", raw))
		if w.stream.Head() != since {
			t.Fatal("the same keys again were news")
		}
	})
}

func TestRemoteQuery_KeysOfOthersAreDropped(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.remote.set(dave, 5, w.farDevice(dave, "D1", ""), UserDevice{"D2", w.farDevice(dave, "OTHER", "").Keys, ""}, UserDevice{"D3", json.RawMessage(`{"a":1.5}`), ""})
		w.remote.set(alice, 5, w.farDevice(alice, "FORGED", ""))
		a := w.query(bob, dave, alice)
		if got := w.devicesOf(dave, a); got != "D1=" {
			t.Fatal(got)
		}
		if string(a.DeviceKeys[alice]) != "{}" {
			t.Fatalf("%s", a.DeviceKeys[alice])
		}
	})
}

func TestRemoteQuery_ManyUsersOfOneServerInOneRequest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		var users []id.UserID
		for i := range 20 {
			user := id.UserID(fmt.Sprintf("@u%d:there", i))
			users = append(users, user)
			w.member(room1, user, "join")
			w.remote.set(user, 1, w.farDevice(user, "D", ""))
		}
		a := w.query(alice, users...)
		if len(a.DeviceKeys) != 20 || w.remote.count() != 0 || len(w.remote.queried) != 1 {
			t.Fatal(len(a.DeviceKeys), w.remote.count(), len(w.remote.queried))
		}
		for more := true; more; {
			var err error
			more, err = w.keys.Resync(w.ctx)
			w.must(err)
		}
		if a = w.query(alice, users...); len(a.DeviceKeys) != 20 || w.remote.count() != 20 || len(w.remote.queried) != 1 {
			t.Fatal(len(a.DeviceKeys), w.remote.count(), len(w.remote.queried))
		}
	})
}

// TestDeviceListEDUs_KeepTwoServersAlike plays the other server with a second Keys on the same code.
func TestDeviceListEDUs_TellEachChangeAndNameTheOneBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "A", "phone")
		w.upload(alice, "A", Upload{DeviceKeys: newSigner(t).deviceKeys(t, alice, "A")})
		list, err := w.keys.FederationDevices(w.ctx, alice)
		w.must(err)
		if len(list.Devices) != 1 || list.Devices[0].DisplayName != "phone" || list.StreamID == 0 {
			t.Fatal(list)
		}
		known := list.StreamID
		acked := w.stream.Head()
		step := func(want string) {
			t.Helper()
			edus, err := w.keys.DeviceListEDUs(w.ctx, alice, acked)
			w.must(err)
			acked = w.stream.Head()
			var got []string
			for _, edu := range edus {
				if edu.Type != "m.device_list_update" {
					got = append(got, edu.Type)
					continue
				}
				var u deviceListUpdate
				w.must(json.Unmarshal(edu.Content, &u))
				if !u.follows(known) || len(u.PrevID) != 1 || u.PrevID[0] != known {
					t.Errorf("update %d names %v, known is %d", u.StreamID, u.PrevID, known)
				}
				known = u.StreamID
				got = append(got, fmt.Sprintf("%s %v %v", u.DeviceID, u.Deleted, u.DisplayName))
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		step("")
		w.device(alice, "B", "")
		w.upload(alice, "B", Upload{DeviceKeys: newSigner(t).deviceKeys(t, alice, "B")})
		w.device(alice, "B", "tablet")
		step("B false tablet")
		w.device(alice, "A", "old phone")
		w.device(alice, "B", "b")
		w.device(alice, "A", "older phone")
		step("B false b, A false older phone")
		w.must(w.keys.UploadSigningKeys(w.ctx, alice, SigningKeys{Master: newSigner(t).signingKey(t, alice, "master", nil)}, nil))
		w.deleteDevice(alice, "A")
		step("m.signing_key_update, org.matrix.signing_key_update, A true ")

		whole, err := w.keys.DeviceListEDUs(w.ctx, alice, 0)
		w.must(err)
		if len(whole) != 3 || !strings.Contains(string(whole[0].Content), `"device_id":"B"`) {
			t.Fatalf("%s", whole)
		}
		if list, err = w.keys.FederationDevices(w.ctx, alice); err != nil || list.StreamID != known || len(list.Devices) != 1 {
			t.Fatal(list, err)
		}
		w.must(w.keys.Sweep(w.ctx))
		if _, err := w.keys.FederationDevices(w.ctx, dave); errcode(err) != "M_NOT_FOUND" {
			t.Fatal(err)
		}
	})
}

func TestRun_EndsAndDoesItsWork(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, dave, "join")
		w.remote.set(dave, 5, w.farDevice(dave, "D1", ""))
		ctx, cancel := context.WithCancel(w.ctx)
		ended := make(chan error, 1)
		go func() { ended <- w.keys.Run(ctx) }()
		w.must(w.keys.followLater(w.ctx, []id.UserID{dave}))
		w.eventually("the list is fetched", func() bool { return w.remote.count() > 0 })
		cancel()
		w.must(<-ended)
	})
}
