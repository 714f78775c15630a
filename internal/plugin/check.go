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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payload"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
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
		Short: "Try out a PayUToken before you commit it, or when in doubt",
		Long: `Try out a PayUToken. The API server validates the manifest with a dry run; without an API server, this plugin validates it,
but cannot check everything. Then the plugin reads the credentials, from the Secret that the PayUToken names or from a file
of lines KEY=VALUE, and requests one token from PayU, from this machine. It stores nothing, and prints no secret.

If PayU revokes the previous token of a client, this request revokes the token that the operator wrote: refresh the
PayUToken afterwards. The exit code is 2 if the check finds a problem.`,
		Example: `  kubectl payutoken check -f payutoken.yaml --from-env-file payu.env
  kubectl payutoken check payment-links -n shop --probe`,
		ValidArgsFunction: p.completeName,
		RunE:              func(command *cobra.Command, args []string) error { return o.run(command.Context(), args) },
	}
	flags := command.Flags()
	o.files.AddFlags(flags)
	flags.StringVar(&o.envFile, "from-env-file", "", "read the client ID and secret from the lines KEY=VALUE of this `file`, with the keys that the PayUToken names")
	flags.BoolVar(&o.probe, "probe", false, "request two tokens, to see whether PayU reuses them")
	o.baseURLs = map[v1alpha1.Environment]*string{
		v1alpha1.EnvironmentTest:       flags.String("test-base-url", payu.TestBaseURL, "base `URL` of PayU's Test environment"),
		v1alpha1.EnvironmentProduction: flags.String("production-base-url", payu.ProductionBaseURL, "base `URL` of PayU's Production environment"),
	}
	flags.StringVar(&o.caFile, "ca-file", "", "PEM `file` of certificate authorities to trust for PayU, in addition to the system's")
	flags.DurationVar(&o.timeout, "token-request-timeout", 10*time.Second, "time limit of one token request")
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

