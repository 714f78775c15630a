package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// shell is a user's terminal in a clean folder of the repository.
type shell struct {
	*testing.T
	dir string
	env []string
	// pods does, where a page has commands for pods, what the pods would do; nil is nothing.
	pods func()
}

// newShell links the repository's files into a folder of its own, so that a page may write files beside them.
func newShell(t *testing.T, env ...string) *shell {
	t.Helper()
	s := &shell{T: t, dir: t.TempDir(), env: append(os.Environ(), append(env, "HOME="+t.TempDir())...)}
	absolute := lab.Must(filepath.Abs(root))(t)
	for _, entry := range lab.Must(os.ReadDir(root))(t) {
		if !strings.HasPrefix(entry.Name(), ".") {
			lab.Check(t, os.Symlink(filepath.Join(absolute, entry.Name()), filepath.Join(s.dir, entry.Name())))
		}
	}
	return s
}

// run returns what a command prints.
func (s *shell) run(command string) (string, error) {
	bash := exec.CommandContext(s.Context(), "bash", "-euo", "pipefail", "-c", command)
	bash.Dir, bash.Env = s.dir, s.env
	out, err := bash.CombinedOutput()
	return string(out), err
}

func (s *shell) mustRun(command string) string {
	s.Helper()
	out, err := s.run(command)
	if err != nil {
		s.Fatalf("%s\n%v\n%s", command, err, out)
	}
	return out
}

// play does what a page says, from top to bottom:
//
//	```yaml  that begins with "# name.yaml"   is saved under that name
//	```sh                                     has to work
//	```console                                has to print what the page shows; a command may fail
//
// A fence with more than that behind its mark needs what there is none of here: ```sh node, for one, needs pods.
func (s *shell) play(path string) {
	s.Helper()
	for _, f := range parsePage(s.T, path).fences {
		switch f.language {
		case "yaml":
			s.save(f)
		case "sh":
			s.do(f)
		case "sh node":
			if s.pods != nil {
				s.pods()
			}
		case "console":
			s.compare(f)
		}
	}
}

// playOnly does what the fences of one mark say.
func (s *shell) playOnly(path, language string) {
	s.Helper()
	count := 0
	for _, f := range parsePage(s.T, path).fences {
		if f.language == language {
			count++
			s.do(f)
		}
	}
	if count == 0 {
		s.Errorf("%s has no fence marked %q", path, language)
	}
}

func (s *shell) do(f fence) {
	s.Helper()
	if out, err := s.run(f.body); err != nil {
		s.Fatalf("%s: %v\n%s\n%s", f, err, f.body, out)
	}
}

var fileName = regexp.MustCompile(`^# (\S+\.yaml)\n`)

func (s *shell) save(f fence) {
	s.Helper()
	if name := fileName.FindStringSubmatch(f.body); name != nil {
		if strings.Contains(name[1], "/") { // config is a link to that of the repository
			s.Fatalf("%s: name a file of the folder in which the reader works, not %s", f, name[1])
		}
		lab.Check(s.T, os.WriteFile(filepath.Join(s.dir, name[1]), []byte(f.body), 0o600))
	}
}

// compare runs the commands of a fence. With -update it writes into the page what they print.
func (s *shell) compare(f fence) {
	s.Helper()
	var printed strings.Builder
	for _, c := range prompts(f.body) {
		printed.WriteString("$ " + c.line + s.output(c))
	}
	diff := cmp.Diff(steady(f.body), steady(printed.String()))
	if diff == "" {
		return
	}
	if !*update {
		s.Errorf("%s prints something else now (-page +now; `go test ./test/docs -update` writes it into the page):\n%s", f, diff)
		return
	}
	file := filepath.Join(root, f.page)
	text := string(lab.Must(os.ReadFile(file))(s.T))
	lab.Check(s.T, os.WriteFile(file, []byte(strings.Replace(text, "```console\n"+f.body, "```console\n"+printed.String(), 1)), 0o600))
}

// output returns what a command prints. One that looks at what comes by itself, such as an event, may look again.
func (s *shell) output(c prompt) string {
	looks := strings.HasPrefix(c.line, "kubectl get ") || strings.HasPrefix(c.line, "kubectl describe ")
	for deadline := time.Now().Add(comingSoon); ; {
		out, _ := s.run(c.line)
		if !looks || steady(out) == steady(c.output) || time.Now().After(deadline) {
			return out
		}
	}
}

// comingSoon bounds the wait for what a page shows.
const comingSoon = 10 * time.Second

// prompt is a command in a session, and what it printed there.
type prompt struct{ line, output string }

func prompts(session string) []prompt {
	var list []prompt
	more := false
	for line := range strings.Lines(session) {
		command, found := strings.CutPrefix(line, "$ ")
		switch {
		case found:
			list = append(list, prompt{line: command})
		case len(list) == 0:
			continue
		case more:
			list[len(list)-1].line += line
		default:
			list[len(list)-1].output += line
		}
		more = (found || more) && strings.HasSuffix(line, "\\\n")
	}
	return list
}

var unsteady = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "<time>"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "<uid>"},
	{regexp.MustCompile(`(Version: +)\d+`), "$1<version>"},
	{regexp.MustCompile(`\b(\d+(ms|s|m|h|d))+\b`), "<age>"},
	{regexp.MustCompile(` +`), " "},
	{regexp.MustCompile(`(?m) +$`), ""},
}

// steady leaves out what differs from run to run.
func steady(output string) string {
	for _, u := range unsteady {
		output = u.what.ReplaceAllString(output, u.name)
	}
	return output
}
