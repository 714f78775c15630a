package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// selection is the PayUTokens that a command applies to: by name, by label, or all of them.
type selection struct {
	names         []string
	selector      string
	all           bool
	allNamespaces bool
}

func (s *selection) addFlags(command *cobra.Command) {
	s.addSelector(command)
	command.Flags().BoolVar(&s.all, "all", false, "all PayUTokens of the namespace")
}

func (s *selection) addSelector(command *cobra.Command) {
	command.Flags().StringVarP(&s.selector, "selector", "l", "", "the PayUTokens with these labels, for example team=payments,tier!=test")
	command.Flags().BoolVarP(&s.allNamespaces, "all-namespaces", "A", false, "in all namespaces")
}

// validate refuses ambiguous selections.
func (s *selection) validate(names []string) error {
	s.names = nil
	for _, arg := range names {
		name, err := nameIn(arg)
		if err != nil {
			return err
		}
		s.names = append(s.names, name)
	}
	given := 0
	for _, is := range []bool{len(names) > 0, s.selector != "", s.all} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return errors.New("no PayUTokens selected: give names, -l or --all")
	case given > 1:
		return errors.New("give only one of names, -l and --all")
	case len(names) > 0 && s.allNamespaces:
		return errors.New("a name is in one namespace: use -n instead of -A, or -l or --all with -A")
	}
	return s.validateSelector()
}

func (s *selection) validateSelector() error {
	if _, err := labels.Parse(s.selector); err != nil {
		return fmt.Errorf("-l %q: %w", s.selector, err)
	}
	return nil
}

// options returns the selection for a list or watch. The caller handles names.
func (s *selection) options(c *cluster) []client.ListOption {
	selector, _ := labels.Parse(s.selector) // validated
	options := []client.ListOption{client.MatchingLabelsSelector{Selector: selector}}
	if !s.allNamespaces {
		options = append(options, client.InNamespace(c.namespace))
	}
	return options
}

// find returns the PayUTokens. It is an error if there are none, or if a name does not exist.
func (s *selection) find(ctx context.Context, c *cluster) ([]v1alpha1.PayUToken, error) {
	list := &v1alpha1.PayUTokenList{}
	for _, name := range s.names {
		token, err := c.token(ctx, name)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, *token)
	}
	if len(s.names) > 0 {
		return list.Items, nil
	}
	if err := c.List(ctx, list, s.options(c)...); err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("there is no PayUToken %s", s.where(c))
	}
	return list.Items, nil
}

// where describes the selection in words.
func (s *selection) where(c *cluster) string {
	where := fmt.Sprintf("in namespace %q", c.namespace)
	if s.allNamespaces {
		where = "in any namespace"
	}
	if s.selector != "" {
		where = "with labels " + s.selector + " " + where
	}
	return where
}

// nameIn returns the name in an argument of the form NAME or, as kubectl and this plugin print it, payutoken.auth.payu.in/NAME.
func nameIn(arg string) (string, error) {
	resource, name, found := strings.Cut(arg, "/")
	if !found {
		return arg, nil
	}
	kind, group, _ := strings.Cut(strings.ToLower(resource), ".")
	groups := []string{"", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version + "." + v1alpha1.GroupVersion.Group}
	if name == "" || strings.Contains(name, "/") || !slices.Contains([]string{"payutoken", "payutokens", "payutok"}, kind) || !slices.Contains(groups, group) {
		return "", fmt.Errorf("%q does not name a PayUToken: write NAME or payutoken/NAME", arg)
	}
	return name, nil
}

// token reads one PayUToken.
func (c *cluster) token(ctx context.Context, name string) (*v1alpha1.PayUToken, error) {
	token := &v1alpha1.PayUToken{}
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, token)
	if apierrors.IsNotFound(err) && !isUnknownKind(err) {
		return nil, fmt.Errorf("there is no PayUToken %q in namespace %q", name, c.namespace)
	}
	return token, err
}
