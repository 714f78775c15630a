package lab

import (
	"context"
	"fmt"
	"io"
	"os/exec"
)

// Operator is the program cmd/manager while it runs. Env, Stdout and Stderr are those of exec.Cmd.
type Operator struct {
	Path           string // of the program; that of Program if empty
	Env            []string
	Stdout, Stderr io.Writer

	*Process
	Probes  string // the address of /healthz and /readyz
	Metrics string // the address of /metrics
}

// Start starts the operator with a kubeconfig and more flags. It serves probes, and metrics that need no login, on free addresses.
func (o *Operator) Start(kubeconfig string, flags ...string) error {
	path, err := o.path()
	if err != nil {
		return err
	}
	for _, address := range []*string{&o.Probes, &o.Metrics} {
		if *address, err = FreeAddress(); err != nil {
			return err
		}
	}
	manager := exec.Command(path, append([]string{"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=" + o.Probes,
		"--metrics-bind-address=" + o.Metrics, "--metrics-secure=false"}, flags...)...)
	manager.Env, manager.Stdout, manager.Stderr = o.Env, o.Stdout, o.Stderr
	o.Process, err = Launch(manager)
	return err
}

func (o *Operator) path() (string, error) {
	if o.Path != "" {
		return o.Path, nil
	}
	return Program("manager")
}

// IsReady reports whether the operator's caches are filled.
func (o *Operator) IsReady(ctx context.Context) bool {
	_, err := Get(ctx, "http://"+o.Probes+"/readyz")
	return err == nil
}

// AwaitReady waits until the operator's caches are filled. One that ends instead is an error at once.
func (o *Operator) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-o.Ended():
			cancel(fmt.Errorf("the operator ended instead of becoming ready: %s", o.State()))
		case <-ctx.Done():
		}
	}()
	return Await(ctx, Patience, "the operator is ready (/readyz)", func(ctx context.Context) error {
		return So(o.IsReady(ctx))
	})
}

// Scrape returns the page of the operator's metrics.
func (o *Operator) Scrape(ctx context.Context) (string, error) {
	return Get(ctx, "http://"+o.Metrics+"/metrics")
}
