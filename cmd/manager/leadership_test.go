package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lease is a Lease without an API server.
type lease struct {
	resourcelock.Interface
	holder string
	err    error
	took   time.Duration
}

func (l *lease) Identity() string { return "me" }

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{HolderIdentity: l.holder}, nil, l.err
}

func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.Update(ctx, record)
}

func (l *lease) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	time.Sleep(l.took)
	if l.err == nil {
		l.holder = record.HolderIdentity
	}
	return l.err
}

func TestALeaderIsSureUntilAnotherMayTakeOver(t *testing.T) {
	type history struct {
		*lease
		*leadership
	}
	renew := func(h history) {
		_ = h.leadership.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"})
	}
	for _, c := range []struct {
		name   string
		happen func(history)
		want   bool
	}{
		{"nothing", func(history) {}, false},
		{"created", func(h history) {
			_ = h.leadership.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"})
		}, true},
		{"renewed", renew, true},
		{"just not too long ago", func(h history) { renew(h); time.Sleep(renewDeadline - time.Nanosecond) }, true},
		{"too long ago", func(h history) { renew(h); time.Sleep(renewDeadline) }, false},
		{"and again", func(h history) { renew(h); time.Sleep(renewDeadline); renew(h) }, true},
		{"counted from when it was sent", func(h history) { h.took = 6 * time.Second; renew(h); time.Sleep(4 * time.Second) }, false},
		{"a renewal fails", func(h history) { renew(h); h.err = errors.New("no API server"); renew(h) }, true},
		{"renewals keep failing", func(h history) {
			renew(h)
			h.err = errors.New("no API server")
			time.Sleep(6 * time.Second)
			renew(h)
			time.Sleep(4 * time.Second)
		}, false},
		{"own Lease read", func(h history) { renew(h); _, _, _ = h.leadership.Get(t.Context()) }, true},
		{"another's Lease read", func(h history) { renew(h); h.holder = "other"; _, _, _ = h.leadership.Get(t.Context()) }, false},
		{"given back", func(h history) {
			renew(h)
			_ = h.leadership.Update(t.Context(), resourcelock.LeaderElectionRecord{})
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lease{}
				h := history{l, &leadership{Interface: l}}
				c.happen(h)
				if got := h.isSure(); got != c.want {
					t.Errorf("sure to lead: %t, want %t", got, c.want)
				}
			})
		})
	}
}