// complete validates the flags and finds the cluster. Manifests can be checked without one.
func (o *checkOptions) complete(names []string) error {
	fromFiles := len(*o.files.Filenames) > 0 || *o.files.Kustomize != ""
	switch {
	case len(names) == 0 && !fromFiles:
		return errors.New("nothing to check: give the name of a PayUToken, -f or -k")
	case len(names) > 0 && fromFiles, len(names) > 1:
		return errors.New("give either one name, or -f or -k")
	case o.timeout <= 0:
		return errors.New("--token-request-timeout must be greater than 0")
	}
	if o.cluster, o.offline = o.connect(); o.offline != nil && (len(names) > 0 || *o.kube.Context != "") {
		return o.offline // a cluster was meant
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

// subject is a PayUToken to try out, from a manifest or from the cluster.
type subject struct {
	metav1.Object
	manifest *unstructured.Unstructured
	token    *v1alpha1.PayUToken
}

func (o *checkOptions) subjects(ctx context.Context, names []string) (list []subject, err error) {
	if len(names) > 0 {
		name, err := nameIn(names[0])
		if err != nil {
			return nil, err
		}
		token, err := o.cluster.token(ctx, name)
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

// try tries out a PayUToken, step by step, and reports whether it is in order. An error means that this cannot be told.
func (o *checkOptions) try(ctx context.Context, s subject) (well bool, err error) {
	if err := o.show(screen.Title(s.GetName(), s.GetNamespace())); err != nil {
		return false, err
	}
	token, err := o.trySchema(ctx, s)
	if token == nil || err != nil {
		return false, err
	}
	fits := o.tryTemplate(token)
	fits = o.tryMetadata(token) && fits
	fits = o.tryTarget(ctx, token) && fits
	o.tryScopes(token)
	credentials, good, err := o.tryCredentials(ctx, token)
	if !good || err != nil {
		return false, err
	}
	if !fits { // a token would be issued, and perhaps another one revoked, for nothing
		o.step(screen.Note, "PayU", "not asked: correct what is wrong first")
		return false, nil
	}
	return o.tryPayU(ctx, token, credentials)
}

func (o *checkOptions) step(mark screen.Mark, name, format string, args ...any) {
	_ = o.show(screen.Step(mark, name, fmt.Sprintf(format, args...))) // the next write fails as well
}

// trySchema returns the PayUToken as the API server would store it, or nil if it is invalid.
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
		o.step(screen.Bad, "schema", "does not match the schema built into this plugin: %v", err)
		return nil, nil
	}
	o.step(screen.Note, "schema", "matches the schema built into this plugin; the CEL rules, which need an API server, were not checked: %s", explain(offline))
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
	o.step(screen.Good, "template", "creates the keys %s", strings.Join(slices.Sorted(maps.Keys(texts)), ", "))
	return true
}

// tryMetadata shows what Kubernetes would refuse when the operator writes the target Secret.
func (o *checkOptions) tryMetadata(token *v1alpha1.PayUToken) bool {
	metadata := token.Spec.Target.Template.Metadata
	good := true
	for _, list := range []struct {
		field  string
		faults []target.Fault
	}{{"labels", target.LabelFaults(metadata.Labels)}, {"annotations", target.AnnotationFaults(metadata.Annotations)}} {
		for _, fault := range list.faults {
			o.step(screen.Bad, "template", "%s: spec.target.template.metadata.%s: %s: %s", v1alpha1.ReasonTargetWriteFailed, list.field, fault.What, fault.Rule)
			good = false
		}
	}
	return good
}

func (o *checkOptions) tryScopes(token *v1alpha1.PayUToken) {
	for _, hint := range scopeHints(token.Spec.Scopes) {
		o.step(screen.Note, "scopes", "%s", hint)
	}
}

func (o *checkOptions) tryCredentials(ctx context.Context, token *v1alpha1.PayUToken) (credentials payu.Credentials, good bool, err error) {
	ref := token.Spec.CredentialsSecretRef
	from, err := o.origin(ctx, token)
	if err == nil {
		credentials, err = from.credentials(ref)
	}
	var bad unusableError
	switch {
	case errors.As(err, &bad):
		o.step(screen.Bad, "credentials", "%s: %v", bad.reason, bad)
		return credentials, false, nil
	case err != nil:
		return credentials, false, err
	}
	o.step(screen.Good, "credentials", "read from %s, keys %s and %s", from.place, ref.ClientIDKey, ref.ClientSecretKey)
	if hint := credentialsHint(credentials, ref); hint != "" {
		o.step(screen.Note, "credentials", "%s", hint)
	}
	return credentials, true, nil
}

// origin reads what holds the credentials of a PayUToken.
func (o *checkOptions) origin(ctx context.Context, token *v1alpha1.PayUToken) (origin, error) {
	switch {
	case o.envFile != "":
		return fileOrigin(o.envFile)
	case o.cluster == nil:
		return origin{}, fmt.Errorf("Secret %q cannot be read, use --from-env-file: %s", token.Spec.CredentialsSecretRef.Name, explain(o.offline))
	default:
		return o.cluster.readSecret(ctx, token)
	}
}

// tryPayU requests a token from PayU, and a second one for --probe. It discards both.
func (o *checkOptions) tryPayU(ctx context.Context, token *v1alpha1.PayUToken, credentials payu.Credentials) (well bool, err error) {
	source := payu.Source{Environment: string(token.Spec.Environment), Credentials: credentials}
	for _, scope := range token.Spec.Scopes {
		source.Scopes = append(source.Scopes, string(scope))
	}
	times := "once"
	if o.probe {
		times = "twice"
	}
	fmt.Fprintf(o.ErrOut, "Requesting a token from PayU (%s, %s) %s, from this machine.\n"+
		"If PayU revokes the previous token of a client, refresh the PayUTokens with these scopes afterwards.\n",
		source.Environment, *o.baseURLs[token.Spec.Environment], times)
	first, good, err := o.ask(ctx, "PayU", source)
	if !good || err != nil {
		return false, err
	}
	if well = o.showLifetime(token, first); !o.probe || !well {
		return well, nil
	}
	second, good, err := o.ask(ctx, "probe", source)
	switch {
	case !good || err != nil:
		return false, err
	case first.AccessToken == second.AccessToken:
		o.step(screen.Good, "probe", "PayU reuses tokens: it returned the same one")
	default:
		o.step(screen.Good, "probe", "PayU does not reuse tokens: it issued another one. Whether the first one is still valid cannot be seen from here")
	}
	return true, nil
}

// showLifetime shows how long a token of PayU's is valid, and reports whether that is known.
func (o *checkOptions) showLifetime(token *v1alpha1.PayUToken, issued payu.Token) bool {
	assumed := token.Spec.AssumedLifetime
	switch {
	case !issued.LifeUnstated:
		o.step(screen.Good, "PayU", "issued a token for %s that is valid for %s", issued.Scope, duration.HumanDuration(issued.Life()))
	case assumed != nil:
		o.step(screen.Good, "PayU", "issued a token for %s, and states no lifetime: %s is assumed", issued.Scope, duration.HumanDuration(assumed.Duration))
	case hasToken(token):
		o.step(screen.Good, "PayU", "issued a token for %s, and states no lifetime: the operator takes that of the token in the target Secret, %s",
			issued.Scope, duration.HumanDuration(token.Status.ExpiresAt.Sub(token.Status.FetchedAt.Time)))
	default:
		o.step(screen.Bad, "PayU", "%s: issued a token for %s, and states no lifetime: set spec.assumedLifetime to what PayU configured for the client",
			v1alpha1.ReasonLifetimeUnknown, issued.Scope)
		return false
	}
	return true
}

// hasToken reports whether the target holds a token of the present spec and credentials: a status keeps the times of an older one.
func hasToken(token *v1alpha1.PayUToken) bool {
	status := token.Status
	return meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) && status.FetchedAt != nil && status.ExpiresAt != nil
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
