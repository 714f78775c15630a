//go:build linux

// Package sandbox runs a program with mounts, a network and process IDs of its own. All that runs in there ends, and is
// gone with its mounts and devices, when the sandbox ends; and that ends with the program that began it, even if it is
// killed. Nothing else has to be cleaned up than a folder and a control group.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Unfit is the status that a sandbox ends with if the machine does not let it be prepared.
const Unfit = 125

// folder is the environment variable that tells a process that it is the first one of a sandbox.
const folder = "PAYU_E2E_SANDBOX"

// Run runs this program once more, inside, with other arguments, and returns when it has ended, as an *exec.ExitError if
// with a status other than 0. Its data go into the folder dir. When ctx ends, so does everything inside.
func Run(ctx context.Context, dir string, stderr io.Writer, args ...string) error {
	runtime.LockOSThread() // the kernel kills the sandbox when this thread ends, not when the process does
	defer runtime.UnlockOSThread()
	inside := exec.CommandContext(ctx, "/proc/self/exe", args...)
	inside.Env = append(os.Environ(), folder+"="+dir)
	inside.Stdout, inside.Stderr = os.Stdout, stderr
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a Ctrl-C is for the program outside to handle
	}
	err := inside.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Enter is to be called before all else in main. In the first process of a sandbox it does not return: it prepares the
// sandbox, has the program go on in a child, and collects the processes that others leave behind, as init does.
func Enter() {
	dir := os.Getenv(folder)
	if dir == "" {
		return
	}
	os.Unsetenv(folder)
	status, err := first(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
	}
	os.Exit(status)
}

func first(dir string) (status int, err error) {
	if err := furnish(dir); err != nil {
		return Unfit, err
	}
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for {
		var ended syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ended, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("waiting for processes: %w", err)
		case pid == child.Pid && ended.Signaled():
			return 1, fmt.Errorf("ended by signal %q", ended.Signal())
		case pid == child.Pid:
			return ended.ExitStatus(), nil
		}
	}
}

// furnish mounts what a node is used to have for itself.
func furnish(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	for _, path := range []string{"/var/lib", "/var/log"} {
		if err := shield(path, filepath.Join(dir, filepath.Base(path))); err != nil {
			return fmt.Errorf("shielding %s: %w", path, err)
		}
	}
	return nil
}

// shield has what is written below path land in the folder dir.
func shield(path, dir string) error {
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	return syscall.Mount("overlay", path, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path, upper, work))
}
