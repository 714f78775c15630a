package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The durations of leader election: controller-runtime's defaults.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leadership is the Lease of the leader. It knows whether this process certainly holds it: a process that was suspended for longer than
// leaseDuration still believes, for up to renewDeadline, that it is the leader, while another process leads.
type leadership struct {
	resourcelock.Interface

	mu      sync.Mutex
	renewed time.Time
}

// newLeadership returns the Lease that the flags name.
func newLeadership(config *rest.Config, o options) (*leadership, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	identity := resourcelock.ResourceLockConfig{Identity: fmt.Sprintf("%s_%s", host, uuid.NewUUID())}
	config = rest.AddUserAgent(config, "leader-election")
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, o.leaderElectionNamespace, o.leaderElectionID, identity, config, renewDeadline)
	return &leadership{Interface: lock}, err
}

// announceBy sets the recorder of the events that name a new leader.
func (l *leadership) announceBy(recorder resourcelock.EventRecorder) {
	if lock, ok := l.Interface.(*resourcelock.LeaseLock); ok {
		lock.LockConfig.EventRecorder = recorder
	}
}

// isSure reports whether no other process can be the leader now. It turns false renewDeadline after the last renewal of the Lease, so
// that a token request in flight has five seconds to finish before another process can lead.
func (l *leadership) isSure() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	// The monotonic clock stops while a machine sleeps, and the wall clock can be set back.
	return now.Sub(l.renewed) < renewDeadline && now.Round(0).Sub(l.renewed.Round(0)) < renewDeadline
}

// Get reads the Lease.
func (l *leadership) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil && record.HolderIdentity != l.Identity() {
		l.note(time.Time{})
	}
	return record, raw, err
}

// Create creates the Lease.
func (l *leadership) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

// Update acquires, renews or releases the Lease.
func (l *leadership) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *leadership) write(ctx context.Context, record resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	began := time.Now()
	err := write(ctx, record)
	switch {
	case record.HolderIdentity != l.Identity():
		l.note(time.Time{})
	case err == nil:
		l.note(began)
	}
	return err
}

func (l *leadership) note(renewed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = renewed
}
