package main_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

func TestTheProbesAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := s.operate(lab.RunPayU(t, payutest.Config{}))
	s.create("links")
	s.AwaitReady("links")
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/readyz/caches": http.StatusOK, "/healthz/overdue": http.StatusOK, "/metrics": http.StatusNotFound} {
		if status, body := o.probe(path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	for _, word := range []string{`"msg":"Ready"`, `"namespaces":"` + s.Namespace + `"`, `"payUTokens":"all"`, `"production":"https://accounts.payu.in"`} {
		if !strings.Contains(o.Log.Text(), word) {
			t.Errorf("the log does not say %s", word)
		}
	}
}

func TestAStandbyIsReady(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	flags := []string{"--leader-elect", "--leader-election-namespace=" + s.Namespace}
	server := lab.RunPayU(t, payutest.Config{})
	s.operate(server, flags...)
	s.create("links")
	s.AwaitReady("links")
	standby := s.operate(server, flags...)
	if status, body := standby.probe("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz of a standby: %d %s", status, body)
	}
}

// mostMemory is what an idle operator may hold, in KiB.
const mostMemory = 50 << 10

// TestAnIdleOperatorStartsSoonAndIsSmall is not parallel: it measures. Only the memory is a promise.
func TestAnIdleOperatorStartsSoonAndIsSmall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc to read the memory from")
	}
	const starts = 5
	var times []time.Duration
	var rss []int
	for range starts {
		began := time.Now()
		o := launch(t, cluster.Kubeconfig, "--log-level=info", "--metrics-bind-address="+lab.Must(lab.FreeAddress())(t))
		times = append(times, time.Since(began))
		o.AwaitLog("Serving metrics server")
		o.AwaitLog("Starting workers")
		rss = append(rss, o.memory("VmRSS"))
		o.Stop()
	}
	slices.Sort(times)
	slices.Sort(rss)
	t.Logf("from exec to ready: median %s of %v", times[starts/2].Round(time.Millisecond), times)
	t.Logf("resident when idle: median %.1f MiB of %d KiB", float64(rss[starts/2])/1024, rss)
	if most := rss[starts-1]; most > mostMemory {
		t.Errorf("%d KiB are resident, want %d at most", most, mostMemory)
	}
}

// memory returns a figure of /proc, in KiB.
func (o *operator) memory(figure string) int {
	o.Helper()
	status := lab.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", o.PID())))(o.T)
	found := regexp.MustCompile(figure + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		o.Fatalf("no %s in:\n%s", figure, status)
	}
	return lab.Must(strconv.Atoi(string(found[1])))(o.T)
}
