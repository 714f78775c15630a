package main

import "github.com/payu-token-operator/payu-token-operator/internal/buildinfo"

// version and commit are set with -ldflags "-X main.version=… -X main.commit=…".
var version, commit = "dev", ""

func versionText() string { return buildinfo.Text("kubectl-payutoken", version, commit) }
