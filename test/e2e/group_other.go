//go:build !linux

package main

import (
	"context"
	"os/exec"
)

// commandGroup is a command that ends with ctx.
func commandGroup(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}
