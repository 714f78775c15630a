package controller

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// mirror is a cache that is never stale: all writes of a world, the users' and the operator's, go through it to the
// real API server, and all reads are answered from what the API server made of them. It has the indexes of the
// operator's cache. Thousands of passes then cost no more requests than the operator's own caches would.
type mirror struct {
	mu      sync.Mutex // a pass may read and write at once
	secrets map[client.ObjectKey]*corev1.Secret
	tokens  map[client.ObjectKey]*v1alpha1.PayUToken
}

func newMirror(c client.WithWatch) client.WithWatch {
	m := &mirror{secrets: map[client.ObjectKey]*corev1.Secret{}, tokens: map[client.ObjectKey]*v1alpha1.PayUToken{}}
	return interceptor.NewClient(c, interceptor.Funcs{
		Get:  m.get,
		List: m.list,
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return m.refresh(ctx, c, o, c.Create(ctx, o, options...))
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			return m.refresh(ctx, c, o, c.Update(ctx, o, options...))
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			return m.refresh(ctx, c, o, c.Patch(ctx, o, patch, options...))
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return m.refresh(ctx, c, o, c.Delete(ctx, o, options...))
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			return m.refresh(ctx, c, o, c.SubResource(sub).Patch(ctx, o, patch, options...))
		},
	})
}

// refresh reads an object from the API server after a write that ended with err, which it returns.
func (m *mirror) refresh(ctx context.Context, c client.Client, o client.Object, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(o)
	switch o.(type) {
	case *corev1.Secret:
		secret := &corev1.Secret{}
		if c.Get(ctx, key, secret) == nil {
			m.secrets[key] = secret
		} else {
			delete(m.secrets, key)
		}
	case *v1alpha1.PayUToken, *metav1.PartialObjectMetadata: // the answer to a status write
		token := &v1alpha1.PayUToken{}
		if c.Get(ctx, key, token) == nil {
			m.tokens[key] = token
		} else {
			delete(m.tokens, key)
		}
	}
	return err
}

func (m *mirror) get(_ context.Context, _ client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch into := o.(type) {
	case *corev1.Secret:
		if secret, ok := m.secrets[key]; ok {
			secret.DeepCopyInto(into)
			return nil
		}
	case *metav1.PartialObjectMetadata:
		if secret, ok := m.secrets[key]; ok {
			secret.ObjectMeta.DeepCopyInto(&into.ObjectMeta)
			return nil
		}
	case *v1alpha1.PayUToken:
		if token, ok := m.tokens[key]; ok {
			token.DeepCopyInto(into)
			return nil
		}
	}
	return notFound(key.Name)
}

func notFound(name string) error { return apierrors.NewNotFound(schema.GroupResource{}, name) }

func (m *mirror) list(_ context.Context, _ client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
	var wanted client.ListOptions
	for _, option := range options {
		option.ApplyToList(&wanted)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch into := list.(type) {
	case *corev1.SecretList:
		for key, secret := range m.secrets {
			if key.Namespace == wanted.Namespace && wanted.LabelSelector.Matches(labels.Set(secret.Labels)) {
				into.Items = append(into.Items, *secret.DeepCopy())
			}
		}
	case *v1alpha1.PayUTokenList:
		for key, token := range m.tokens {
			if wanted.Namespace == "" || key.Namespace == wanted.Namespace {
				into.Items = append(into.Items, *token.DeepCopy())
			}
		}
		slices.SortFunc(into.Items, func(a, b v1alpha1.PayUToken) int { return strings.Compare(a.Name, b.Name) })
	}
	return nil
}

// loans are the objects that a cache has given to the operator: what is inside of them is the cache's, which copies none.
type loans struct {
	mu         sync.Mutex
	lent, kept []client.Object
}

func (l *loans) wrap(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			err := c.Get(ctx, key, o, options...)
			lent := reflect.New(reflect.TypeOf(o).Elem())
			lent.Elem().Set(reflect.ValueOf(o).Elem())
			l.mu.Lock()
			defer l.mu.Unlock()
			l.lent, l.kept = append(l.lent, lent.Interface().(client.Object)), append(l.kept, o.DeepCopyObject().(client.Object))
			return err
		},
	})
}

// changed returns those that the operator has changed, and forgets all.
func (l *loans) changed() (list []client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, lent := range l.lent {
		if !reflect.DeepEqual(lent, l.kept[i]) {
			list = append(list, lent)
		}
	}
	l.lent, l.kept = nil, nil
	return list
}
