//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	cgroups = "/sys/fs/cgroup"
	// patience is how long the kernel may take to let go of a control group whose processes have ended.
	patience = 10 * time.Second
	// processes is how many of the host's processes a control group counts for when there is not CPU enough for all. A
	// kernel takes it for one.
	processes = 10
)

// Cgroup is a control group of all hierarchies that there are.
type Cgroup string

// NewCgroup makes one, whole or not at all.
func NewCgroup(name string) (Cgroup, error) {
	err := newCgroup(name)
	if err != nil {
		err = errors.Join(err, Cgroup(name).Remove())
	}
	return Cgroup(name), err
}

func newCgroup(name string) error {
	if controllers, err := os.ReadFile(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		return newUnified(name, strings.Fields(string(controllers)))
	}
	hierarchies, err := os.ReadDir(cgroups)
	if err != nil {
		return err
	}
	for _, each := range hierarchies {
		if !each.IsDir() { // a link, such as cpu to cpu,cpuacct
			continue
		}
		if err := os.Mkdir(filepath.Join(cgroups, each.Name(), name), 0o755); err != nil {
			return err
		}
	}
	return set(filepath.Join(cgroups, "cpu", name, "cpu.shares"), 1024*processes)
}

// newUnified makes it in the one hierarchy of version 2, with all controllers, since a kubelet wants them.
func newUnified(name string, controllers []string) error {
	enable := []byte("+" + strings.Join(controllers, " +"))
	if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), enable, 0o644); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(cgroups, name), 0o755); err != nil {
		return err
	}
	return set(filepath.Join(cgroups, name, "cpu.weight"), 100*processes)
}

func set(file string, number int) error {
	return os.WriteFile(file, []byte(strconv.Itoa(number)), 0o644)
}

// Remove removes the control group and all below it. Nothing may run there any more.
func (c Cgroup) Remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := c.remove()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("removing control group %q: %w", c, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c Cgroup) remove() error {
	roots, err := filepath.Glob(filepath.Join(cgroups, "*", string(c)))
	if err != nil {
		return err
	}
	var errs []error
	for _, root := range append(roots, filepath.Join(cgroups, string(c))) {
		for _, path := range slices.Backward(folders(root)) {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// folders lists a folder and all below it, each before what it holds; none if there is no such folder.
func folders(root string) []string {
	var list []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // it is gone already
		}
		if entry.IsDir() {
			list = append(list, path)
		}
		return nil
	})
	return list
}
