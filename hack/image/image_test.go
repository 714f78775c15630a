package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestArchive(t *testing.T) {
	t.Parallel()
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			binary := buildWho(t, arch)
			image := read(t, archive(t, binary, arch))
			check(t, validate.Image(image))

			config := must(image.ConfigFile())(t)
			want := v1.Config{Entrypoint: []string{"/who"}, User: "65532:65532", Labels: map[string]string{"a": "b=c", "d": ""}}
			if config.OS != "linux" || config.Architecture != arch || !reflect.DeepEqual(config.Config, want) {
				t.Errorf("%s/%s, %+v, and should be for linux/%s, %+v", config.OS, config.Architecture, config.Config, arch, want)
			}
			files := filesOf(t, image)
			if !bytes.Equal(files["who 0755"], must(os.ReadFile(binary))(t)) {
				t.Errorf("it does not hold the binary: %q", slices.Sorted(maps.Keys(files)))
			}
			expectAuthorities(t, files["etc/ssl/certs/ca-certificates.crt 0644"])
		})
	}
}

// expectAuthorities wants a PEM file of certificates that are authorities, among them one that PayU's address may use.
func expectAuthorities(t *testing.T, content []byte) {
	t.Helper()
	names := map[string]bool{}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		certificate := must(x509.ParseCertificate(block.Bytes))(t)
		if !certificate.IsCA {
			t.Errorf("%s is no authority", certificate.Subject)
		}
		names[certificate.Subject.CommonName] = true
	}
	for _, name := range []string{"DigiCert Global Root G2", "ISRG Root X1", "Amazon Root CA 1"} {
		if !names[name] {
			t.Errorf("%s is not among the %d authorities", name, len(names))
		}
	}
	if names["Izenpe.com"] { // trusted for certificates of before April 2026 only
		t.Error("there is an authority of which one condition is lost")
	}
}

// TestRunsAsNonroot runs the entrypoint as a container engine would, with the content of the image as its root.
func TestRunsAsNonroot(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux may change the root")
	}
	image := read(t, archive(t, buildWho(t, runtime.GOARCH), runtime.GOARCH))
	root := t.TempDir()
	for entry, content := range filesOf(t, image) {
		var path string
		var mode os.FileMode
		must(fmt.Sscanf(entry, "%s %o", &path, &mode))(t)
		file := filepath.Join(root, path)
		check(t, os.MkdirAll(filepath.Dir(file), 0o755))
		check(t, os.WriteFile(file, content, mode))
	}
	config := must(image.ConfigFile())(t).Config
	command := exec.CommandContext(t.Context(), "chroot", "--userspec="+config.User, root, config.Entrypoint[0])
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := command.CombinedOutput()
	if got, want := string(out), "/who nonroot nonroot true\n"; err != nil || got != want {
		t.Errorf("it said %q (%v), and should say %q", got, err, want)
	}
}

func TestReproducible(t *testing.T) {
	t.Parallel()
	binary := buildWho(t, "amd64")
	first := must(os.ReadFile(archive(t, binary, "amd64")))(t)

	elsewhere := filepath.Join(t.TempDir(), "who")
	check(t, os.WriteFile(elsewhere, must(os.ReadFile(binary))(t), 0o700))
	check(t, os.Chtimes(elsewhere, time.Time{}, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)))
	if second := must(os.ReadFile(archive(t, elsewhere, "amd64")))(t); !bytes.Equal(first, second) {
		t.Error("the same binary made another archive")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	binary := buildWho(t, "amd64")
	text := filepath.Join(t.TempDir(), "text")
	check(t, os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700))
	cases := map[string]struct {
		change func(*options)
		says   string
	}{
		"no binary":         {func(o *options) { o.binary = "" }, "set --binary, --name and --output"},
		"a missing binary":  {func(o *options) { o.binary = filepath.Join(t.TempDir(), "none") }, "no such file"},
		"a script":          {func(o *options) { o.binary = text }, "GOOS=linux"},
		"another platform":  {func(o *options) { o.platform = "linux/arm64" }, "GOARCH=arm64"},
		"an odd platform":   {func(o *options) { o.platform = "linux/s390x" }, "linux/s390x is not supported"},
		"another OS":        {func(o *options) { o.platform = "windows/amd64" }, "windows/amd64 is not supported"},
		"a bad name":        {func(o *options) { o.name = "Payu:v1" }, "--name"},
		"a bad output":      {func(o *options) { o.output = filepath.Join(text, "x.tar") }, "writing the archive"},
		"a dynamic program": {func(o *options) { o.binary = buildDynamic(t) }, "CGO_ENABLED=0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "x.tar")
			o := options{binary: binary, name: "x:v1", platform: "linux/amd64", output: output}
			c.change(&o)
			err := run(o)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("it says %v, and should say %q", err, c.says)
			}
			if left := must(filepath.Glob(output + "*"))(t); len(left) > 0 {
				t.Errorf("it left %q", left)
			}
		})
	}
}

func buildWho(t *testing.T, arch string) string {
	t.Helper()
	return goBuild(t, []string{"CGO_ENABLED=0", "GOARCH=" + arch}, "./testdata/who")
}

// buildDynamic links the way that cgo does, for which no C compiler is needed.
func buildDynamic(t *testing.T) string {
	t.Helper()
	return goBuild(t, []string{"CGO_ENABLED=0", "GOARCH=amd64"}, "-buildmode=pie", "./testdata/who")
}

func goBuild(t *testing.T, env []string, args ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "who")
	build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-o", binary}, args...)...)
	build.Env = append(append(os.Environ(), "GOOS=linux"), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	return binary
}

// archive runs the program, and returns the file that it wrote.
func archive(t *testing.T, binary, arch string) string {
	t.Helper()
	o := options{binary: binary, name: "registry.example/who:v1", platform: "linux/" + arch,
		output: filepath.Join(t.TempDir(), "new", "who.tar"), labels: map[string]string{}}
	check(t, o.addLabel("a=b=c"))
	check(t, o.addLabel("d="))
	check(t, run(o))
	return o.output
}

func read(t *testing.T, file string) v1.Image {
	t.Helper()
	tag := must(name.NewTag("registry.example/who:v1"))(t)
	return must(tarball.ImageFromPath(file, &tag))(t)
}

// filesOf returns the content of all files, by their path and mode. All are root's, so that nothing in a container
// changes them.
func filesOf(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	content := mutate.Extract(image)
	defer content.Close()
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		check(t, err)
		if header.Uid != 0 || header.Gid != 0 || header.Mode&0o022 != 0 {
			t.Errorf("%s is writable: %v", header.Name, header)
		}
		if header.Typeflag == tar.TypeReg {
			files[fmt.Sprintf("%s %04o", header.Name, header.Mode)] = must(io.ReadAll(archive))(t)
		}
	}
}

// must ends the test unless err is nil.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
