package push

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

func code(err error) string {
	if err == nil {
		return ""
	}
	e, ok := web.AsRespError(err)
	if !ok {
		return err.Error()
	}
	return e.ErrCode
}

func (w *world) order(user id.UserID, kind Kind) string {
	w.tb.Helper()
	raw, err := w.push.Rules(w.ctx, user)
	w.must(err)
	var ids []string
	for _, r := range gjson.GetBytes(raw, "global."+string(kind)).Array() {
		if !r.Get("default").Bool() {
			ids = append(ids, r.Get("rule_id").Str)
		}
	}
	return strings.Join(ids, " ")
}

func TestRules_PlaceOfNewRules(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		for _, c := range []struct{ id, before, after, want string }{
			{"a", "", "", "a"},
			{"b", "", "", "b a"},
			{"c", "a", "", "b c a"},
			{"d", "", "b", "b d c a"},
			{"e", "c", "b", "b d e c a"},
			{"c", "", "", "b d e c a"},
			{"a", "b", "", "a b d e c"},
			{"b", "", "c", "a d e c b"},
			{"b", "b", "", "a d e c b"},
		} {
			w.must(w.push.SetRule(w.ctx, u, NewRule{Kind: Underride, RuleID: c.id, Before: c.before, After: c.after, Actions: json.RawMessage(notify)}))
			if got := w.order(u, Underride); got != c.want {
				w.tb.Errorf("after %+v: %s", c, got)
			}
		}
		w.must(w.push.DeleteRule(w.ctx, u, Underride, "e"))
		if got := w.order(u, Underride); got != "a d c b" {
			w.tb.Errorf("after the deletion: %s", got)
		}
	})
}

func TestRules_MasterIsFirstAndOthersLast(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		w.must(w.push.SetRule(w.ctx, u, NewRule{Kind: Override, RuleID: "mine", Actions: json.RawMessage(`["dont_notify"]`)}))
		raw, err := w.push.Rules(w.ctx, u)
		w.must(err)
		list := gjson.GetBytes(raw, "global.override.#.rule_id").Array()
		if len(list) < 3 || list[0].Str != masterRule || list[1].Str != "mine" || list[2].Str != ".m.rule.suppress_notices" {
			w.tb.Errorf("order: %v", list)
		}
		mine := gjson.GetBytes(raw, "global.override.1")
		if mine.Get("actions").Raw != `["dont_notify"]` || !mine.Get("enabled").Bool() || mine.Get("default").Bool() || mine.Get("conditions").Raw != `[]` {
			w.tb.Errorf("rule: %s", mine.Raw)
		}
		for _, k := range []string{"override", "content", "room", "sender", "underride"} {
			if !gjson.GetBytes(raw, "global."+k).IsArray() {
				w.tb.Errorf("no %s", k)
			}
		}
		if got := gjson.GetBytes(raw, `global.override.#(rule_id==".m.rule.is_user_mention").conditions.0.value`).Str; got != string(u) {
			w.tb.Errorf("mention of %q", got)
		}
		if got := gjson.GetBytes(raw, `global.content.#(rule_id==".m.rule.contains_user_name").pattern`).Str; got != "bob" {
			w.tb.Errorf("name %q", got)
		}
	})
}

func TestRules_Errors(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		pattern := "x"
		set := func(n NewRule) func() error {
			if n.Actions == nil {
				n.Actions = json.RawMessage(notify)
			}
			return func() error { return w.push.SetRule(w.ctx, u, n) }
		}
		w.must(set(NewRule{Kind: Room, RuleID: "!a:b"})())
		for what, c := range map[string]struct {
			do   func() error
			want string
		}{
			"reserved":        {set(NewRule{Kind: Room, RuleID: ".m.rule.x"}), "M_INVALID_PARAM"},
			"slash":           {set(NewRule{Kind: Room, RuleID: "a/b"}), "M_INVALID_PARAM"},
			"backslash":       {set(NewRule{Kind: Room, RuleID: `a\b`}), "M_INVALID_PARAM"},
			"kind":            {set(NewRule{Kind: "other", RuleID: "x"}), "M_INVALID_PARAM"},
			"no pattern":      {set(NewRule{Kind: Content, RuleID: "x"}), "M_MISSING_PARAM"},
			"before unknown":  {set(NewRule{Kind: Content, RuleID: "x", Pattern: &pattern, Before: "y"}), "M_UNKNOWN"},
			"after default":   {set(NewRule{Kind: Override, RuleID: "x", After: ".m.rule.master"}), "M_UNKNOWN"},
			"before itself":   {set(NewRule{Kind: Override, RuleID: "x", Before: "x"}), "M_UNKNOWN"},
			"conditions":      {set(NewRule{Kind: Override, RuleID: "x", Conditions: json.RawMessage(`{}`)}), "M_INVALID_PARAM"},
			"no kind":         {set(NewRule{Kind: Override, RuleID: "x", Conditions: json.RawMessage(`[{}]`)}), "M_INVALID_PARAM"},
			"unknown action":  {set(NewRule{Kind: Room, RuleID: "x", Actions: json.RawMessage(`["shout"]`)}), "M_INVALID_PARAM"},
			"strange action":  {set(NewRule{Kind: Room, RuleID: "x", Actions: json.RawMessage(`[1]`)}), "M_INVALID_PARAM"},
			"actions":         {set(NewRule{Kind: Room, RuleID: "x", Actions: json.RawMessage(`"notify"`)}), "M_INVALID_PARAM"},
			"no actions":      {set(NewRule{Kind: Room, RuleID: "x", Actions: json.RawMessage(`null`)}), "M_MISSING_PARAM"},
			"delete unknown":  {func() error { return w.push.DeleteRule(w.ctx, u, Room, "!x:y") }, "M_NOT_FOUND"},
			"delete default":  {func() error { return w.push.DeleteRule(w.ctx, u, Override, masterRule) }, "M_NOT_FOUND"},
			"enable unknown":  {func() error { return w.push.EnableRule(w.ctx, u, Room, "!x:y", true) }, "M_NOT_FOUND"},
			"enable other":    {func() error { return w.push.EnableRule(w.ctx, u, Room, masterRule, true) }, "M_NOT_FOUND"},
			"actions unknown": {func() error { return w.push.SetActions(w.ctx, u, Room, "!x:y", json.RawMessage(quiet)) }, "M_NOT_FOUND"},
			"get unknown":     {func() error { _, err := w.push.Rule(w.ctx, u, Room, "!x:y"); return err }, "M_NOT_FOUND"},
			"get other kind":  {func() error { _, err := w.push.Rule(w.ctx, u, "postcontent", "!x:y"); return err }, "M_NOT_FOUND"},
		} {
			if got := code(c.do()); got != c.want {
				w.tb.Errorf("%s: %q, want %q", what, got, c.want)
			}
		}
	})
}

