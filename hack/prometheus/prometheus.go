// Package prometheus keeps the kinds of the Prometheus operator in go.mod: the tests make their CRDs of them.
package prometheus

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
