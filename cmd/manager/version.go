package main

import "github.com/payu-token-operator/payu-token-operator/internal/buildinfo"

// version and commit are set with -ldflags "-X main.version=… -X main.commit=…". A container image is built where there
// is no repository to take the commit from.
var version, commit = "dev", ""

func versionText() string { return buildinfo.Text("payu-token-operator", version, commit) }
