package plugin

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

type createOptions struct {
	*plugin
	environment string
	scopes      []string
	credentials string
	target      string
	delivery    string
	envFile     string
	print       *genericclioptions.PrintFlags
}

func (p *plugin) create() *cobra.Command {
	o := &createOptions{plugin: p, print: genericclioptions.NewPrintFlags("").WithTypeSetter(scheme).WithDefaultOutput("yaml")}
	command := &cobra.Command{
		Use:   "create NAME --environment ENVIRONMENT --scopes SCOPES",
		Short: "Print the manifest of a PayUToken, and optionally of its credentials",
		Long: `Print the manifest of a PayUToken, for Git or for kubectl apply. This command creates nothing.

With --from-env-file, also print a Secret with the client ID and client secret, labeled
` + v1alpha1.LabelCredentials + `=true for operators that require it. Its values are encoded, not encrypted: seal
it before you commit it. It is not printed on a terminal.`,
		Example: `  kubectl payutoken create payment-links --environment Test --scopes create_payment_links,read_payment_links > payutoken.yaml
  kubectl payutoken create payment-links --environment Test --scopes read_payment_links --from-env-file payu.env | kubectl apply -f -`,
		Args: oneName,
		RunE: func(_ *cobra.Command, args []string) error { return o.run(args[0]) },
	}
	flags := command.Flags()
	flags.StringVar(&o.environment, "environment", "", "Test or Production")
	flags.StringSliceVar(&o.scopes, "scopes", nil, "what the token may be used for: `scopes`, separated by commas")
	flags.StringVar(&o.credentials, "credentials", "payu-credentials", "`name` of the Secret with the client ID and client secret")
	flags.StringVar(&o.target, "target", "", "`name` of the Secret that the token is written to; by default the name of the PayUToken")
	flags.StringVar(&o.delivery, "delivery", "", "how new tokens get into the files of pods: Eventual (the default) or Prompt")
	flags.StringVar(&o.envFile, "from-env-file", "", "also print the credentials Secret, from the lines client_id=… and client_secret=… of this `file`")
	addPrintFlags(command, o.print)
	for _, required := range []string{"environment", "scopes"} {
		_ = command.MarkFlagRequired(required) // the flag exists
	}
	completeFlag(command, "environment", cobra.FixedCompletions([]string{"Test", "Production"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(command, "delivery", cobra.FixedCompletions([]string{string(v1alpha1.DeliveryEventual), string(v1alpha1.DeliveryPrompt)}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(command, "scopes", completeScopes)
	return command
}

func (o *createOptions) run(arg string) error {
	name, err := nameIn(arg)
	if err != nil {
		return err
	}
	printer, err := o.print.ToPrinter()
	if err != nil {
		return err
	}
	token := o.token(name)
	if err := o.validate(token); err != nil {
		return err
	}
	objects, err := o.objects(token)
	if err != nil {
		return err
	}
	for _, hint := range scopeHints(token.Spec.Scopes) {
		fmt.Fprintf(o.ErrOut, "hint: %s\n", hint)
	}
	for _, object := range objects {
		if err := printer.PrintObj(object, o.Out); err != nil {
			return err
		}
	}
	return nil
}

func (o *createOptions) objects(token *v1alpha1.PayUToken) ([]runtime.Object, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(token)
	if err != nil {
		return nil, err
	}
	if err := checkOffline(&unstructured.Unstructured{Object: content}); err != nil || o.envFile == "" {
		return []runtime.Object{token}, err
	}
	secret, err := o.secret(token.Namespace)
	return []runtime.Object{secret, token}, err
}

// token returns the PayUToken. It has a namespace only if a flag sets one: a manifest in Git may serve several.
func (o *createOptions) token(name string) *v1alpha1.PayUToken {
	token := &v1alpha1.PayUToken{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PayUToken"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: *o.kube.Namespace},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.Environment(o.environment),
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: v1alpha1.SecretName(o.credentials)},
			Target:               v1alpha1.Target{Name: v1alpha1.SecretName(o.target), Delivery: v1alpha1.Delivery(o.delivery)},
		},
	}
	for _, scope := range o.scopes {
		token.Spec.Scopes = append(token.Spec.Scopes, v1alpha1.Scope(scope))
	}
	return token
}

// secret returns the credentials Secret, with only the two keys that the operator needs.
func (o *createOptions) secret(namespace string) (*corev1.Secret, error) {
	if o.Terminal != nil {
		return nil, errors.New("the client secret is not printed on a terminal: redirect the output to a file, or pipe it to kubectl apply -f -")
	}
	from, err := fileOrigin(o.envFile)
	if err != nil {
		return nil, err
	}
	ref := v1alpha1.CredentialsSecretRef{ClientIDKey: defaultIDKey, ClientSecretKey: defaultSecretKey}
	credentials, err := from.credentials(ref)
	if err != nil {
		return nil, err
	}
	if hint := credentialsHint(credentials, ref); hint != "" {
		fmt.Fprintf(o.ErrOut, "hint: %s\n", hint)
	}
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Name: o.credentials, Namespace: namespace, Labels: map[string]string{v1alpha1.LabelCredentials: "true"}, // some operators require it
		},
		Data: map[string][]byte{defaultIDKey: []byte(credentials.ClientID), defaultSecretKey: []byte(credentials.ClientSecret)},
	}, nil
}
