package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"testing"
	"time"
)

func TestACommandEndsWithAllThatItStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out, err := os.Pipe() // which both inherit
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	command := commandGroup(ctx, "sh", "-c", "sleep 600 & echo up; wait")
	command.Stdout = out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	in.SetReadDeadline(time.Now().Add(30 * time.Second))
	lines := bufio.NewReader(in)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cancel()
	command.Wait()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("something that it started still runs: %v", err)
	}
}
