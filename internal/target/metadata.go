package target

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What Kubernetes accepts as names and values, in short: its own sentences are regular expressions.
const (
	nameRule  = "a name has up to 63 letters, digits, '-', '_' and '.', and a letter or digit at both ends; a DNS name and '/' may stand before it"
	valueRule = "a value is empty, or has up to 63 letters, digits, '-', '_' and '.', and a letter or digit at both ends"
)

// Fault is a label or an annotation that Kubernetes refuses for a Secret, and the rule that says why. The API server accepts it in a
// PayUToken.
type Fault struct{ What, Rule string }

// LabelFaults returns the labels that Kubernetes refuses.
func LabelFaults(labels map[string]string) (faults []Fault) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		switch value := labels[key]; {
		case len(validation.IsQualifiedName(key)) > 0:
			faults = append(faults, Fault{fmt.Sprintf("%q", key), nameRule})
		case len(validation.IsValidLabelValue(value)) > 0:
			faults = append(faults, Fault{fmt.Sprintf("%q of %s", value, key), valueRule})
		}
	}
	return faults
}

// AnnotationFaults returns the annotations that Kubernetes refuses for their names.
func AnnotationFaults(annotations map[string]string) (faults []Fault) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if len(validation.IsQualifiedName(strings.ToLower(key))) > 0 {
			faults = append(faults, Fault{fmt.Sprintf("%q", key), nameRule})
		}
	}
	return faults
}
