package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// aWhile is how long programs are profiled that are busy, and at most the API server, which ends longer requests.
const aWhile = 40 * time.Second

// profileThese takes CPU profiles of operators and of the API server while something is measured, if --profile says so.
// The returned function waits for them.
func (b *bench) profileThese(while string, lasts time.Duration, managers []*manager) (done func()) {
	if b.profile == "" {
		return func() {}
	}
	var all sync.WaitGroup
	for n, m := range managers {
		all.Go(func() {
			page, err := lab.Get(b.Context(), fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", m.pprof, lasts.Seconds()))
			b.keepProfile(fmt.Sprintf("%s-manager-%d.cpu", while, n), page, err)
			page, err = lab.Get(b.Context(), fmt.Sprintf("http://%s/debug/pprof/allocs", m.pprof))
			b.keepProfile(fmt.Sprintf("%s-manager-%d.allocs", while, n), page, err)
		})
	}
	all.Go(func() {
		page, err := b.cluster.Kubectl(b.Context(), "get", "--raw", fmt.Sprintf("/debug/pprof/profile?seconds=%.0f", min(lasts, aWhile).Seconds()))
		b.keepProfile(while+"-kube-apiserver.cpu", page, err)
	})
	return all.Wait
}

// profileHeap takes a profile of what an operator holds, if --profile says so. It has the operator collect garbage.
func (b *bench) profileHeap(m *manager, n int) {
	if b.profile != "" {
		page, err := lab.Get(b.Context(), fmt.Sprintf("http://%s/debug/pprof/heap?gc=1", m.pprof))
		b.keepProfile(fmt.Sprintf("population-manager-%d.heap", n), page, err)
	}
}

func (b *bench) keepProfile(name, page string, err error) {
	if err == nil {
		err = os.MkdirAll(b.profile, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(b.profile, name+".pprof"), []byte(page), 0o644)
	}
	if err != nil {
		b.Say("no profile %s: %v", name, err)
	}
}
