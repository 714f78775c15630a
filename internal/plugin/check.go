package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payload"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

type checkOptions struct {
	*plugin
	files    *genericclioptions.FileNameFlags
	envFile  string
	probe    bool
	baseURLs map[v1alpha1.Environment]*string
	caFile   string
	timeout  time.Duration

	cluster *cluster // nil if there is none
	offline error    // why there is none
	client  *payu.Client
}

func (p *plugin) check() *cobra.Command {
	o := &checkOptions{plugin: p, files: &genericclioptions.FileNameFlags{
		Usage: "files, folders or URLs with manifests; - is standard input", Filenames: &[]string{}, Kustomize: ptr.To(""), Recursive: ptr.To(false)}}
	command := &cobra.Command{
		Use:   "check (NAME | -f FILE | -k FOLDER)",
		Short: "Try a PayUToken out, before it is committed or when in doubt",
		Long: `Try a PayUToken out. Its manifest is compared with the schema: by the API server, as a dry run, or without one by this
plugin, which cannot check everything. Then its credentials are read, from the Secret that it names or from a file of lines
KEY=VALUE, and PayU is asked for a token once, from this machine. Nothing is stored, and no secret is printed.

Where PayU revokes the previous token of a client, the token that is asked for here ends the one that the operator wrote:
refresh the PayUToken afterwards. The exit code is 2 if anything is found wrong.`,
		Example: `  kubectl payutoken check -f payutoken.yaml --from-env-file payu.env
  kubectl payutoken check payment-links -n shop --probe`,
		ValidArgsFunction: p.completeName,
		RunE:              func(command *cobra.Command, args []string) error { return o.run(command.Context(), args) },
	}
	flags := command.Flags()
	o.files.AddFlags(flags)
	flags.StringVar(&o.envFile, "from-env-file", "", "read the client ID and secret from the lines KEY=VALUE of this `file`, with the keys that the PayUToken names")
	flags.BoolVar(&o.probe, "probe", false, "ask PayU twice, to see whether it reuses tokens")
	o.baseURLs = map[v1alpha1.Environment]*string{
		v1alpha1.EnvironmentTest:       flags.String("test-base-url", payu.TestBaseURL, "base `URL` of PayU's Test environment"),
		v1alpha1.EnvironmentProduction: flags.String("production-base-url", payu.ProductionBaseURL, "base `URL` of PayU's Production environment"),
	}
	flags.StringVar(&o.caFile, "ca-file", "", "PEM `file` of certificate authorities that PayU may use beside the system's")
	flags.DurationVar(&o.timeout, "token-request-timeout", 10*time.Second, "how long one token request may take in all")
	return command
}

func (o *checkOptions) run(ctx context.Context, names []string) error {
	if err := o.complete(names); err != nil {
		return err
	}
	subjects, err := o.subjects(ctx, names)
	if err != nil {
		return err
	}
	well := true
	for _, s := range subjects {
		good, err := o.try(ctx, s)
		if err != nil {
			return err
		}
		well = well && good
	}
	if !well {
		return exitNotWell
	}
	return nil
}

// complete looks at the flags, and finds the cluster. Manifests can do without one.
func (o *checkOptions) complete(names []string) error {
	fromFiles := len(*o.files.Filenames) > 0 || *o.files.Kustomize != ""
	switch {
	case len(names) == 0 && !fromFiles:
		return errors.New("what is to be checked? Give the name of a PayUToken, -f or -k")
	case len(names) > 0 && fromFiles, len(names) > 1:
		return errors.New("give one name, -f or -k")
	case o.timeout <= 0:
		return errors.New("--token-request-timeout must be more than 0")
	}
	if o.cluster, o.offline = o.connect(); o.offline != nil && len(names) > 0 {
		return o.offline
	}
	return o.newClient()
}

func (o *checkOptions) newClient() (err error) {
	config := payu.Config{BaseURLs: map[string]string{}, Timeout: o.timeout, UserAgent: name + "/" + o.Version, Now: o.Clock.Now}
	for environment, base := range o.baseURLs {
		config.BaseURLs[string(environment)] = *base
	}
	if o.caFile != "" {
		if config.CAs, err = os.ReadFile(o.caFile); err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
	}
	o.client, err = payu.NewClient(config)
	return err
}

// subject is a PayUToken to be tried out: that of a manifest, or one that is in the cluster.
type subject struct {
	metav1.Object
	manifest *unstructured.Unstructured
	token    *v1alpha1.PayUToken
}

func (o *checkOptions) subjects(ctx context.Context, names []string) (list []subject, err error) {
	if len(names) > 0 {
		token, err := o.cluster.token(ctx, names[0])
		return []subject{{Object: token, token: token}}, err
	}
	manifests, err := o.manifests(o.files)
	for _, m := range manifests {
		if err := o.cluster.settleNamespace(m); err != nil {
			return nil, err
		}
		list = append(list, subject{Object: m, manifest: m})
	}
	return list, err
}

// try tries a PayUToken out, step by step, and reports whether nothing is wrong with it. What keeps it from finding out is
// an error.
func (o *checkOptions) try(ctx context.Context, s subject) (well bool, err error) {
	if err := o.show(screen.Title(s.GetName(), s.GetNamespace())); err != nil {
		return false, err
	}
	token, err := o.trySchema(ctx, s)
	if token == nil || err != nil {
		return false, err
	}
	rendered := o.tryTemplate(token)
	o.tryScopes(token)
	credentials, good, err := o.tryCredentials(ctx, token)
	if !good || err != nil {
		return false, err
	}
	given, err := o.tryPayU(ctx, token, credentials)
	return rendered && given, err
}

