// Command krew creates a release of the kubectl plugin: an archive for each platform, their checksums, and the manifest for
// krew. The same sources give the same bytes.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"
)

//go:embed payutoken.yaml
var manifest string

// platforms are the platforms of a release.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// semver is the syntax of versions for krew.
var semver = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

func main() {
	version := flag.String("version", "", "version of the release, for example v0.1.0")
	folder := flag.String("out", "dist", "folder to write to")
	list := flag.String("platforms", strings.Join(platforms, ","), "platforms to build for")
	flag.Parse()
	if err := release(*version, *folder, strings.Split(*list, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

// archive is the plugin for one platform.
type archive struct{ OS, Arch, Name, Program, SHA256 string }

func release(version, folder string, platforms []string) error {
	if !semver.MatchString(version) {
		return fmt.Errorf("version %q: use one like v0.1.0 (make plugin-release VERSION=v0.1.0)", version)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var archives []archive
	var sums strings.Builder
	for _, platform := range platforms {
		a, err := build(version, folder, platform)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		fmt.Println(filepath.Join(folder, a.Name))
		fmt.Fprintf(&sums, "%s  %s\n", a.SHA256, a.Name)
		archives = append(archives, a)
	}
	if err := os.WriteFile(filepath.Join(folder, "kubectl-payutoken_"+version+"_checksums.txt"), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	filled, err := fill(version, archives)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "payutoken.yaml"), filled, 0o644)
}

// fill returns the manifest for krew.
func fill(version string, archives []archive) ([]byte, error) {
	// The comments of the template are not for users of the manifest.
	_, text, _ := strings.Cut(manifest, "\n")
	var b bytes.Buffer
	err := template.Must(template.New("payutoken.yaml").Parse(text)).Execute(&b, map[string]any{"Version": version, "Archives": archives})
	return b.Bytes(), err
}

// build creates the archive for one platform.
func build(version, folder, platform string) (archive, error) {
	system, arch, _ := strings.Cut(platform, "/")
	a := archive{OS: system, Arch: arch, Program: "kubectl-payutoken", Name: fmt.Sprintf("kubectl-payutoken_%s_%s_%s.tar.gz", version, system, arch)}
	pack := tarball
	if system == "windows" {
		a.Program, a.Name, pack = a.Program+".exe", strings.TrimSuffix(a.Name, "tar.gz")+"zip", zipped
	}
	root, err := moduleRoot()
	if err != nil {
		return a, err
	}
	temp, err := os.MkdirTemp("", "kubectl-payutoken-")
	if err != nil {
		return a, err
	}
	defer os.RemoveAll(temp)
	program := filepath.Join(temp, a.Program)
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", program, "./cmd/kubectl-payutoken")
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
	if out, err := command.CombinedOutput(); err != nil {
		return a, fmt.Errorf("go build: %w\n%s", err, out)
	}
	content, err := pack(program, filepath.Join(root, "LICENSE"))
	if err != nil {
		return a, err
	}
	a.SHA256 = fmt.Sprintf("%x", sha256.Sum256(content))
	return a, os.WriteFile(filepath.Join(folder, a.Name), content, 0o644)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// modified is the time of all files in an archive.
var modified = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// tarball packs files, of which the first one is the program.
func tarball(files ...string) ([]byte, error) {
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	w := tar.NewWriter(compressed)
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Name: filepath.Base(file), Mode: 0o644, Size: int64(len(content)), ModTime: modified, Format: tar.FormatUSTAR}
		if i == 0 {
			header.Mode = 0o755
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err := errors.Join(w.Close(), compressed.Close())
	return b.Bytes(), err
}

// zipped packs files for Windows, which has no file modes.
func zipped(files ...string) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		entry, err := w.CreateHeader(&zip.FileHeader{Name: filepath.Base(file), Method: zip.Deflate, Modified: modified})
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write(content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
