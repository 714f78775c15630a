package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// install installs the operator, or upgrades it to the shop's present image, and waits until it is ready.
func (s *shop) install(ctx context.Context) error {
	repository, tag := s.image.split()
	margin := s.proof.life(longSlack) / 2 // half of any life
	if s.tokenLife != 0 {
		margin = s.tokenLife / 2
	}
	values, err := json.Marshal(map[string]any{
		"promptDelivery":     map[string]any{"enabled": s.scenario.consumers != nil},
		"fullnameOverride":   s.release(),
		"crds":               map[string]any{"install": s.firstCRD},
		"image":              map[string]any{"repository": repository, "tag": tag},
		"replicas":           max(1, s.replicas),
		"watchLabelSelector": shardLabel + "=" + s.shop,
		"baseURLs":           map[string]any{"test": s.url},
		"ca":                 map[string]any{"configMapName": caName},
		"propagationMargin":  margin.String(),
	})
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, s.release()+".yaml")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		return err
	}
	return s.helm(ctx, "upgrade", "--install", s.release(), filepath.Join(s.Root, "charts/payu-token-operator"), "--values", file,
		"--wait", "--timeout", patience.String())
}

// takeover ends the leader, and returns how long it took until another one had taken over. Longer than the Lease lasts,
// and then until the other one tries again, is too long.
func (s *shop) takeover(ctx context.Context, end func(pod string) error) (time.Duration, error) {
	lease, err := s.lease(ctx)
	if err != nil {
		return 0, err
	}
	former, pod, err := s.leader(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := end(pod); err != nil {
		return 0, err
	}
	err = await(ctx, patience, "another leader", func(ctx context.Context) (bool, error) {
		now, _, err := s.leader(ctx)
		return now != "" && now != former, err
	})
	took := time.Since(began)
	// client-go tries every 2 seconds and up to 120 % more. The rest is for a busy machine.
	most := time.Duration(*lease.LeaseDurationSeconds)*time.Second + 4400*time.Millisecond + 5*time.Second
	if err == nil && took > most {
		err = fmt.Errorf("another leader came after %s: the Lease lasts %d s", shown(took), *lease.LeaseDurationSeconds)
	}
	return took, err
}

// lease returns the Lease of the operator.
func (s *shop) lease(ctx context.Context) (coordinationv1.LeaseSpec, error) {
	var lease coordinationv1.Lease
	err := s.client.Get(ctx, client.ObjectKey{Namespace: operators, Name: s.release()}, &lease)
	return lease.Spec, err
}

// leader returns the identity of the leader, empty if there is none, and the name of its pod.
func (s *shop) leader(ctx context.Context) (identity, pod string, err error) {
	lease, err := s.lease(ctx)
	if err != nil || lease.HolderIdentity == nil {
		return "", "", err
	}
	pod, _, _ = strings.Cut(*lease.HolderIdentity, "_")
	return *lease.HolderIdentity, pod, nil
}

func (s *shop) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	err := s.client.Get(ctx, client.ObjectKey{Namespace: operators, Name: s.release()}, &d)
	return &d, err
}

// helm runs Helm in the operators' namespace.
func (p *proof) helm(ctx context.Context, args ...string) error {
	_, err := p.helmOutput(ctx, args...)
	return err
}

func (p *proof) helmOutput(ctx context.Context, args ...string) (string, error) {
	helm := exec.CommandContext(ctx, p.Helm, append(args, "--kubeconfig", p.kubeconfig, "--namespace", operators)...)
	helm.Env = append(os.Environ(), "HOME="+filepath.Join(p.dir, "helm"))
	out, err := helm.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, lastLine(out))
	}
	return string(out), nil
}
