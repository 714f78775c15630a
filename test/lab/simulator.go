package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// Simulator is PayU's token server, played by cmd/payu-simulator.
type Simulator struct {
	*Process
	payutest.Admin
	URL string
	// CAFile holds the authority that its certificate is signed by.
	CAFile string
}

// StartSimulator starts a token server that knows some clients, with more flags if there are any, and waits until it listens.
// Its files are in a folder. It returns the Simulator also with an error if there is a process to be stopped.
func StartSimulator(ctx context.Context, log io.Writer, dir string, clients []payutest.Client, flags ...string) (*Simulator, error) {
	path, err := Program("payu-simulator")
	if err != nil {
		return nil, err
	}
	known, err := json.Marshal(clients)
	if err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "simulator-"); err != nil {
		return nil, err
	}
	clientsFile := filepath.Join(dir, "clients.json")
	if err := os.WriteFile(clientsFile, known, 0o600); err != nil {
		return nil, err
	}
	caFile := filepath.Join(dir, "ca.pem")
	return startSimulator(ctx, caFile, log, exec.Command(path, append([]string{"--bind-address=127.0.0.1:0", "--admin-bind-address=127.0.0.1:0",
		"--tls", "--ca-file-out=" + caFile, "--clients-file=" + clientsFile}, flags...)...))
}

func startSimulator(ctx context.Context, caFile string, log io.Writer, cmd *exec.Cmd) (*Simulator, error) {
	ctx, cancel := Within(ctx, Patience, "the simulator listens")
	defer cancel()
	s := &Simulator{CAFile: caFile}
	greeting, stdout := io.Pipe()
	cmd.Stdout, cmd.Stderr = stdout, log
	var err error
	if s.Process, err = Launch(cmd); err != nil {
		return nil, err
	}
	go func() {
		<-s.ended
		stdout.CloseWithError(fmt.Errorf("it ended: %s", s.State()))
	}()
	stop := context.AfterFunc(ctx, func() { greeting.CloseWithError(context.Cause(ctx)) })
	defer stop()
	return s, s.readAddresses(greeting)
}

// readAddresses reads the line that the simulator prints when it listens.
func (s *Simulator) readAddresses(greeting *io.PipeReader) error {
	line, err := bufio.NewReader(greeting).ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for the simulator's addresses: %w", err)
	}
	go io.Copy(io.Discard, greeting) // it prints nothing more; if it did, it would not have to wait
	if _, err = fmt.Sscanf(line, "payu-simulator: listening on %s (admin %s", &s.URL, &s.BaseURL); err != nil {
		return fmt.Errorf("the simulator printed %q, not its addresses: %w", line, err)
	}
	s.BaseURL = strings.TrimSuffix(s.BaseURL, ")")
	return nil
}
