package testcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// moduleRoot is the folder of go.mod, seen from the working directory.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("looking for go.mod: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("looking for go.mod: start this program in a folder of its module")
	}
	return filepath.Dir(file), nil
}

// assetsFolder is the folder of etcd, kube-apiserver and kubectl. To get it may take minutes, the first time.
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
