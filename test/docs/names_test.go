package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// commands returns what a page tells to run: code spans and the lines of fences, without prompt and environment.
func (p page) commands() []string {
	lines := p.spans()
	for _, f := range p.fences {
		if language, _, _ := strings.Cut(f.language, " "); language == "sh" || language == "console" {
			for line := range strings.Lines(strings.ReplaceAll(f.body, "\\\n", " ")) {
				lines = append(lines, strings.TrimPrefix(strings.TrimSpace(line), "$ "))
			}
		}
	}
	for i, line := range lines {
		lines[i] = environment.ReplaceAllString(line, "")
	}
	return lines
}

var environment = regexp.MustCompile(`^([A-Z_]+=("[^"]*"|\S*) +)+`)

func TestEveryMakeTargetExists(t *testing.T) {
	targets := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllSubmatch(lab.Must(os.ReadFile(root+"/Makefile"))(t), -1) {
		targets[string(match[1])] = true
	}
	count := 0
	for _, p := range pages(t) {
		for _, command := range p.commands() {
			words := strings.Fields(command)
			if len(words) < 2 || words[0] != "make" {
				continue
			}
			count++
			for _, word := range words[1:] {
				if strings.ContainsAny(word, "=#&\"") {
					break
				}
				if !targets[word] {
					t.Errorf("%s names `make %s`, which the Makefile does not have", p.path, word)
				}
			}
		}
	}
	if count < 5 {
		t.Errorf("only %d calls of make were found", count)
	}
}

// foreignFlags are flags of other programs which pages name without the program.
var foreignFlags = map[string]string{"--take-ownership": "helm", "--reload-strategy": "Reloader", "--unsafe-no-fsync": "etcd"}

var (
	argument       = regexp.MustCompile(`(?m)(- |\[|, )--[a-z].*$`)
	flagUse        = regexp.MustCompile(`(^|[\s"'\[(=])(--[a-z][a-z0-9-]+)`)
	flagHelp       = regexp.MustCompile(`(?m)^ +(--[a-z-]+)`)
	flagDefinition = regexp.MustCompile(`Var\(&[\w.]+, "([a-z-]+)"`)
)

