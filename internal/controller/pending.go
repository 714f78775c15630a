package controller

import "time"

// pendingAfter is how long the status keeps quiet while a token is being fetched: most are there before.
const pendingAfter = 4 * time.Second

// awaitsFirstToken reports whether the answer to a request that was just begun is awaited: until it is there, or has
// taken too long, the status speaks of what was before.
func (o observation) awaitsFirstToken(why *failure) bool {
	expires := o.obj.Status.ExpiresAt
	return o.isPending(why) && o.now.Sub(o.pendingSince()) < pendingAfter && (expires == nil || o.now.Before(expires.Time))
}

// isPending reports whether there is no token, and nothing that keeps one away but time.
func (o observation) isPending(why *failure) bool {
	return why == nil && !o.isReady() && o.payuFailure() == nil && !o.state.Reused && !o.record.fights(o)
}

// notePending keeps since when a token is missing without a failure.
func (o *observation) notePending(v verdict, f *failure) {
	if v.why != nil || !o.isPending(f) {
		o.record.waitingSince = time.Time{}
		return
	}
	o.record.waitingSince = o.pendingSince()
}

func (o observation) pendingSince() time.Time {
	if o.record.waitingSince.IsZero() || o.now.Before(o.record.waitingSince) {
		return o.now
	}
	return o.record.waitingSince
}
