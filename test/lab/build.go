package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Version and Commit are those of the programs that the lab builds.
const (
	Version = "v1.2.3-lab"
	Commit  = "0123abc"
)

// Root returns the folder of go.mod.
var Root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("finding go.mod: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("finding go.mod: start this program in a folder of its module")
	}
	return filepath.Dir(file), nil
})

// Programs returns a folder with the programs of cmd/: manager, payu-simulator and kubectl-payutoken. They are compiled as by
// `make build`, so that nothing is compiled twice, and linked once for all processes.
var Programs = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	folder, err := programsFolder(root)
	if err != nil {
		return "", err
	}
	unlock, err := lock(folder)
	if err != nil {
		return "", err
	}
	defer unlock()
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -X main.version="+Version+" -X main.commit="+Commit, "-o", folder+"/", "./cmd/...")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs of cmd/: %w\n%s", err, out)
	}
	return folder, nil
})

// programsFolder is one of this copy of the repository, and outside of it: the go command takes no result of a test from its cache
// for which a file of the module is as new as a program that was just linked.
func programsFolder(root string) (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "payu-token-operator-lab", fmt.Sprintf("%x", sha256.Sum256([]byte(root)))[:12]), err
}

// lookAtSources has the go command know what a test depends on that runs a program: it takes a former result from its cache unless
// a file has changed that the test itself has read. What is read before the first test does not count.
var lookAtSources = sync.OnceValue(func() error {
	root, err := Root()
	if err != nil {
		return err
	}
	for _, folder := range []string{"api", "charts", "cmd", "config", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				_, err = os.ReadDir(path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
})

// lock makes a folder, and waits until no other process has it.
func lock(folder string) (unlock func(), err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

// Program returns the path of one of them.
func Program(name string) (string, error) {
	folder, err := Programs()
	return filepath.Join(folder, name), errors.Join(err, lookAtSources())
}

// assetsFolder is the folder of etcd, kube-apiserver and kubectl. The first time, it may take minutes to get it.
func assetsFolder(root string) (string, error) {
	if folder := os.Getenv("KUBEBUILDER_ASSETS"); folder != "" {
		return folder, nil
	}
	script := exec.Command(filepath.Join(root, "hack", "controlplane", "assets"))
	script.Stderr = os.Stderr
	out, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("getting kube-apiserver with %s: %w", script.Path, err)
	}
	return strings.TrimSpace(string(out)), nil
}
