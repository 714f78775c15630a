// Command crd compares the CRD in the work tree with that of earlier commits: what was accepted must still be accepted, and kept.
//
//	go run ./hack/crd HEAD HEAD^
package main

import (
	"fmt"
	"os"
	"os/exec"

	"sigs.k8s.io/yaml"
)

const file = "config/crd/bases/auth.payu.in_payutokens.yaml"

// deliberate has a reason for each finding that is meant. Remove it when the commits that are compared no longer differ in it.
var deliberate = map[string]string{}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
	}
}

func run(commits []string) error {
	now, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, commit := range commits {
		before, err := exec.Command("git", "show", commit+":"+file).Output()
		if err != nil {
			fmt.Fprintf(os.Stderr, "crd: not compared with that of %s, which git does not have\n", commit)
			continue
		}
		if err := compare(before, now); err != nil {
			return fmt.Errorf("since %s: %w", commit, err)
		}
	}
	return nil
}

func compare(before, now []byte) error {
	var was, is map[string]any
	if err := yaml.Unmarshal(before, &was); err != nil {
		return err
	}
	if err := yaml.Unmarshal(now, &is); err != nil {
		return err
	}
	for _, finding := range findings(was, is) {
		if _, meant := deliberate[finding]; !meant {
			return fmt.Errorf("%s: what was accepted must still be accepted, and kept; if it is meant, say why in hack/crd", finding)
		}
	}
	return nil
}
