//go:build linux

package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/sandbox"
)

// playing is an environment variable: this program is then not to test, but to begin a sandbox that runs a script.
const playing = "SANDBOX_TEST_FOLDER"

func TestMain(m *testing.M) {
	sandbox.Enter()
	dir, script := os.Getenv(playing), os.Args[len(os.Args)-1]
	if dir == "" {
		os.Exit(m.Run())
	}
	os.Unsetenv(playing)
	os.Exit(play(dir, script))
}

// play begins a sandbox, or runs the script if it is called in there.
func play(dir, script string) int {
	var err error
	if dir == "inside" {
		sh := exec.Command("sh", "-c", script)
		sh.Stdout, sh.Stderr = os.Stdout, os.Stderr
		err = sh.Run()
	} else {
		os.Setenv(playing, "inside")
		err = sandbox.Run(context.Background(), dir, os.Stderr, script)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Println(err)
		return sandbox.Unfit
	}
	return 0
}

// begin returns a program that runs a script in a sandbox.
func begin(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it takes root")
	}
	program := exec.CommandContext(t.Context(), os.Args[0], script)
	program.Env = append(os.Environ(), playing+"="+t.TempDir())
	return program
}

// output runs it and returns what it prints, unless the machine is not fit for sandboxes.
func output(t *testing.T, program *exec.Cmd) (string, int) {
	t.Helper()
	out, err := program.Output()
	status := program.ProcessState.ExitCode()
	if status == sandbox.Unfit {
		t.Skipf("this machine has no sandboxes: %v: %s", err, out)
	}
	return string(out), status
}

func TestTheStatusIsThatOfTheProgramInside(t *testing.T) {
	if _, status := output(t, begin(t, "exit 7")); status != 7 {
		t.Errorf("it is %d", status)
	}
}

func TestTheHostIsShielded(t *testing.T) {
	const name = "payu-e2e-sandbox-test"
	out, status := output(t, begin(t, "touch /var/lib/"+name+" /var/log/"+name+" /run/"+name+" && ls /var/lib/"+name+" && ls /sys/class/net /proc/net/dev && cat /proc/net/dev && ls -d /proc/[0-9]*"))
	if status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	for _, folder := range []string{"/var/lib", "/var/log", "/run"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
			t.Errorf("a file in %s got out", folder)
		}
	}
	if devices := strings.Count(out, ":"); devices != 2 { // of the headline and the loopback device
		t.Errorf("there are network devices of the host: %s", out)
	}
	if processes := strings.Count(out, "\n/proc/"); processes > 6 {
		t.Errorf("there are processes of the host: %s", out)
	}
}

func TestAllEndsWithTheProgramThatBeganIt(t *testing.T) {
	program := begin(t, "setsid sleep 600 & sleep 600 & echo up; wait")
	in, out, err := os.Pipe() // which all inside inherit
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	program.Stdout = out
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	in.SetReadDeadline(time.Now().Add(30 * time.Second))
	lines := bufio.NewReader(in)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Skipf("this machine has no sandboxes: %q, %v", line, err)
	}
	program.Process.Kill()
	program.Wait()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("something inside still runs: %v", err)
	}
}

func TestACgroupIsMadeWholeAndGoesWithAllBelow(t *testing.T) {
	const name = "payu-e2e-cgroup-test"
	c, err := sandbox.NewCgroup(name)
	if err != nil {
		t.Skipf("this machine gives no control groups: %v", err)
	}
	made, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	one, _ := filepath.Glob("/sys/fs/cgroup/" + name)
	made = append(made, one...)
	if len(made) == 0 {
		t.Fatal("there is none")
	}
	for _, root := range made {
		if err := os.MkdirAll(filepath.Join(root, "pods", "one"), 0o755); err != nil {
			t.Error(err)
		}
	}
	if err := c.Remove(); err != nil {
		t.Error(err)
	}
	expectNone(t, made)

	if err := os.Mkdir(made[len(made)-1], 0o755); err != nil { // so that it cannot be made whole
		t.Fatal(err)
	}
	if _, err := sandbox.NewCgroup(name); err == nil {
		t.Error("it was made though a part of it was there")
	}
	expectNone(t, made)
}

func expectNone(t *testing.T, folders []string) {
	t.Helper()
	for _, folder := range folders {
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%s is still there", folder)
		}
	}
}
