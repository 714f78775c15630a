package plugin

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/cli-runtime/pkg/resource"
)

// The errors of package resource, which are text only. They quote what is in a file: for a file of credentials, the client secret.
var (
	undecodable  = regexp.MustCompile(`(?s)^unable to decode "(.*?)": (.*)`)
	unparsable   = regexp.MustCompile(`(?s)^error parsing (.+?): (.*)`)
	inAList      = regexp.MustCompile(`^unable to get type info from the object`)
	lacksKind    = regexp.MustCompile(`Object 'Kind' is missing|unstructured\.detector$`) // the latter is no mapping at all
	lacksVersion = regexp.MustCompile(`Object 'apiVersion' is missing`)
	lineNumber   = regexp.MustCompile(`\bline \d+\b`)
)

// kustomizations are the names of files that only -k understands.
var kustomizations = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// withoutContent returns the errors of package resource without what they quote.
func withoutContent(err error) error {
	var all utilerrors.Aggregate
	if !errors.As(err, &all) {
		return unreadable(err)
	}
	var list []error
	for _, err := range utilerrors.Flatten(all).Errors() {
		list = append(list, unreadable(err))
	}
	return utilerrors.NewAggregate(list)
}

func unreadable(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if found := undecodable.FindStringSubmatch(text); found != nil {
		return notAManifest(found[1], undecodableBecause(found[2]))
	}
	if found := unparsable.FindStringSubmatch(text); found != nil {
		why := "it is neither YAML nor JSON"
		if line := lineNumber.FindString(found[2]); line != "" {
			why += ", see " + line
		}
		return notAManifest(found[1], why)
	}
	if inAList.MatchString(text) || lacksKind.MatchString(text) || lacksVersion.MatchString(text) {
		return notAManifest("an object in a list", undecodableBecause(text))
	}
	return withoutQuotations(err)
}

// quotations are what kustomize quotes, with what is said instead.
var quotations = map[*regexp.Regexp]string{
	regexp.MustCompile(`(?s)literal sources \[.*invalid literal source .*, expected`): "invalid literal source, expected",
	regexp.MustCompile(`(?s)unknown anchor '.*' referenced`):                          "unknown anchor",
	regexp.MustCompile("(?s) with config: `.*"):                                       "",
}

func withoutQuotations(err error) error {
	text := err.Error()
	for quotation, instead := range quotations {
		text = quotation.ReplaceAllString(text, instead)
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

func undecodableBecause(text string) string {
	switch {
	case lacksKind.MatchString(text):
		return "it has no kind"
	case lacksVersion.MatchString(text):
		return "it has no apiVersion"
	default:
		return "apiVersion, kind or metadata has the wrong type"
	}
}

func notAManifest(file, why string) error {
	if err := refuseKustomization(file); err != nil {
		return err
	}
	return fmt.Errorf("%s is not a Kubernetes manifest (%s): credentials belong to --from-env-file", file, why)
}

// refuseKustomization refuses a file that says what to make of other files: read one by one, they are not what is applied.
func refuseKustomization(file string) error {
	if slices.Contains(kustomizations, filepath.Base(file)) {
		return fmt.Errorf("%s is a kustomization: use -k %s", file, filepath.Dir(file))
	}
	return nil
}

// refuseKustomizations does so for files that could be read.
func refuseKustomizations(infos []*resource.Info) error {
	for _, info := range infos {
		if err := refuseKustomization(info.Source); err != nil {
			return err
		}
	}
	return nil
}
