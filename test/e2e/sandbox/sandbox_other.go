//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"io"
)

// Unfit is the status of a sandbox that could not be prepared.
const Unfit = 125

var errNotLinux = errors.New("only Linux has sandboxes")

// Cgroup is a control group.
type Cgroup string

// NewCgroup fails.
func NewCgroup(string) (Cgroup, error) { return "", errNotLinux }

// Remove does nothing.
func (Cgroup) Remove() error { return nil }

// Run fails.
func Run(context.Context, string, io.Writer, ...string) error { return errNotLinux }

// Enter does nothing.
func Enter() {}
