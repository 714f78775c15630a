package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// keepEvidence writes what explains a failure into the folder of logs: PayUTokens, pods, events, the logs of pods and the
// calls of workloads. There is no secret in any of them. It does so also when ctx has ended.
func (p *proof) keepEvidence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
	defer cancel()
	folder := filepath.Join(p.dir, "logs")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var errs []error
	for name, list := range map[string]client.ObjectList{
		"payutokens": &v1alpha1.PayUTokenList{}, "pods": &corev1.PodList{}, "events": &eventsv1.EventList{},
	} {
		if err := p.client.List(ctx, list); !meta.IsNoMatchError(err) { // the failure may be that there is no CRD
			errs = append(errs, err)
		}
		errs = append(errs, write(folder, name, list))
	}
	for _, s := range p.shops {
		errs = append(errs, write(folder, "calls-"+s.shop, s.tape.since(0)))
	}
	for _, namespace := range []string{operators, payu} {
		pods, err := p.clientset.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, pod := range pods.Items {
			content, err := p.clientset.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
			errs = append(errs, err, os.WriteFile(filepath.Join(folder, pod.Name+".log"), content, 0o644))
		}
	}
	return errors.Join(errs...)
}

func write(folder, name string, content any) error {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name+".json"), encoded, 0o644)
}
