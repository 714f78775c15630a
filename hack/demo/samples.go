package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// The samples of the tour.
const (
	samples         = "config/samples"
	credentialsFile = samples + "/credentials.yaml"
	credentialsName = "payu-credentials"
	tokenName       = "payment-links"
	targetName      = "payment-links-token"
)

// sampleClients returns the OAuth clients of the sample credentials, by the name of their Secret.
func sampleClients() (map[string]payutest.Client, error) {
	file, err := os.Open(credentialsFile)
	if err != nil {
		return nil, fmt.Errorf("%w: start the demo in the folder of go.mod", err)
	}
	defer file.Close()
	clients := map[string]payutest.Client{}
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var secret corev1.Secret
		err := decoder.Decode(&secret)
		if errors.Is(err, io.EOF) {
			return clients, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", credentialsFile, err)
		}
		clients[secret.Name] = clientIn(secret)
	}
}

// clientIn returns the client of one Secret: one key ends in "id", the other one in "secret".
func clientIn(secret corev1.Secret) payutest.Client {
	var client payutest.Client
	for key, value := range secret.StringData {
		switch {
		case strings.HasSuffix(key, "id"):
			client.ID = value
		case strings.HasSuffix(key, "secret"):
			client.Secret = value
		}
	}
	return client
}
