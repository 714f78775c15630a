package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestEventsAreWritten writes to a real API server, whose answers get lost or are refusals, and ends at once: an operator that
// stops still tells what it did last.
func TestEventsAreWritten(t *testing.T) {
	t.Parallel()
	lost := errors.New("read: connection reset by peer")
	for _, c := range []struct {
		name     string
		before   []error // what the first requests end with, unsent
		after    []error // what requests end with that were sent
		requests int
		written  []string
	}{
		{"at once", nil, nil, 1, []string{"Refreshed"}},
		{"once the API server can be reached", []error{lost, nil}, nil, 2, []string{"Refreshed"}},
		{"once, although the answer was lost", nil, []error{lost, nil}, 2, []string{"Refreshed"}},
		{"not, if they are refused", []error{apierrors.NewForbidden(eventsv1.Resource("events"), "", lost)}, nil, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			namespace, err := cluster.Namespace(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			requests := 0
			w := NewEventWriter(interceptor.NewClient(cluster.Client, interceptor.Funcs{
				Create: func(ctx context.Context, api client.WithWatch, o client.Object, options ...client.CreateOption) error {
					requests++
					if n := requests - 1; n < len(c.before) && c.before[n] != nil {
						return c.before[n]
					}
					err := api.Create(ctx, o.DeepCopyObject().(client.Object), options...)
					if n := requests - 1; n < len(c.after) && c.after[n] != nil {
						return c.after[n]
					}
					return err
				},
			}), clocktesting.NewFakePassiveClock(start))
			token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "links", UID: "u", ResourceVersion: "7"}}
			w.Eventf(token, nil, corev1.EventTypeNormal, "Refreshed", "WriteToken", "Wrote the token into Secret %q", "links-token")
			stopped, stop := context.WithCancel(t.Context())
			stop()
			if err := w.Start(stopped); err != nil {
				t.Fatal(err)
			}

			if requests != c.requests {
				t.Errorf("%d requests, want %d", requests, c.requests)
			}
			var list eventsv1.EventList
			if err := cluster.Client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
			var written []string
			for _, e := range list.Items {
				written = append(written, e.Reason)
				about := corev1.ObjectReference{APIVersion: "auth.payu.in/v1alpha1", Kind: "PayUToken", Namespace: namespace, Name: "links", UID: "u", ResourceVersion: "7"}
				if e.Regarding != about || e.Type != "Normal" || e.Action != "WriteToken" || e.Note != `Wrote the token into Secret "links-token"` ||
					e.ReportingController != v1alpha1.ManagedBy || !e.EventTime.Time.Truncate(time.Second).Equal(start) {
					t.Errorf("the event is %+v", e)
				}
			}
			if !slices.Equal(written, c.written) {
				t.Errorf("events %q, want %q", written, c.written)
			}
		})
	}
}

// ---- events

// TestALongMessageIsAnEventToo: the API server refuses an Event of more than 1024 bytes, and no failure is silent.
func TestALongMessageIsAnEventToo(t *testing.T) {
	t.Parallel()
	namespace, err := cluster.Namespace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writer := NewEventWriter(cluster.Client, clocktesting.NewFakePassiveClock(start))
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "links", UID: "u", ResourceVersion: "7"}}
	f := stalled(v1alpha1.ReasonInvalidScope, "PayU answered invalid_scope for %s", strings.Repeat("create_payment_links ", 60))
	writer.Eventf(token, nil, corev1.EventTypeWarning, f.reason, "RenewToken", "%s", f.message)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := writer.Start(stopped); err != nil {
		t.Fatal(err)
	}
	var list eventsv1.EventList
	if err := cluster.Client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil || len(list.Items) != 1 {
		t.Errorf("a message of %d bytes: %d events (%v), want 1", len(f.message), len(list.Items), err)
	}
}

// TestEachTokenThatIsWrittenHasAnEvent, also if it goes to a former target, or the status is written at the second attempt.
func TestEachTokenThatIsWrittenHasAnEvent(t *testing.T) {
	t.Parallel()
	t.Run("a former target", func(t *testing.T) {
		w := conflicted(t, payutest.Config{})
		w.pass(90 * time.Minute)
		w.expectRequests(2)
		w.expectEvents("Normal Refreshed")
	})
	t.Run("a status that fails", func(t *testing.T) {
		w := withLinks(t, payutest.Config{})
		w.faults.status(errTimeout)
		w.tick(90 * time.Minute)
		w.endure(5 * time.Second)
		w.faults.status(nil)
		w.endure(time.Minute)
		w.expectRequests(2)
		w.expectEvents("Normal Refreshed")
	})
}