func TestRules_ChangesOfPredefinedOnes(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		w.must(w.push.EnableRule(w.ctx, u, Override, masterRule, true))
		w.must(w.push.SetActions(w.ctx, u, Underride, ".m.rule.message", json.RawMessage(`["notify",{"set_tweak":"sound","value":"bing"}]`)))
		r, err := w.push.Rule(w.ctx, u, Override, masterRule)
		w.must(err)
		if !r.Enabled || !r.Default {
			w.tb.Errorf("%+v", r)
		}
		r, err = w.push.Rule(w.ctx, u, Underride, ".m.rule.message")
		w.must(err)
		if !strings.Contains(string(r.Actions), "bing") || !r.Enabled {
			w.tb.Errorf("%+v", r)
		}
		other, err := w.push.Rule(w.ctx, w.user("carol"), Override, masterRule)
		w.must(err)
		if other.Enabled {
			w.tb.Error("the change of one user reached another")
		}
	})
}

func TestRules_UpdateKeepsWhetherEnabled(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		n := NewRule{Kind: Room, RuleID: "!a:b", Actions: json.RawMessage(quiet)}
		w.must(w.push.SetRule(w.ctx, u, n))
		w.must(w.push.EnableRule(w.ctx, u, Room, "!a:b", false))
		n.Actions = json.RawMessage(notify)
		w.must(w.push.SetRule(w.ctx, u, n))
		r, err := w.push.Rule(w.ctx, u, Room, "!a:b")
		w.must(err)
		if r.Enabled || string(r.Actions) != notify {
			w.tb.Errorf("%+v", r)
		}
	})
}

func TestRules_EveryChangeIsAnnounced(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		for i, do := range []func() error{
			func() error {
				return w.push.SetRule(w.ctx, u, NewRule{Kind: Room, RuleID: "!a:b", Actions: json.RawMessage(quiet)})
			},
			func() error { return w.push.EnableRule(w.ctx, u, Room, "!a:b", false) },
			func() error { return w.push.SetActions(w.ctx, u, Room, "!a:b", json.RawMessage(notify)) },
			func() error { return w.push.DeleteRule(w.ctx, u, Room, "!a:b") },
		} {
			before := w.stream.Head()
			was, err := w.push.Rules(w.ctx, u)
			w.must(err)
			w.must(do())
			topic := stream.UserTopic(u)
			touched, err := w.stream.Touched(w.ctx, before, w.stream.Head(), []stream.Topic{topic})
			w.must(err)
			if !touched[topic].Has(stream.PushRules) {
				w.tb.Errorf("change %d was not announced", i)
			}
			if now, err := w.push.Rules(w.ctx, u); err != nil || string(now) == string(was) {
				w.tb.Errorf("change %d is not seen: %v", i, err)
			}
		}
	})
}

func TestRules_ConcurrentChangesAreNotLost(t *testing.T) {
	each(t, func(w *world) {
		u := w.user("bob")
		done := make(chan error)
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			go func() {
				done <- w.push.SetRule(context.WithoutCancel(w.ctx), u, NewRule{Kind: Room, RuleID: name, Actions: json.RawMessage(quiet)})
			}()
		}
		for range 6 {
			w.must(<-done)
		}
		if got := len(strings.Fields(w.order(u, Room))); got != 6 {
			w.tb.Errorf("%d of 6 rules are there", got)
		}
	})
}
