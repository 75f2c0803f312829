package e2ee

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

func TestClaim_GivesOldestUploadFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(1, 2)})
		w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 1)})
		for _, want := range []string{"signed_curve25519:000001", "signed_curve25519:000000"} {
			got, _, err := w.keys.ClaimKeys(w.ctx, Wanted{alice: {"DEV": "signed_curve25519"}}, 0)
			w.must(err)
			if got[alice]["DEV"][want] == nil {
				t.Fatalf("want %s, got %v", want, got)
			}
		}
		got, failures, err := w.keys.ClaimKeys(w.ctx, Wanted{alice: {"DEV": "signed_curve25519"}}, 0)
		if err != nil || len(got) != 0 || len(failures) != 0 {
			t.Fatal(got, failures, err)
		}
	})
}

func TestClaim_NoKeyIsGivenTwiceInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		// A second Keys on the same database stands for another replica: they share no lock.
		other := New(Deps{DB: w.db, Stream: w.stream, Accounts: w.people, Rooms: w.people, Remote: w.remote})
		devices := []id.DeviceID{"A", "B", "C"}
		for _, device := range devices {
			w.device(alice, device, "")
			w.upload(alice, device, Upload{OneTimeKeys: oneTimeKeys(0, 16)})
		}
		type result struct {
			claimed Claimed
			err     error
		}
		results := make([]result, 20)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				keys := w.keys
				if i%2 == 1 {
					keys = other
				}
				claimed, _, err := keys.ClaimKeys(w.ctx, Wanted{alice: {"A": "signed_curve25519", "B": "signed_curve25519", "C": "signed_curve25519"}}, 0)
				results[i] = result{claimed, err}
			})
		}
		wg.Wait()
		given := map[string]bool{}
		for _, r := range results {
			w.must(r.err)
			for device, keys := range r.claimed[alice] {
				for keyID := range keys {
					name := string(device) + " " + keyID
					if given[name] {
						t.Errorf("%s was given twice", name)
					}
					given[name] = true
				}
			}
		}
		if len(given) != 48 {
			t.Fatalf("%d of 48 keys were given", len(given))
		}
	})
}

func TestUpload_TwiceAtTheSameTimeStoresEachKeyOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		var wg sync.WaitGroup
		for range 8 {
			other := New(Deps{DB: w.db, Stream: w.stream, Accounts: w.people, Rooms: w.people})
			wg.Go(func() {
				if counts, err := other.Upload(w.ctx, alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 5)}); err != nil || counts["signed_curve25519"] != 5 {
					t.Error(counts, err)
				}
			})
		}
		wg.Wait()
		given := map[string]bool{}
		for range 6 {
			got, _, err := w.keys.ClaimKeys(w.ctx, Wanted{alice: {"DEV": "signed_curve25519"}}, 0)
			w.must(err)
			for keyID := range got[alice]["DEV"] {
				if given[keyID] {
					t.Errorf("%s was given twice", keyID)
				}
				given[keyID] = true
			}
		}
		if len(given) != 5 {
			t.Fatal(given)
		}
	})
}

func TestClaim_LowersTheCountThatSyncTells(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 40)})
		quiet := false
		for left := 39; left >= 0; left-- {
			since := w.stream.Head()
			_, _, err := w.keys.ClaimKeys(w.ctx, Wanted{alice: {"DEV": "signed_curve25519"}}, 0)
			w.must(err)
			counts, _, err := w.keys.KeyCounts(w.ctx, alice, "DEV")
			w.must(err)
			if counts["signed_curve25519"] != left {
				t.Fatalf("%d left, told %v", left, counts)
			}
			told, err := w.stream.Changes(w.ctx, since, w.stream.Head(), stream.Kinds(stream.KeyCount), []stream.Topic{stream.UserTopic(alice)})
			w.must(err)
			quiet = quiet || len(told) == 0
			if left < enoughKeys && len(told) != 1 {
				t.Fatalf("%d left, and the device was not told", left)
			}
		}
		if !quiet {
			t.Fatal("each claim woke the device")
		}
	})
}

func TestClaim_MalformedWishesGetNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		got, failures, err := w.keys.ClaimKeys(w.ctx, Wanted{"nobody": {"A": "x"}, "@:": {"": ""}, alice: {"A'; --": "\x1f"}}, 0)
		if err != nil || len(got) != 0 || len(failures) != 0 {
			t.Fatal(got, failures, err)
		}
		many := map[id.DeviceID]string{}
		for i := range maxClaim + 1 {
			many[id.DeviceID(fmt.Sprint(i))] = "x"
		}
		if _, _, err := w.keys.ClaimKeys(w.ctx, Wanted{alice: many}, 0); errcode(err) != "M_TOO_LARGE" {
			t.Fatal(err)
		}
	})
}

func TestClaim_RemoteAnswersAreCutToWhatWasAsked(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key := map[string]json.RawMessage{"signed_curve25519:x": json.RawMessage(`{"key":"x"}`)}
		w.remote.claimed = &ClaimedKeys{OneTimeKeys: map[id.UserID]map[id.DeviceID]map[string]json.RawMessage{
			dave: {"D": key, "UNASKED": key}, alice: {"A": key},
		}}
		got, _, err := w.keys.ClaimKeys(w.ctx, Wanted{dave: {"D": "signed_curve25519"}}, 0)
		if err != nil || len(got) != 1 || len(got[dave]) != 1 || got[dave]["D"] == nil {
			t.Fatal(got, err)
		}
		w.remote.err = errors.New("down")
		got, failures, err := w.keys.ClaimKeys(w.ctx, Wanted{dave: {"D": "signed_curve25519"}}, 0)
		if err != nil || len(got) != 0 || failures["there"].Status != 503 {
			t.Fatal(got, failures, err)
		}
	})
}

func TestFederationClaim_GivesKeysOfOwnUsersAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 1)})
		got, err := w.keys.FederationClaim(w.ctx, Wanted{alice: {"DEV": "signed_curve25519"}, dave: {"D": "signed_curve25519"}})
		w.must(err)
		raw, err := json.Marshal(got)
		w.must(err)
		if len(got.OneTimeKeys) != 1 || !strings.HasPrefix(string(raw), `{"one_time_keys":{"@alice:here":{"DEV":{"signed_curve25519:000000":{"key"`) {
			t.Fatalf("%s", raw)
		}
	})
}