func (o *checkOptions) step(mark screen.Mark, name, format string, args ...any) {
	_ = o.show(screen.Step(mark, name, fmt.Sprintf(format, args...))) // the next write fails, too
}

// trySchema returns the PayUToken as the API server would store it, nil if there is anything wrong with it.
func (o *checkOptions) trySchema(ctx context.Context, s subject) (*v1alpha1.PayUToken, error) {
	if s.manifest == nil {
		o.step(screen.Good, "schema", "accepted by the API server when it was applied")
		return s.token, nil
	}
	offline := o.offline
	if o.cluster != nil {
		err := o.cluster.dryRun(ctx, s.manifest)
		switch {
		case err == nil:
			o.step(screen.Good, "schema", "accepted by the API server %s (dry run)", o.cluster.host)
			return decode(s.manifest)
		case ctx.Err() != nil:
			return nil, err
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			o.step(screen.Bad, "schema", "refused by the API server: %s", refusal(err))
			return nil, nil
		}
		offline = err
	}
	if err := checkOffline(s.manifest); err != nil {
		o.step(screen.Bad, "schema", "does not fit the schema built into this plugin: %v", err)
		return nil, nil
	}
	o.step(screen.Note, "schema", "fits the schema built into this plugin; the rules in CEL, which take an API server, were not checked: %s", explain(offline))
	return decode(s.manifest)
}

func (o *checkOptions) tryTemplate(token *v1alpha1.PayUToken) bool {
	texts := map[string]string{}
	for key, text := range token.Spec.Target.Template.Data {
		texts[key] = string(text)
	}
	if len(texts) == 0 {
		return true
	}
	if _, err := payload.Parse(texts); err != nil {
		o.step(screen.Bad, "template", "%s: %v", v1alpha1.ReasonTemplateInvalid, err)
		return false
	}
	o.step(screen.Good, "template", "makes the keys %s", strings.Join(slices.Sorted(maps.Keys(texts)), ", "))
	return true
}

func (o *checkOptions) tryScopes(token *v1alpha1.PayUToken) {
	for _, hint := range scopeHints(token.Spec.Scopes) {
		o.step(screen.Note, "scopes", "%s", hint)
	}
}

func (o *checkOptions) tryCredentials(ctx context.Context, token *v1alpha1.PayUToken) (credentials payu.Credentials, good bool, err error) {
	ref := token.Spec.CredentialsSecretRef
	place := fmt.Sprintf("Secret %q in namespace %q", ref.Name, token.Namespace)
	var values map[string][]byte
	exists := true
	switch {
	case o.envFile != "":
		place = o.envFile
		values, err = readEnvFile(o.envFile)
	case o.cluster == nil:
		err = fmt.Errorf("Secret %q cannot be read, use --from-env-file: %s", ref.Name, explain(o.offline))
	default:
		values, exists, err = o.cluster.readSecret(ctx, token)
	}
	if err != nil {
		return credentials, false, err
	}
	if !exists {
		o.step(screen.Bad, "credentials", "%s: %s does not exist", v1alpha1.ReasonCredentialsNotFound, place)
		return credentials, false, nil
	}
	credentials, reason, err := credentialsIn(values, place, ref)
	if err != nil {
		o.step(screen.Bad, "credentials", "%s: %v", reason, err)
		return credentials, false, nil
	}
	o.step(screen.Good, "credentials", "read from %s, keys %s and %s", place, ref.ClientIDKey, ref.ClientSecretKey)
	return credentials, true, nil
}

// tryPayU asks PayU for a token, and for another one if that is wanted. The tokens end here.
func (o *checkOptions) tryPayU(ctx context.Context, token *v1alpha1.PayUToken, credentials payu.Credentials) (well bool, err error) {
	source := payu.Source{Environment: string(token.Spec.Environment), Credentials: credentials}
	for _, scope := range token.Spec.Scopes {
		source.Scopes = append(source.Scopes, string(scope))
	}
	times := "once"
	if o.probe {
		times = "twice"
	}
	fmt.Fprintf(o.ErrOut, "Asking PayU (%s, %s) for a token %s, from this machine.\n"+
		"Where PayU revokes the previous token of a client, refresh the PayUTokens with these scopes afterwards.\n",
		source.Environment, *o.baseURLs[token.Spec.Environment], times)
	first, good, err := o.ask(ctx, "PayU", source)
	if !good || err != nil {
		return false, err
	}
	o.step(screen.Good, "PayU", "gave a token for %s that lives for %s", first.Scope, duration.HumanDuration(first.Life()))
	if !o.probe {
		return true, nil
	}
	second, good, err := o.ask(ctx, "probe", source)
	switch {
	case !good || err != nil:
		return false, err
	case first.AccessToken == second.AccessToken:
		o.step(screen.Good, "probe", "PayU reuses tokens: it gave the same one again")
	default:
		o.step(screen.Good, "probe", "PayU does not reuse tokens: it gave another one. Whether the first lives on cannot be seen from here")
	}
	return true, nil
}

func (o *checkOptions) ask(ctx context.Context, step string, source payu.Source) (payu.Token, bool, error) {
	token, err := o.client.Token(ctx, source)
	if err == nil {
		return token, true, nil
	}
	var refusal *payu.Error
	if ctx.Err() != nil || !errors.As(err, &refusal) {
		return token, false, err
	}
	o.step(screen.Bad, step, "%s", strings.TrimSpace(refusal.Error()+". "+screen.Cause(string(refusal.Reason))))
	return token, false, nil
}
