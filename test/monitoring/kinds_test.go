package monitoring_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestThePrometheusOperatorsKindsTakeOurObjects has an API server that knows the real kinds look at what the chart and
// config/prometheus make of them. The CRDs come, as those of the Prometheus operator itself, from the Go types.
func TestThePrometheusOperatorsKindsTakeOurObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane")
	}
	t.Parallel()
	cluster := lab.RunCluster(t)
	kubectl := func(args ...string) string {
		t.Helper()
		return lab.Must(cluster.Kubectl(t.Context(), args...))(t)
	}
	for _, kind := range []string{"servicemonitors", "prometheusrules"} {
		file := filepath.Join(kinds(t), "monitoring.coreos.com_"+kind+".yaml")
		kubectl("apply", "--server-side", "--filename", file)
		kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", file)
	}
	kubectl("create", "namespace", operator)
	apply := []string{"apply", "--dry-run=server", "--validate=strict"}

	out := kubectl(append(apply, "--kustomize", filepath.Join(root, "config", "prometheus"))...)
	for _, object := range []string{"servicemonitor.monitoring.coreos.com/payu-token-operator", "prometheusrule.monitoring.coreos.com/payu-token-operator"} {
		if !strings.Contains(out, object+" created") {
			t.Errorf("config/prometheus: %s is not among what the API server took:\n%s", object, out)
		}
	}
	objects := helm(t, "prometheusRule.alertLabels.team=payments,metrics.serviceMonitor.interval=30s")
	for _, kind := range []string{"ServiceMonitor", "PrometheusRule", "ConfigMap"} {
		file := filepath.Join(t.TempDir(), "object.yaml")
		write(t, file, find(t, objects, kind).Object)
		kubectl(append(apply, "--filename", file)...)
	}

	// The kinds are strict: a field that they do not know, or a value of another form, is refused.
	for _, spoiled := range [][2]string{{"honorLabels:", "honourLabels:"}, {"scheme: https", "scheme: ssh"}} {
		file := filepath.Join(t.TempDir(), "servicemonitor.yaml")
		text := read(t, root, "config", "prometheus", "servicemonitor.yaml")
		lab.Check(t, os.WriteFile(file, []byte(strings.Replace(text, spoiled[0], spoiled[1], 1)), 0o600))
		if out, err := cluster.Kubectl(t.Context(), append(apply, "--filename", file)...); err == nil {
			t.Errorf("with %s: %s", spoiled[1], out)
		}
	}
}

// TestTheServiceMonitorsFindTheirServices: the chart's and that of config/prometheus select the Service that is installed
// beside them, in their namespace, name its port, and have the same endpoint. Else nothing would be scraped, or noticed.
func TestTheServiceMonitorsFindTheirServices(t *testing.T) {
	t.Parallel()
	var endpoints []any
	for name, objects := range map[string][]*unstructured.Unstructured{
		"config": append(kustomize(t, "default"), kustomize(t, "prometheus")...),
		"chart":  helm(t),
	} {
		monitor, service := find(t, objects, "ServiceMonitor"), find(t, objects, "Service")
		labels := lab.Must(nested(monitor, "spec", "selector", "matchLabels"))(t).(map[string]any)
		for label, value := range labels {
			if service.GetLabels()[label] != value {
				t.Errorf("%s: the Service %s is not labelled %s=%s", name, service.GetName(), label, value)
			}
		}
		if len(labels) == 0 || service.GetNamespace() != monitor.GetNamespace() || service.GetName() != operator+"-metrics" {
			t.Errorf("%s: labels %v, the Service is %s/%s", name, labels, service.GetNamespace(), service.GetName())
		}
		endpoint := lab.Must(nested(monitor, "spec", "endpoints"))(t).([]any)
		port := lab.Must(nested(service, "spec", "ports"))(t).([]any)[0].(map[string]any)["name"]
		if len(endpoint) != 1 || endpoint[0].(map[string]any)["port"] != port {
			t.Errorf("%s: endpoints %v, the Service's port is %v", name, endpoint, port)
		}
		endpoints = append(endpoints, endpoint)
	}
	if diff := cmp.Diff(endpoints[0], endpoints[1]); diff != "" {
		t.Errorf("the endpoints of chart and config differ:\n%s", diff)
	}
}

func nested(object *unstructured.Unstructured, fields ...string) (any, error) {
	value, found, err := unstructured.NestedFieldNoCopy(object.Object, fields...)
	if err == nil && !found {
		err = fmt.Errorf("%s %s has no %s", object.GetKind(), object.GetName(), strings.Join(fields, "."))
	}
	return value, err
}

// kinds returns a folder with the CRDs of the Prometheus operator.
func kinds(t *testing.T) string {
	t.Helper()
	generator := strings.TrimSpace(lab.Output(t, "go", "tool", "-modfile=hack/tools/go.mod", "-n", "controller-gen"))
	folder := t.TempDir()
	command := exec.CommandContext(t.Context(), generator, "crd:ignoreUnexportedFields=true", "output:crd:dir="+folder,
		"paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1")
	command.Dir = filepath.Join(root, "hack", "prometheus")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
	return folder
}
