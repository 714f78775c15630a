package main

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// commandGroup is a command that, when ctx ends, ends with all that it has started: make and shells leave that behind.
func commandGroup(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	return command
}
