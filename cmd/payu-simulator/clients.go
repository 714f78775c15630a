package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// readClients returns the clients of the file, if any, and of the flags. Its errors never show a secret.
func readClients(file string, flags []string) ([]payutest.Client, error) {
	clients, err := readClientsFile(file)
	if err != nil {
		return nil, err
	}
	for n, flag := range flags {
		client, ok := parseClient(flag)
		if !ok {
			return nil, fmt.Errorf("--client number %d: want id:secret or id:secret:scope scope", n+1)
		}
		clients = append(clients, client)
	}
	return clients, nil
}

func readClientsFile(file string) ([]payutest.Client, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--clients-file: %w", err)
	}
	var clients []payutest.Client
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&clients); err != nil {
		return nil, fmt.Errorf("--clients-file %q: %w", file, err)
	}
	for n, client := range clients {
		if client.ID == "" || client.Secret == "" {
			return nil, fmt.Errorf("--clients-file %q: client number %d has no client_id or client_secret", file, n+1)
		}
	}
	return clients, nil
}

func parseClient(flag string) (payutest.Client, bool) {
	id, rest, _ := strings.Cut(flag, ":")
	secret, scopes, _ := strings.Cut(rest, ":")
	return payutest.Client{ID: id, Secret: secret, Scopes: strings.Fields(scopes)}, id != "" && secret != ""
}
