package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed files
var files embed.FS

// users are those that the API server knows, by the name of their kubeconfig file.
var users = map[string]struct{ name, group string }{
	"admin":                   {"admin", "system:masters"},
	"kubelet":                 {"system:node:" + Name, "system:nodes"},
	"kube-controller-manager": {"system:kube-controller-manager", ""},
	"kube-scheduler":          {"system:kube-scheduler", ""},
	"kube-proxy":              {"system:kube-proxy", ""},
}

// settings are what the files are made of.
type settings struct {
	Config
	Address, PodNetwork, User, Token string
}

// writeFiles writes all that the programs read.
func (n *Node) writeFiles() error {
	for _, folder := range []string{"logs", "cni", "api-server", "kubelet"} {
		if err := os.MkdirAll(n.path(folder), 0o755); err != nil {
			return err
		}
	}
	s := settings{Config: n.config, Address: address, PodNetwork: podNetwork}
	var tokens strings.Builder
	errs := []error{
		n.render("containerd.toml", "containerd.toml", s),
		n.render("pods.conflist", "cni/pods.conflist", s),
		n.render("kubelet.yaml", "kubelet.yaml", s),
		writeKey(n.path("service-accounts.key")),
	}
	for file, user := range users {
		s.User, s.Token = file, rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", s.Token, user.name, user.name, user.group)
		errs = append(errs, n.render("kubeconfig.yaml", file+".kubeconfig", s))
	}
	return errors.Join(append(errs, os.WriteFile(n.path("tokens.csv"), []byte(tokens.String()), 0o600))...)
}

func (n *Node) render(name, file string, s settings) error {
	t, err := template.ParseFS(files, "files/"+name)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	if err := t.Execute(&content, s); err != nil {
		return err
	}
	return os.WriteFile(n.path(file), content.Bytes(), 0o600)
}

// writeKey writes the key that signs the tokens of ServiceAccounts.
func writeKey(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (n *Node) path(file string) string { return filepath.Join(n.config.Dir, file) }

func (n *Node) logs() string { return n.path("logs") }
