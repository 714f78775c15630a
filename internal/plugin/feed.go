package plugin

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// feed holds the current PayUTokens. It reconnects after a lost connection.
type feed struct {
	store cache.Store
	// changed has a value if the store has changed since the last receive.
	changed chan struct{}
	// trouble says why the store may be behind, or nil once it has caught up.
	trouble chan error
}

// follow returns a feed of the listed PayUTokens, until ctx ends.
func (c *cluster) follow(ctx context.Context, options ...client.ListOption) (*feed, error) {
	f := &feed{changed: make(chan struct{}, 1), trouble: make(chan error, 1)}
	informer := cache.NewSharedInformer(f.source(c, options), &v1alpha1.PayUToken{}, 0)
	f.store = informer.GetStore()
	touch := func() { replace(f.changed, struct{}{}) }
	handlers, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { touch() },
		UpdateFunc: func(any, any) { touch() },
		DeleteFunc: func(any) { touch() },
	})
	if err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	for {
		select {
		case <-handlers.HasSyncedChecker().Done():
			return f, nil
		case err := <-f.trouble:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// plainListWatch lists before it watches, which every API server supports.
type plainListWatch struct{ *cache.ListWatch }

func (plainListWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (f *feed) source(c *cluster, options []client.ListOption) cache.ListerWatcher {
	with := func(raw metav1.ListOptions) []client.ListOption {
		return append([]client.ListOption{&client.ListOptions{Raw: &raw}}, options...)
	}
	return plainListWatch{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, raw metav1.ListOptions) (runtime.Object, error) {
			raw.ResourceVersion = "" // the API server's cache may lag behind the last write
			list := &v1alpha1.PayUTokenList{}
			err := c.List(ctx, list, with(raw)...)
			replace(f.trouble, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, raw metav1.ListOptions) (watch.Interface, error) {
			w, err := c.Watch(ctx, &v1alpha1.PayUTokenList{}, with(raw)...)
			replace(f.trouble, err)
			return w, err
		},
	}}
}

// isFinal reports whether a retry is useless.
func isFinal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// tokens returns the current PayUTokens. Do not change them.
func (f *feed) tokens() []v1alpha1.PayUToken {
	list := []v1alpha1.PayUToken{}
	for _, object := range f.store.List() {
		list = append(list, *object.(*v1alpha1.PayUToken))
	}
	return list
}

// replace sends a value to a channel with a buffer of one, and drops an unread value. Each channel has one sender.
func replace[T any](c chan T, value T) {
	select {
	case <-c:
	default:
	}
	c <- value
}

// token returns the current state of a PayUToken, or nil if it was deleted.
func (f *feed) token(t *v1alpha1.PayUToken) *v1alpha1.PayUToken {
	object, exists, _ := f.store.GetByKey(t.Namespace + "/" + t.Name)
	if !exists {
		return nil
	}
	return object.(*v1alpha1.PayUToken)
}
