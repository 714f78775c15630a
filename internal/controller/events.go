package controller

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// EventWriter writes Events, one after the other. client-go's broadcaster starts two goroutines for each, tries each
// twelve times, and keeps it for six minutes at least, in order to count those that are repeated: a burst of new
// PayUTokens took a tenth of the operator's memory for that (docs/performance.md), and a failing API server would be
// asked by thousands at once.
type EventWriter struct {
	client client.Client
	clock  clock.PassiveClock
	queue  chan *eventsv1.Event
	// waiting are the Events of namespaces whose last one took long: they wait for one another, and no other waits for them.
	waiting chan *eventsv1.Event

	mu      sync.Mutex
	slow    map[string]bool // namespaces
	dropped int
}

// mostEvents bounds the Events that wait to be written. More are dropped, and the log says how many.
const mostEvents = 10000

// NewEventWriter returns an EventWriter, which the manager starts. The client's scheme has events.k8s.io/v1, and the
// kinds of the objects that the Events are about.
func NewEventWriter(c client.Client, clock clock.PassiveClock) *EventWriter {
	return &EventWriter{client: c, clock: clock, queue: make(chan *eventsv1.Event, mostEvents), waiting: make(chan *eventsv1.Event, mostEvents),
		slow: map[string]bool{}}
}

// eventBackOff is for an API server that does not answer. The last write worked just before, and it is back soon.
var eventBackOff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.25, Steps: 4}

const (
	// eventTimeout bounds one request.
	eventTimeout = 13 * time.Second
	// lastEventsTimeout bounds the writing of those that wait while the operator stops: its Lease is given back after that.
	lastEventsTimeout = 5 * time.Second
	// longestNote is what the API server accepts.
	longestNote = 1024
)

// Eventf implements events.EventRecorder. It does not wait for the API server.
func (w *EventWriter) Eventf(regarding, _ runtime.Object, kind, reason, action, note string, args ...any) {
	about, err := reference.GetReference(w.client.Scheme(), regarding)
	if err != nil {
		log.Log.Error(err, "Making an Event", "reason", reason)
		return
	}
	now := w.clock.Now()
	event := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: about.Namespace, Name: util.GenerateEventName(about.Name, now.UnixNano())},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: v1alpha1.ManagedBy,
		ReportingInstance:   v1alpha1.ManagedBy + "-" + hostName(),
		Action:              action,
		Reason:              reason,
		Regarding:           *about,
		Note:                shortened(fmt.Sprintf(note, args...)),
		Type:                kind,
	}
	w.enqueue(w.queue, event)
}

func (w *EventWriter) enqueue(queue chan *eventsv1.Event, event *eventsv1.Event) {
	select {
	case queue <- event:
	default:
		w.mu.Lock()
		w.dropped++
		w.mu.Unlock()
	}
}

func shortened(note string) string {
	const more = "…"
	if len(note) <= longestNote {
		return note
	}
	return strings.ToValidUTF8(note[:longestNote-len(more)], "") + more
}

var hostName = sync.OnceValue(func() string {
	name, _ := os.Hostname()
	return name
})

// NeedLeaderElection lets the manager end this after all that needs it, which is what makes Events.
func (*EventWriter) NeedLeaderElection() bool { return false }

// Start writes Events until ctx has ended, and then those that wait.
func (w *EventWriter) Start(ctx context.Context) error {
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastEventsTimeout, cancel) })()
	go w.writeWaiting(writing)
	for {
		select {
		case event := <-w.queue:
			if w.isSlow(event.Namespace) {
				w.enqueue(w.waiting, event)
			} else {
				w.write(writing, event)
			}
			w.tellDropped()
		case <-ctx.Done():
			return w.rest(writing)
		}
	}
}

// writeWaiting writes the Events of slow namespaces until ctx has ended.
func (w *EventWriter) writeWaiting(ctx context.Context) {
	for {
		select {
		case event := <-w.waiting:
			w.write(ctx, event)
		case <-ctx.Done():
			return
		}
	}
}

func (w *EventWriter) isSlow(namespace string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slow[namespace]
}

// notePace notes whether the writing of an Event took long.
func (w *EventWriter) notePace(namespace string, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if took >= hangsAfter {
		w.slow[namespace] = true
	} else {
		delete(w.slow, namespace)
	}
}

// rest writes the Events that wait while the operator stops, until ctx has ended.
func (w *EventWriter) rest(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case event := <-w.queue:
			w.write(ctx, event)
		default:
			return nil
		}
	}
	w.mu.Lock()
	w.dropped += len(w.queue) + len(w.waiting)
	w.mu.Unlock()
	w.tellDropped()
	return nil
}

// write creates an Event. One that the API server refuses is not worth a second try.
func (w *EventWriter) write(ctx context.Context, event *eventsv1.Event) {
	var err error
	began := w.clock.Now()
	defer func() { w.notePace(event.Namespace, w.clock.Now().Sub(began)) }()
	stopped := wait.ExponentialBackoffWithContext(ctx, eventBackOff, func(ctx context.Context) (answered bool, _ error) {
		ctx, cancel := context.WithTimeout(ctx, eventTimeout)
		defer cancel()
		err = w.client.Create(ctx, event)
		_, refused := answerIn(err)
		return err == nil || refused || isDeadline(err), nil
	})
	if isDeadline(err) && ctx.Err() == nil && !w.isSlow(event.Namespace) {
		w.enqueue(w.waiting, event) // once more, where no other waits for it
		return
	}
	if err = cmp.Or(err, stopped); err != nil && !apierrors.IsAlreadyExists(err) { // it exists if an answer was lost
		log.Log.Info("An Event was not written: "+wordsOf(err), "namespace", event.Namespace, "name", event.Regarding.Name, "reason", event.Reason)
	}
}

// tellDropped logs how many Events were dropped, if any were.
func (w *EventWriter) tellDropped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dropped > 0 {
		log.Log.Info("Dropped Events: too many were waiting to be written, or the operator stops", "count", w.dropped)
		w.dropped = 0
	}
}
