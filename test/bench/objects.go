package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// workers is how many requests are made at once, by the bare loop and by the operator.
	workers = 16
	// clients is how many clients the simulator knows.
	clients = 20_000
	// shardLabel says which shard a PayUToken is for.
	shardLabel = "shard"
)

var scopes = []string{"create_payment_links", "read_payment_links"}

func clientID(n int) string        { return fmt.Sprintf("client-%05d", n) }
func clientSecret(n int) string    { return fmt.Sprintf("%032d-%05d", n, n) }
func tokenName(n int) string       { return fmt.Sprintf("token-%05d", n) }
func credentialsName(n int) string { return fmt.Sprintf("credentials-%05d", n) }

func allClients() []payutest.Client {
	all := make([]payutest.Client, clients)
	for n := range all {
		all[n] = payutest.Client{ID: clientID(n), Secret: clientSecret(n)}
	}
	return all
}

func sourceOf(n int) payu.Source {
	return payu.Source{
		Environment: string(v1alpha1.EnvironmentTest),
		Credentials: payu.Credentials{ClientID: clientID(n), ClientSecret: clientSecret(n)},
		Scopes:      scopes,
	}
}

// newToken returns the PayUToken of a number, with the credentials of a client.
func newToken(namespace string, n, client int) *v1alpha1.PayUToken {
	return lab.NewToken(namespace, tokenName(n), lab.With(credentialsName(client)), lab.For(scopes...), lab.Labelled(shardLabel, fmt.Sprint(n%2)))
}

// each does something for each number below n, so many at once, until the first error.
func each(ctx context.Context, workers, n int, do func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := int(next.Add(1) - 1); i < n && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// createCredentials creates n credentials Secrets, each of a client of its own.
func (b *bench) createCredentials(namespace string, n int) {
	lab.Check(b, each(b.Context(), workers, n, func(ctx context.Context, n int) error {
		return b.client.Create(ctx, lab.NewCredentials(namespace, credentialsName(n), clientID(n), clientSecret(n)))
	}))
}

// createTokens creates the PayUTokens from one number to another, with the credentials of the client that each has.
func (b *bench) createTokens(namespace string, from, to int, clientOf func(n int) int) {
	lab.Check(b, each(b.Context(), workers, to-from, func(ctx context.Context, n int) error {
		return b.client.Create(ctx, newToken(namespace, from+n, clientOf(from+n)))
	}))
}

// Each PayUToken has a client of its own, or all share one.
func ownClient(n int) int  { return n }
func sharedClient(int) int { return 0 }

// namespace creates a namespace, and removes what is in it when remove is called: nobody collects garbage here.
func (b *bench) namespace() (name string, remove func()) {
	name = lab.Must(b.cluster.Namespace(b.Context()))(b)
	return name, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), 2*lab.Patience)
		defer cancel()
		for _, kind := range []client.Object{&v1alpha1.PayUToken{}, &corev1.Secret{}, &eventsv1.Event{}} {
			lab.Check(b, b.client.DeleteAllOf(ctx, kind, client.InNamespace(name)))
		}
	}
}

// sight is a moment at which a Secret of the operator's was seen to change.
type sight struct {
	name  string
	at    time.Time
	isNew bool
}

// sights tells of the Secrets of the operator's in a namespace: a watch that others do not wait for.
type sights struct {
	seen chan sight
	stop func()
}

// watchSecrets begins to watch.
func (b *bench) watchSecrets(namespace string) *sights {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	ours := []client.ListOption{client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}}
	lab.Check(b, b.client.List(b.Context(), list, ours...))
	raw := &metav1.ListOptions{ResourceVersion: list.ResourceVersion}
	w := lab.Must(b.client.Watch(b.Context(), list, append(ours, &client.ListOptions{Raw: raw})...))(b)
	s := &sights{seen: make(chan sight, 1<<17), stop: w.Stop}
	go func() {
		defer close(s.seen)
		for e := range w.ResultChan() {
			if o, ok := e.Object.(*metav1.PartialObjectMetadata); ok && e.Type != watch.Deleted {
				s.seen <- sight{o.Name, time.Now(), e.Type == watch.Added}
			}
		}
	}()
	return s
}

// await waits until n Secrets were seen to appear (or, if not isNew, to change), and returns when the last one was.
func (s *sights) await(ctx context.Context, n int, isNew bool, limit time.Duration) (time.Time, error) {
	seen := map[string]bool{}
	deadline := time.After(limit)
	for {
		select {
		case one, open := <-s.seen:
			if !open {
				return time.Time{}, errors.New("the watch of Secrets has ended")
			}
			if one.isNew == isNew {
				seen[one.name] = true
			}
			if len(seen) >= n {
				return one.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		case <-deadline:
			return time.Time{}, fmt.Errorf("%d of %d Secrets were seen within %s", len(seen), n, limit)
		}
	}
}
