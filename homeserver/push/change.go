package push

import (
	"context"
	"encoding/json"
	"fmt"

	"maunium.net/go/mautrix/id"
)

// document reads what a user changed.
func (p *Push) document(ctx context.Context, user id.UserID) (*document, error) {
	raw, err := p.readRules(ctx, user)
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(raw)
	if err != nil {
		return nil, fmt.Errorf("stored push rules: %w", err)
	}
	return d, nil
}

// Rule gives one rule; M_NOT_FOUND if there is none.
func (p *Push) Rule(ctx context.Context, user id.UserID, kind Kind, ruleID string) (Rule, error) {
	d, err := p.document(ctx, user)
	if err != nil {
		return Rule{}, err
	}
	return d.get(kind, ruleID, user)
}

// SetRule makes a rule, or changes one. spec: cs#put_matrixclientv3pushrulesglobalkindruleid
func (p *Push) SetRule(ctx context.Context, user id.UserID, n NewRule) error {
	if err := n.check(); err != nil {
		return err
	}
	return p.change(ctx, user, func(d *document) (bool, error) { return true, d.set(&n) })
}

// DeleteRule removes one of the user's own rules.
func (p *Push) DeleteRule(ctx context.Context, user id.UserID, kind Kind, ruleID string) error {
	return p.change(ctx, user, func(d *document) (bool, error) { return true, d.remove(kind, ruleID) })
}

// EnableRule turns a rule on or off, also a predefined one.
func (p *Push) EnableRule(ctx context.Context, user id.UserID, kind Kind, ruleID string, on bool) error {
	return p.change(ctx, user, func(d *document) (bool, error) { return true, d.enable(kind, ruleID, on) })
}

// SetActions changes what a rule does, also a predefined one.
func (p *Push) SetActions(ctx context.Context, user id.UserID, kind Kind, ruleID string, actions json.RawMessage) error {
	actions, err := checkActions(actions)
	if err != nil {
		return err
	}
	return p.change(ctx, user, func(d *document) (bool, error) { return true, d.setActions(kind, ruleID, actions) })
}

// CopyRoomRule gives a room the user's rule for another one, which it replaces, unless it has one already.
func (p *Push) CopyRoomRule(ctx context.Context, user id.UserID, from, to id.RoomID) error {
	d, err := p.document(ctx, user)
	if err != nil || d.own(Room, string(from)) == nil {
		return err
	}
	return p.change(ctx, user, func(d *document) (bool, error) {
		old := d.own(Room, string(from))
		if old == nil || d.own(Room, string(to)) != nil {
			return false, nil
		}
		if err := d.set(&NewRule{Kind: Room, RuleID: string(to), Actions: old.Actions}); err != nil {
			return false, nil // there are too many already
		}
		d.own(Room, string(to)).Disabled = old.Disabled
		return true, nil
	})
}
