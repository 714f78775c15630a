package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// keep limits the memory of a process that may run for days.
const keep = 10_000

const usage = `payu-simulator simulates PayU's token server (POST /oauth/token) and a resource to use its tokens on
(GET /resource[?scope=...] with Authorization: Bearer ...).

Flags:
%s
%s`

// options are the flags, parsed and checked one by one.
type options struct {
	bindAddress      string
	adminBindAddress string
	tls              bool
	caFileOut        string
	certFile         string
	keyFile          string
	dnsNames         []string
	mode             string
	tokenTTL         time.Duration
	reuseLimit       int
	latency          time.Duration
	omit             string
	jwt              bool
	clients          []string
	clientsFile      string
}

func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("payu-simulator", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&o.bindAddress, "bind-address", "127.0.0.1:8080", "address of the token server; port 0 picks one and prints it")
	f.StringVar(&o.adminBindAddress, "admin-bind-address", "127.0.0.1:8090",
		"address of the admin API, plain http and without authentication: keep it on loopback; 0 is off")
	f.BoolVar(&o.tls, "tls", false, "serve TLS with a certificate created at start, for localhost and --tls-dns-names")
	f.StringVar(&o.caFileOut, "ca-file-out", "", "with --tls: write the CA certificate to this `file` (PEM), for the operator's --ca-file")
	f.StringSliceVar(&o.dnsNames, "tls-dns-names", nil, "with --tls: additional DNS `names` of the certificate, separated by commas")
	f.StringVar(&o.certFile, "tls-cert-file", "", "serve TLS with the certificate in this `file` (PEM)")
	f.StringVar(&o.keyFile, "tls-private-key-file", "", "private key `file` of --tls-cert-file (PEM)")
	f.StringVar(&o.mode, "mode", string(payutest.Default),
		"what a client that already has a token gets: default (one more), reuse (the same one), revoke-previous (a new one, and the old one is revoked)")
	f.DurationVar(&o.tokenTTL, "token-ttl", 2*time.Hour, "lifetime of a token")
	f.IntVar(&o.reuseLimit, "reuse-limit-percent", 100, "with --mode=reuse: how much of its lifetime a token is reused, in percent")
	f.DurationVar(&o.latency, "latency", 0, "delay of every token response")
	f.StringVar(&o.omit, "omit", "", "`members` that token responses leave out, separated by commas: expires_in, scope, created_at")
	f.BoolVar(&o.jwt, "jwt", false, "issue JSON Web Tokens, as PayU does for partner_payments")
	f.StringArrayVar(&o.clients, "client", nil,
		"register a client, as `id:secret[:scope scope]`; may be repeated (a secret with a colon needs --clients-file)")
	f.StringVar(&o.clientsFile, "clients-file", "",
		"register the clients in a JSON `file`, a list of clients as the admin API takes them")
	return f
}

// parseOptions returns the options, or pflag.ErrHelp after writing the help text.
func parseOptions(args []string, help io.Writer) (options, error) {
	var o options
	f := o.flags()
	f.Usage = func() { fmt.Fprintf(help, usage, f.FlagUsagesWrapped(100), payutest.AdminHelp) }
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.validate()
}

func (o options) validate() error {
	switch {
	case (o.certFile == "") != (o.keyFile == ""):
		return errors.New("--tls-cert-file and --tls-private-key-file need each other: set both")
	case o.tls && o.certFile != "":
		return errors.New("--tls creates a certificate: set either --tls or --tls-cert-file")
	case !o.tls && (o.caFileOut != "" || len(o.dnsNames) > 0):
		return errors.New("--ca-file-out and --tls-dns-names need --tls")
	case o.reuseLimit < 1:
		return fmt.Errorf("--reuse-limit-percent %d: want 1 to 100", o.reuseLimit)
	}
	return payutest.Settings{
		Mode: payutest.Mode(o.mode), TokenTTL: o.tokenTTL, ReuseLimitPercent: o.reuseLimit, Latency: o.latency, Omit: o.omit,
	}.Validate()
}

// config returns the server's configuration; it reads the clients file.
func (o options) config() (payutest.Config, error) {
	clients, err := readClients(o.clientsFile, o.clients)
	return payutest.Config{
		Clients: clients, Mode: payutest.Mode(o.mode), TokenTTL: o.tokenTTL,
		ReuseLimitPercent: o.reuseLimit, Latency: o.latency, Omit: o.omit, JWT: o.jwt, Keep: keep,
	}, err
}
