package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// image is a container image in an archive.
type image struct{ Name, Archive string }

// split returns the name without its tag, and the tag.
func (i image) split() (repository, tag string) {
	at := strings.LastIndex(i.Name, ":")
	return i.Name[:at], i.Name[at+1:]
}

// images are those of a run.
type images struct {
	Operator, Upgraded           image // two versions of the operator
	Simulator, Workload, Pausing image
	Reader                       image // examples/readers/go
}

func (i images) all() []image {
	return []image{i.Operator, i.Upgraded, i.Simulator, i.Workload, i.Pausing, i.Reader}
}

// buildImages builds the operator's image as its users do, and the others with the same program. The prefix is that of
// their names.
func buildImages(ctx context.Context, k kit, dir, prefix string) (images, error) {
	built := images{
		Operator:  image{prefix + "payu-token-operator:e2e-1", filepath.Join(k.Root, "dist", "payu-token-operator-e2e-1-"+runtime.GOARCH+".tar")},
		Upgraded:  image{prefix + "payu-token-operator:e2e-2", filepath.Join(k.Root, "dist", "payu-token-operator-e2e-2-"+runtime.GOARCH+".tar")},
		Simulator: image{prefix + "payu-simulator:e2e", filepath.Join(dir, "payu-simulator.tar")},
		Workload:  image{prefix + "payu-e2e-workload:e2e", filepath.Join(dir, "workload.tar")},
		Pausing:   image{prefix + "payu-e2e-pause:e2e", filepath.Join(dir, "pause.tar")},
		Reader:    image{prefix + "payu-e2e-reader:e2e", filepath.Join(dir, "reader.tar")},
	}
	for version, made := range map[string]image{"e2e-1": built.Operator, "e2e-2": built.Upgraded} {
		_, err := output(ctx, k, "make", "--no-print-directory", "image-tar", "VERSION="+version, "IMAGE="+made.Name, "PLATFORMS=linux/"+runtime.GOARCH)
		if err != nil {
			return images{}, err
		}
	}
	for folder, made := range map[string]image{
		"cmd/payu-simulator": built.Simulator, "test/e2e/workload": built.Workload, "test/e2e/pause": built.Pausing,
		"examples/readers/go": built.Reader,
	} {
		if err := k.pack(ctx, folder, dir, made); err != nil {
			return images{}, err
		}
	}
	return built, nil
}

// pack builds a program and its image.
func (k kit) pack(ctx context.Context, folder, dir string, made image) error {
	binary := filepath.Join(dir, filepath.Base(folder))
	// The packages of a program for scratch images are static without cgo.
	_, err := output(ctx, k, "env", "CGO_ENABLED=0", "GOOS=linux", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./"+folder)
	if err != nil {
		return err
	}
	defer os.Remove(binary)
	_, err = output(ctx, k, "bin/image", "--binary="+binary, "--name="+made.Name, "--platform=linux/"+runtime.GOARCH, "--output="+made.Archive)
	return err
}
