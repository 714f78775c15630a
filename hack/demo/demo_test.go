package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMaskedGivesNothingAway(t *testing.T) {
	for _, length := range []int{0, 1, 15, 16, 64} {
		value := strings.Repeat("x", length)
		if shown := strings.Count(masked(value), "x"); shown > 4 || shown > length/4 {
			t.Errorf("of %d characters, %d are shown", length, shown)
		}
	}
}

func TestScreenIsPlainWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	s.command("kubectl get pods")
	s.output("a\n\nb\n")
	if want := "    $ kubectl get pods\n    a\n\n    b\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestSampleClients(t *testing.T) {
	t.Chdir("../..")
	clients, err := sampleClients()
	if err != nil {
		t.Fatal(err)
	}
	if len(clients) != 2 || clients[credentialsName].ID == "" {
		t.Errorf("got %d clients, the one of %s with the ID %q", len(clients), credentialsName, clients[credentialsName].ID)
	}
	for name, client := range clients {
		if client.ID == "" || client.Secret == "" {
			t.Errorf("Secret %q: the client's ID or secret was not found", name)
		}
	}
}

func TestShellLineQuotes(t *testing.T) {
	got := shellLine([]string{"patch", "-p", `{"a":"b"}`})
	if want := `patch -p '{"a":"b"}'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
