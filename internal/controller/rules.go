package controller

import "github.com/payu-token-operator/payu-token-operator/api/v1alpha1"

// action is what to do for the token.
type action string

const (
	idle       action = "nothing"
	write      action = "write the token"
	fetch      action = "fetch a token"
	awaitStart action = "await the others after a start"
)

// verdict is what a pass is to do.
type verdict struct {
	token action
	// reshape is true if the type, labels, annotations or owner of the target are to be put right.
	reshape bool
	// why is what keeps a new token away, nil if nothing does.
	why *failure
	// shapeWhy is what keeps the shape from being put right, nil if nothing does.
	shapeWhy *failure
}

// rule is one line of a decision: the first that applies is followed.
type rule struct {
	when    string
	applies func(observation) bool
	action  action
	why     func(observation) *failure
}

// tokenRules decide what to do for the token.
var tokenRules = []rule{
	{"the target belongs to somebody else", func(o observation) bool { return o.foreign != nil }, idle,
		func(o observation) *failure { return o.foreign }},
	{"the template is broken", func(o observation) bool { return o.template != nil }, idle,
		func(o observation) *failure { return o.template }},
	{"the credentials are unusable", func(o observation) bool { return o.unusable != nil }, idle,
		func(o observation) *failure { return o.unusable }},
	{"the last write was refused just now", func(o observation) bool { return o.record.refusal.rests(o) }, idle,
		func(o observation) *failure { return o.record.refusal.failure }},
	{"the source has a newer token than the target", func(o observation) bool { return o.hasNewerToken() && !o.fightsOverToken() }, write, nil},
	{"requests are suspended", func(o observation) bool { return o.obj.Spec.Suspend }, idle,
		func(observation) *failure { return suspended }},
	{"the token is due after a start", func(o observation) bool { return o.isDue() && o.state.Starting }, awaitStart, nil},
	{"the token is due", func(o observation) bool { return o.isDue() && !o.state.InFlight && !o.now.Before(o.state.AskAt) }, fetch, nil},
	{"nothing is due", func(observation) bool { return true }, idle, nil},
}

// suspended is why nothing is asked for; a person wants it so.
var suspended = &failure{reason: v1alpha1.ReasonSuspended, message: "Renewal is suspended by spec.suspend: set it to false to resume"}

// decide makes the two decisions of a pass. The second, on the owner and the shape of a target that is this PayUToken's,
// does not look at the first, except that a write of the token puts the shape right, too.
func decide(o observation) verdict {
	v := verdict{}
	for _, rule := range tokenRules {
		if !rule.applies(o) {
			continue
		}
		v.token = rule.action
		if rule.why != nil {
			v.why = rule.why(o)
		}
		break
	}
	switch {
	case o.foreign != nil || o.secret == nil:
	case o.record.fights(o):
		v.shapeWhy = o.record.fight.failure
	case o.held.InShape:
	case o.record.shape.rests(o):
		v.shapeWhy = o.record.shape.failure
	default:
		v.reshape = v.token != write
	}
	return v
}

// fightsOverToken reports whether a write would only undo what somebody keeps changing.
func (o observation) fightsOverToken() bool {
	return o.record.fights(o) && o.record.mark == o.markOf(o.state.Token)
}
