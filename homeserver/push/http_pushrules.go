package push

import (
	"context"
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/viaduc/viaduc/homeserver/web"
)

// GetRules gives all rules.
//
// spec: cs#get_matrixclientv3pushrules
func (p *Push) GetRules(ctx context.Context, who web.Requester, _ struct{}) (web.Bytes, error) {
	content, err := p.Rules(ctx, who.UserID)
	return web.Bytes(content), err
}

// GetGlobalRules gives the global ruleset, the only one there is.
//
// spec: cs#get_matrixclientv3pushrulesglobal
func (p *Push) GetGlobalRules(ctx context.Context, who web.Requester, _ struct{}) (web.Bytes, error) {
	content, err := p.Rules(ctx, who.UserID)
	return web.Bytes(gjson.GetBytes(content, "global").Raw), err
}

type ruleIn struct {
	Kind   Kind   `path:"kind"`
	RuleID string `path:"ruleId"`
}

// GetRule gives one rule.
//
// spec: cs#get_matrixclientv3pushrulesglobalkindruleid
func (p *Push) GetRule(ctx context.Context, who web.Requester, in ruleIn) (Rule, error) {
	return p.Rule(ctx, who.UserID, in.Kind, in.RuleID)
}

type putRuleIn struct {
	Kind       Kind            `path:"kind"`
	RuleID     string          `path:"ruleId"`
	Before     string          `query:"before"`
	After      string          `query:"after"`
	Actions    json.RawMessage `json:"actions"`
	Conditions json.RawMessage `json:"conditions"`
	Pattern    *string         `json:"pattern"`
}

// PutRule makes or changes a rule.
//
// spec: cs#put_matrixclientv3pushrulesglobalkindruleid
func (p *Push) PutRule(ctx context.Context, who web.Requester, in putRuleIn) (struct{}, error) {
	return struct{}{}, p.SetRule(ctx, who.UserID, NewRule{Kind: in.Kind, RuleID: in.RuleID, Before: in.Before, After: in.After,
		Actions: in.Actions, Conditions: in.Conditions, Pattern: in.Pattern})
}

// DeleteOwnRule removes a rule.
//
// spec: cs#delete_matrixclientv3pushrulesglobalkindruleid
func (p *Push) DeleteOwnRule(ctx context.Context, who web.Requester, in ruleIn) (struct{}, error) {
	return struct{}{}, p.DeleteRule(ctx, who.UserID, in.Kind, in.RuleID)
}

type enabledOut struct {
	Enabled bool `json:"enabled"`
}

// GetRuleEnabled tells whether a rule is on.
//
// spec: cs#get_matrixclientv3pushrulesglobalkindruleidenabled
func (p *Push) GetRuleEnabled(ctx context.Context, who web.Requester, in ruleIn) (enabledOut, error) {
	r, err := p.Rule(ctx, who.UserID, in.Kind, in.RuleID)
	return enabledOut{r.Enabled}, err
}

type putEnabledIn struct {
	Kind    Kind   `path:"kind"`
	RuleID  string `path:"ruleId"`
	Enabled *bool  `json:"enabled"`
}

// PutRuleEnabled turns a rule on or off.
//
// spec: cs#put_matrixclientv3pushrulesglobalkindruleidenabled
func (p *Push) PutRuleEnabled(ctx context.Context, who web.Requester, in putEnabledIn) (struct{}, error) {
	if in.Enabled == nil {
		return struct{}{}, web.MMissingParam.WithMessage("Missing parameter: enabled")
	}
	return struct{}{}, p.EnableRule(ctx, who.UserID, in.Kind, in.RuleID, *in.Enabled)
}

type actionsOut struct {
	Actions json.RawMessage `json:"actions"`
}

// GetRuleActions tells what a rule does.
//
// spec: cs#get_matrixclientv3pushrulesglobalkindruleidactions
func (p *Push) GetRuleActions(ctx context.Context, who web.Requester, in ruleIn) (actionsOut, error) {
	r, err := p.Rule(ctx, who.UserID, in.Kind, in.RuleID)
	return actionsOut{r.Actions}, err
}

type putActionsIn struct {
	Kind    Kind            `path:"kind"`
	RuleID  string          `path:"ruleId"`
	Actions json.RawMessage `json:"actions"`
}

// PutRuleActions changes what a rule does.
//
// spec: cs#put_matrixclientv3pushrulesglobalkindruleidactions
func (p *Push) PutRuleActions(ctx context.Context, who web.Requester, in putActionsIn) (struct{}, error) {
	return struct{}{}, p.SetActions(ctx, who.UserID, in.Kind, in.RuleID, in.Actions)
}
