package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
)

func main() {
	c, err := testcluster.Start()
	if err != nil {
		panic(err)
	}
	defer c.Stop()
	fmt.Println(c.Kubeconfig)
	os.WriteFile("/tmp/docs-kc", []byte(c.Kubeconfig), 0o600)
	dir := filepath.Dir(c.KubectlPath)
	kcm := exec.Command(filepath.Join(dir, "kube-controller-manager"), "--kubeconfig="+c.Kubeconfig, "--leader-elect=false", "--secure-port=0", "--controllers=garbage-collector-controller,namespace-controller,cronjob-controller,job-controller")
	kcm.Stderr, _ = os.Create("/tmp/docs-kcm.log")
	if err := kcm.Start(); err != nil {
		panic(err)
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
	<-ch
	kcm.Process.Kill()
	kcm.Wait()
}
