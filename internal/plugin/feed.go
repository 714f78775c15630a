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

// feed holds PayUTokens as they are. A connection that is lost is made again.
type feed struct {
	store cache.Store
	// changed has a value if the store has changed since the last look.
	changed chan struct{}
	// trouble tells why the store may be behind, and with nil that it no longer is.
	trouble chan error
}

// follow returns a feed of the PayUTokens of a list, which ends with ctx.
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

// plainListWatch lists before it watches, which every API server can do.
type plainListWatch struct{ *cache.ListWatch }

func (plainListWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (f *feed) source(c *cluster, options []client.ListOption) cache.ListerWatcher {
	with := func(raw metav1.ListOptions) []client.ListOption {
		return append([]client.ListOption{&client.ListOptions{Raw: &raw}}, options...)
	}
	return plainListWatch{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, raw metav1.ListOptions) (runtime.Object, error) {
			raw.ResourceVersion = "" // the API server's cache may be behind what was just written
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

// isFinal reports whether asking again is of no use.
func isFinal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// tokens returns the PayUTokens as they are now. They are not to be changed.
func (f *feed) tokens() []v1alpha1.PayUToken {
	list := []v1alpha1.PayUToken{}
	for _, object := range f.store.List() {
		list = append(list, *object.(*v1alpha1.PayUToken))
	}
	return list
}

// replace puts a value into a channel that holds one, in place of one that nobody has taken. Each channel has one sender.
func replace[T any](c chan T, value T) {
	select {
	case <-c:
	default:
	}
	c <- value
}

// token returns a PayUToken as it is now, nil if it is gone.
func (f *feed) token(t *v1alpha1.PayUToken) *v1alpha1.PayUToken {
	object, exists, _ := f.store.GetByKey(t.Namespace + "/" + t.Name)
	if !exists {
		return nil
	}
	return object.(*v1alpha1.PayUToken)
}
