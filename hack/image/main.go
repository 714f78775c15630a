// Command image puts a static binary into a container image and writes that as an archive, without a container engine
// and without a registry:
//
//	image --binary=bin/x --name=x:v1 --platform=linux/amd64 --output=x.tar --label=org.opencontainers.image.version=v1
//
// The image has the same content as that of the Dockerfile: the binary as /x, which is also its entrypoint, a nonroot user
// (65532) that runs it, and the public certificate authorities. docker load, podman load, kind load image-archive and
// ctr image import read the archive. The same binary gives the same archive, byte for byte, on any day and machine.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// options are the flags.
type options struct {
	binary   string
	name     string
	platform string
	output   string
	labels   map[string]string
}

func main() {
	o := options{labels: map[string]string{}}
	flag.StringVar(&o.binary, "binary", "", "the static Linux `program` to put into the image")
	flag.StringVar(&o.name, "name", "", "the image's `name:tag`")
	flag.StringVar(&o.platform, "platform", "linux/amd64", "the platform of the program, as `linux/architecture`")
	flag.StringVar(&o.output, "output", "", "the `file` to write the archive to; its folder is created if necessary")
	flag.Func("label", "a `key=value` for the image's configuration; may be repeated", o.addLabel)
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func (o options) addLabel(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found || key == "" {
		return errors.New("write it as key=value")
	}
	o.labels[key] = value
	return nil
}

// run writes the archive and describes it.
func run(o options) error {
	if o.binary == "" || o.name == "" || o.output == "" || flag.NArg() > 0 {
		return errors.New("set --binary, --name and --output, and give no arguments")
	}
	tag, err := name.NewTag(o.name)
	if err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	platform, err := v1.ParsePlatform(o.platform)
	if err != nil {
		return fmt.Errorf("--platform: %w", err)
	}
	if err := checkBinary(o.binary, platform); err != nil {
		return fmt.Errorf("--binary=%s: %w", o.binary, err)
	}
	image, err := build(o.binary, platform, o.labels)
	if err != nil {
		return err
	}
	if err := write(o.output, tag, image); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	id, err := image.ConfigName() // the manifest's digest depends on the tool that imports the archive
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s: %s %s, image ID %s\n", o.output, tag, platform, id)
	return err
}

// write creates the archive under another name and renames it, so that it is never partial.
func write(file string, tag name.Tag, image v1.Image) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	part := file + ".part"
	defer os.Remove(part)
	if err := tarball.WriteToFile(part, tag, image); err != nil {
		return err
	}
	return os.Rename(part, file)
}
