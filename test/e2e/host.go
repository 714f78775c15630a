package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// needs are the programs of the host that a node is made of, and Debian's packages of them.
var needs = []struct{ file, packageName string }{
	{"/usr/bin/containerd", "containerd"},
	{"/usr/bin/ctr", "containerd"},
	{"/usr/sbin/runc", "runc"},
	{"/usr/lib/cni/ptp", "containernetworking-plugins"},
	{"/usr/sbin/iptables", "iptables"},
	{"/bin/ip", "iproute2"},
}

// otherwise is what to do about a machine that cannot run a node.
const otherwise = "run this as root on Debian, or name a cluster with E2E_KUBECONFIG (docs/e2e.md)"

// prepareHost sees to it that the machine can run a node. What is missing it installs.
func prepareHost(ctx context.Context, say func(string, ...any)) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return fmt.Errorf("%w: that takes Linux, and root: %s", errUnable, otherwise)
	}
	packages := missingPackages()
	if len(packages) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%w: it lacks %s, and apt-get to install them: %s", errUnable, strings.Join(packages, ", "), otherwise)
	}
	say("installing %s with apt-get", strings.Join(packages, ", "))
	for _, args := range [][]string{{"update"}, append([]string{"install", "--yes", "--no-install-recommends"}, packages...)} {
		apt := exec.Command("apt-get", args...) // not to be killed: half an installation would be the host's trouble
		apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out, err := apt.CombinedOutput()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w: apt-get %s: %w: %s", errUnable, strings.Join(args, " "), err, lastLine(out))
		}
	}
	if packages = missingPackages(); len(packages) > 0 {
		return fmt.Errorf("%w: it lacks %s where Debian has them: %s", errUnable, strings.Join(packages, ", "), otherwise)
	}
	return nil
}

func missingPackages() []string {
	var packages []string
	for _, need := range needs {
		if _, err := os.Stat(need.file); err != nil && !slices.Contains(packages, need.packageName) {
			packages = append(packages, need.packageName)
		}
	}
	return packages
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// kit is all that a run takes along. It is built before, where there is a network.
type kit struct {
	Root     string // the repository
	Programs string // the folder of kube-apiserver and so on; empty on a cluster that is there
	Helm     string
	Images   images
}

// gather builds the kit. Its files go into the folder dir.
func gather(ctx context.Context, dir, prefix string) (kit, error) {
	root, err := lab.Root()
	if err != nil {
		return kit{}, err
	}
	k := kit{Root: root}
	if k.Helm, err = output(ctx, k, "go", "tool", "-modfile=hack/helm/go.mod", "-n", "helm"); err != nil {
		return kit{}, err
	}
	k.Images, err = buildImages(ctx, k, dir, prefix)
	return k, err
}

// output runs a program in the repository and returns what it prints, without line feeds at the end. What it has to say
// on stderr is for the user: it may take minutes.
func output(ctx context.Context, k kit, name string, args ...string) (string, error) {
	command := commandGroup(ctx, name, args...)
	command.Stderr = os.Stderr
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "KUBEBUILDER_ASSETS=") // where there is no kubelet
	})
	command.Dir = k.Root
	out, err := command.Output()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return "", fmt.Errorf("%s: %w", strings.Join(command.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
