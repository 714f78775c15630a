package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// EventWriter writes Events and keeps none. client-go's broadcaster keeps each for six minutes at least, to count those that are
// repeated. The operator repeats one only while somebody keeps damaging a Secret, five times at most, and after a burst of
// new PayUTokens their Events took a tenth of its memory (docs/performance.md).
type EventWriter struct {
	// Client creates the Events. Its scheme has events.k8s.io/v1, and the kinds of the objects that they are about.
	Client client.Client
	Clock  clock.PassiveClock

	writing sync.WaitGroup
}

// eventBackOff is for an API server that does not answer. The last write worked just before, and it is back soon.
var eventBackOff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.25, Steps: 4}

// Eventf implements events.EventRecorder. It does not wait for the API server.
func (w *EventWriter) Eventf(regarding, _ runtime.Object, kind, reason, action, note string, args ...any) {
	about, err := reference.GetReference(w.Client.Scheme(), regarding)
	if err != nil {
		log.Log.Error(err, "No Event could be made", "reason", reason)
		return
	}
	now, host := w.Clock.Now(), hostName()
	w.writing.Go(func() {
		w.write(&eventsv1.Event{
			ObjectMeta:          metav1.ObjectMeta{Namespace: about.Namespace, Name: util.GenerateEventName(about.Name, now.UnixNano())},
			EventTime:           metav1.NewMicroTime(now),
			ReportingController: v1alpha1.ManagedBy,
			ReportingInstance:   v1alpha1.ManagedBy + "-" + host,
			Action:              action,
			Reason:              reason,
			Regarding:           *about,
			Note:                fmt.Sprintf(note, args...),
			Type:                kind,
		})
	})
}

var hostName = sync.OnceValue(func() string {
	name, _ := os.Hostname()
	return name
})

// write creates an Event. One that the API server refuses is not worth a second try.
func (w *EventWriter) write(event *eventsv1.Event) {
	var err error
	_ = wait.ExponentialBackoff(eventBackOff, func() (answered bool, _ error) {
		ctx, cancel := context.WithTimeout(context.Background(), passTimeout)
		defer cancel()
		err = w.Client.Create(ctx, event)
		var refusal apierrors.APIStatus
		return err == nil || errors.As(err, &refusal), nil
	})
	if err != nil && !apierrors.IsAlreadyExists(err) { // it exists if an answer was lost
		log.Log.Error(err, "An Event was not written", "namespace", event.Namespace, "name", event.Regarding.Name, "reason", event.Reason)
	}
}

// NeedLeaderElection lets the manager end this after all that needs it, which is what makes Events.
func (*EventWriter) NeedLeaderElection() bool { return false }

// Start waits, once ctx has ended, for the Events that are being written.
func (w *EventWriter) Start(ctx context.Context) error {
	<-ctx.Done()
	w.writing.Wait()
	return nil
}
