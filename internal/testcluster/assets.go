package testcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// moduleRoot is the folder of go.mod, relative to the working directory.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("finding go.mod: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("finding go.mod: start this program in a folder of its module")
	}
	return filepath.Dir(file), nil
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