// TestEveryFlagExists looks at flags that stand alone, after bin/manager, in ARGS of make, and in YAML.
func TestEveryFlagExists(t *testing.T) {
	known := knownFlags(t)
	count := 0
	for _, p := range pages(t) {
		lines := p.commands()
		for _, f := range p.fences {
			if f.language == "yaml" {
				lines = append(lines, argument.FindAllString(f.body, -1)...)
			}
		}
		for _, line := range lines {
			if !ourFlags(line) {
				continue
			}
			for _, match := range flagUse.FindAllStringSubmatch(line, -1) {
				count++
				if known[match[2]] == "" {
					t.Errorf("%s names the flag %s, which no program of ours has, in: %s", p.path, match[2], line)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d flags were found", count)
	}
}

// knownFlags are those of the manager and the simulator, as their help has them, and of the tools, as their sources do.
func knownFlags(t *testing.T) map[string]string {
	t.Helper()
	known := maps.Clone(foreignFlags)
	known["--help"] = "all"
	for _, program := range []string{"manager", "payu-simulator"} {
		help := lab.Must(exec.Command(lab.Must(lab.Program(program))(t), "--help").Output())(t)
		for _, match := range flagHelp.FindAllSubmatch(help, -1) {
			known[string(match[1])] = program
		}
	}
	if known["--propagation-margin"] != "manager" {
		t.Fatal("the manager's help was not understood")
	}
	for _, tool := range []string{"test/chaos/main.go", "test/e2e/main.go", "test/bench/main.go", "hack/demo/main.go"} {
		source := lab.Must(os.ReadFile(filepath.Join(root, tool)))(t)
		for _, match := range flagDefinition.FindAllSubmatch(source, -1) {
			known["--"+string(match[1])] = tool
		}
	}
	return known
}

// ourFlags reports whether the flags in a line are those of our programs.
func ourFlags(line string) bool {
	first, _, _ := strings.Cut(line, " ")
	return strings.HasPrefix(line, "--") || argument.MatchString(line) || first == "bin/manager" || first == "manager" ||
		first == "bin/payu-simulator" || first == "payu-simulator" || first == "make" && strings.Contains(line, " ARGS=")
}

// TestEveryFolderIsInTheTree holds the tree of CONTRIBUTING.md against the folders of the repository.
func TestEveryFolderIsInTheTree(t *testing.T) {
	tree := strings.Fields(parsePage(t, "CONTRIBUTING.md").fences[0].body)
	for _, pattern := range []string{"config", "charts", "examples", "docs", "api/*", "cmd/*", "internal/*", "internal/*/*", "test/*", "hack/*"} {
		for _, path := range lab.Must(filepath.Glob(filepath.Join(root, pattern)))(t) {
			folder := lab.Must(filepath.Rel(root, path))(t) + "/"
			if lab.Must(os.Stat(path))(t).IsDir() && filepath.Base(path) != "testdata" && !slices.Contains(tree, folder) {
				t.Errorf("CONTRIBUTING.md does not say what %s is for", folder)
			}
		}
	}
	for _, word := range tree {
		if _, err := os.Stat(filepath.Join(root, word)); strings.HasSuffix(word, "/") && err != nil {
			t.Errorf("CONTRIBUTING.md tells of %s: %v", word, err)
		}
	}
}

var testName = regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`)

// TestEveryTestExists looks for the tests that pages cite as proof.
func TestEveryTestExists(t *testing.T) {
	known := map[string]bool{}
	lab.Check(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, match := range regexp.MustCompile(`(?m)^func (\w+)\(`).FindAllSubmatch(lab.Must(os.ReadFile(path))(t), -1) {
			known[string(match[1])] = true
		}
		return nil
	}))
	count := 0
	for _, p := range pages(t) {
		for _, span := range p.spans() {
			if name := testName.FindString(span); name != "" {
				count++
				if !known[name] {
					t.Errorf("%s cites %s, which does not exist", p.path, name)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d tests were found", count)
	}
}

const reference = "docs/payutoken.md"

// TestEveryFieldIsOnItsPage holds the tables of fields against the CRD, with the defaults.
func TestEveryFieldIsOnItsPage(t *testing.T) {
	p := parsePage(t, reference)
	schema := crdSchema(t)
	for heading, properties := range map[string]apiextensionsv1.JSONSchemaProps{
		"Writing a spec": schema.Properties["spec"],
		"Status":         schema.Properties["status"],
	} {
		want := map[string]string{}
		leaves(properties, "", want)
		got := map[string]string{}
		for _, row := range p.table(t, heading) {
			for _, field := range named(row[0]) {
				got[field] = ""
				if defaults := named(row[1]); len(defaults) > 0 && want[field] != "" {
					got[field] = defaults[0]
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("fields and defaults of %q (-CRD +%s):\n%s", heading, reference, diff)
		}
	}
}

func crdSchema(t *testing.T) apiextensionsv1.JSONSchemaProps {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	lab.Check(t, yaml.UnmarshalStrict(lab.Must(os.ReadFile(root+"/config/crd/bases/auth.payu.in_payutokens.yaml"))(t), &crd))
	return *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// leaves collects the paths of all fields that have no fields of their own, with their defaults.
func leaves(schema apiextensionsv1.JSONSchemaProps, path string, into map[string]string) {
	for name, property := range schema.Properties {
		full := strings.TrimPrefix(path+"."+name, ".")
		if len(property.Properties) > 0 {
			leaves(property, full, into)
			continue
		}
		into[full] = ""
		if property.Default != nil {
			text, err := strconv.Unquote(string(property.Default.Raw))
			if err != nil {
				text = string(property.Default.Raw)
			}
			into[full] = text
		}
	}
}

// TestEveryScopeIsOnItsPage holds the scopes of the reference against those that the plugin and the simulator know.
func TestEveryScopeIsOnItsPage(t *testing.T) {
	var got []string
	for _, row := range parsePage(t, reference).table(t, "Writing a spec") {
		if slices.Equal(named(row[0]), []string{"scopes"}) {
			got = strings.Split(row[2], "<br>- ")[1:]
		}
	}
	var want []string
	for _, product := range payu.Products {
		want = append(want, product.Name+": `"+strings.Join(product.Scopes, "`, `")+"`")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scopes by product (-internal/payu +%s):\n%s", reference, diff)
	}
}

// TestEveryNameIsOnItsPage holds the tables of conditions, reasons and keys, and what is said of labels and annotations,
// against the constants of the API.
func TestEveryNameIsOnItsPage(t *testing.T) {
	p, names := parsePage(t, reference), constants(t)
	for heading, prefix := range map[string]string{"Conditions": "Condition", "Reasons, and what to do": "Reason", "The target Secret": "Key"} {
		var got []string
		for _, row := range p.table(t, heading) {
			got = append(got, named(row[0])...)
		}
		slices.Sort(got)
		if diff := cmp.Diff(names[prefix], got); diff != "" {
			t.Errorf("%q (-api/v1alpha1 +%s):\n%s", heading, reference, diff)
		}
	}
	for _, name := range slices.Concat(names["Annotation"], names["Label"], names["ManagedBy"]) {
		if !strings.Contains(p.text, name) {
			t.Errorf("%s does not tell of %s", reference, name)
		}
	}
}

// constants returns the values of the API's constants, sorted, by the first word of their names.
func constants(t *testing.T) map[string][]string {
	t.Helper()
	file := lab.Must(parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api", "v1alpha1", "conditions.go"), nil, 0))(t)
	values := map[string][]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok {
			for i, name := range spec.Names {
				for _, prefix := range []string{"Condition", "Reason", "Key", "Annotation", "Label", "ManagedBy"} {
					if strings.HasPrefix(name.Name, prefix) {
						values[prefix] = append(values[prefix], lab.Must(strconv.Unquote(spec.Values[i].(*ast.BasicLit).Value))(t))
					}
				}
			}
		}
		return true
	})
	for _, list := range values {
		slices.Sort(list)
	}
	return values
}
