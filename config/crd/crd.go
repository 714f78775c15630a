// Package crd holds the CustomResourceDefinition of PayUTokens, as `make generate` makes it, for programs to build in.
package crd

import _ "embed"

// PayUTokens is the CustomResourceDefinition, in YAML.
//
//go:embed bases/auth.payu.in_payutokens.yaml
var PayUTokens []byte
