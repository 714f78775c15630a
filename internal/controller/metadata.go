package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What Kubernetes takes as names and values, in short: its own sentences are regular expressions.
const (
	nameRule  = "a name has up to 63 letters, digits, '-', '_' and '.', and a letter or digit at both ends; a DNS name and '/' may stand before it"
	valueRule = "a value is empty, or has up to 63 letters, digits, '-', '_' and '.', and a letter or digit at both ends"
)

// wrongLabels says which labels Kubernetes refuses, and why, empty if none.
func wrongLabels(labels map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		switch {
		case len(validation.IsQualifiedName(key)) > 0:
			return fmt.Sprintf(" (%q): %s", key, nameRule)
		case len(validation.IsValidLabelValue(labels[key])) > 0:
			return fmt.Sprintf(" (%q of %s): %s", labels[key], key, valueRule)
		}
	}
	return ""
}

// wrongAnnotations says which annotations Kubernetes refuses, and why, empty if it is not for their names.
func wrongAnnotations(annotations map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if len(validation.IsQualifiedName(strings.ToLower(key))) > 0 {
			return fmt.Sprintf(" (%q): %s", key, nameRule)
		}
	}
	return ""
}
