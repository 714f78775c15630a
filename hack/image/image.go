package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the nonroot user of the distroless images.
const user = "65532:65532"

const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// epoch is the time of all files in an image, which makes it reproducible.
var epoch = time.Unix(0, 0).UTC()

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkBinary refuses a binary that would not start as the only file of the image.
func checkBinary(file string, platform *v1.Platform) error {
	machine, known := machines[platform.Architecture]
	if platform.OS != "linux" || !known {
		return fmt.Errorf("%s is not supported: build for linux/amd64 or linux/arm64", platform)
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	binary, err := elf.NewFile(content)
	if err != nil {
		return fmt.Errorf("not a Linux program, build it with GOOS=linux: %w", err)
	}
	if binary.Machine != machine {
		return fmt.Errorf("built for %s, not for %s: build it with GOARCH=%[2]s, or set --platform", binary.Machine, platform.Architecture)
	}
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New("it needs a dynamic linker, which the image lacks: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// build returns an image of two layers: a common one, and the binary.
func build(binary string, platform *v1.Platform, labels map[string]string) (v1.Image, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	entrypoint := "/" + filepath.Base(binary)
	base, err := layer(
		file{"etc/", 0o755, nil},
		file{"etc/passwd", 0o644, []byte(passwd)},
		file{"etc/group", 0o644, []byte(group)},
		file{"etc/ssl/", 0o755, nil},
		file{"etc/ssl/certs/", 0o755, nil},
		file{"etc/ssl/certs/ca-certificates.crt", 0o644, authorities()},
	)
	if err != nil {
		return nil, err
	}
	program, err := layer(file{entrypoint[1:], 0o755, content})
	if err != nil {
		return nil, err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Created:      v1.Time{Time: epoch},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Entrypoint: []string{entrypoint}, User: user, Labels: maps.Clone(labels)},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, addendum(base, "the nonroot user and the certificate authorities"), addendum(program, entrypoint))
}

func addendum(layer v1.Layer, holds string) mutate.Addendum {
	return mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "hack/image", Comment: holds, Created: v1.Time{Time: epoch}}}
}

// file is a regular file, or a folder if its name ends in a slash.
type file struct {
	name    string
	mode    int64
	content []byte
}

// layer packs files of root into a layer.
func layer(files ...file) (v1.Layer, error) {
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: epoch, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil })
}

// authorities returns Mozilla's authorities as PEM, from a Go module: go.sum pins them, unlike the bundle of the build
// machine. It skips an authority with conditions that PEM cannot express (trusted only for old certificates).
func authorities() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return out.Bytes()
}
