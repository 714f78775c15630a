package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// grace is how long requests may take to end after the program was told to stop.
const grace = 5 * time.Second

// simulator is a server that listens.
type simulator struct {
	server *payutest.Server
	token  *payutest.Endpoint
	admin  *payutest.Endpoint // nil if it is off
}

// start listens on both addresses; a log record per token request goes to logs.
func start(o options, logs io.Writer) (*simulator, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	config.Logger = slog.New(slog.NewJSONHandler(logs, nil))
	errorLog := slog.NewLogLogger(config.Logger.Handler(), slog.LevelWarn)
	sim := &simulator{server: payutest.New(config)}
	if sim.token, err = payutest.Listen(o.bindAddress, sim.server, tlsConfig, errorLog); err != nil {
		return nil, fmt.Errorf("--bind-address: %w", err)
	}
	if o.adminBindAddress == "0" {
		return sim, nil
	}
	if sim.admin, err = payutest.Listen(o.adminBindAddress, sim.server.AdminHandler(), nil, errorLog); err != nil {
		return nil, errors.Join(fmt.Errorf("--admin-bind-address: %w", err), sim.token.Close())
	}
	return sim, nil
}

// tlsConfig returns nil for plain http.
func (o options) tlsConfig() (*tls.Config, error) {
	switch {
	case o.certFile != "":
		certificate, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert-file: %w", err)
		}
		return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
	case o.tls:
		return o.selfMade()
	}
	return nil, nil
}

func (o options) selfMade() (*tls.Config, error) {
	ca, err := payutest.NewAuthority()
	if err != nil {
		return nil, fmt.Errorf("creating a CA: %w", err)
	}
	certificate, err := ca.Certificate(o.dnsNames...)
	if err != nil {
		return nil, fmt.Errorf("--tls-dns-names: %w", err)
	}
	if o.caFileOut != "" {
		if err := os.WriteFile(o.caFileOut, ca.PEM(), 0o644); err != nil {
			return nil, fmt.Errorf("--ca-file-out: %w", err)
		}
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
}

// String returns the addresses.
func (s *simulator) String() string {
	if s.admin == nil {
		return s.token.URL
	}
	return fmt.Sprintf("%s (admin %s)", s.token.URL, s.admin.URL)
}

// stop lets requests end, and responds to those that hang.
func (s *simulator) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.server.ClearFaults()
	err := s.token.Shutdown(ctx)
	if s.admin != nil {
		err = errors.Join(err, s.admin.Shutdown(ctx))
	}
	return err
}
