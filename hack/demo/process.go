package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// grace is how long a process may take to stop.
const grace = 10 * time.Second

// logTo creates the file for a program's stderr.
func (t *tour) logTo(name string) (*os.File, error) {
	return os.Create(filepath.Join(t.logs, name+".log"))
}

// attend stops the tour if a process ends early, and the process after the tour.
func (t *tour) attend(name string, p *process.Process) {
	go func() {
		<-p.Ended()
		t.end(fmt.Errorf("the %s ended before the tour did: %s", name, p.State()))
	}()
	t.later(func() error { return p.Stop(grace) })
}
