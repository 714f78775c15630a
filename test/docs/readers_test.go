package docs_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// What makes a story of a reader long enough.
const (
	enoughCalls   = 50
	enoughUpdates = 1000
)

// TestReaders runs the readers of examples/readers as they are, as processes of their own, against a server with real
// TLS. The server sees every token that they send, and changes the mounted directory while they wait for its answer.
func TestReaders(t *testing.T) {
	t.Parallel()
	compiled := filepath.Join(t.TempDir(), "reader")
	for _, folder := range []string{"go", "node", "python"} { // so that the go command knows what this test depends on
		lab.Must(os.ReadDir("../../examples/readers/" + folder))(t)
	}
	if out, err := exec.Command("env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", compiled, "../../examples/readers/go").CombinedOutput(); err != nil {
		t.Fatalf("building the Go reader: %v\n%s", err, out)
	}
	for _, r := range []reader{
		{"go", []string{compiled}, "SSL_CERT_FILE"},
		{"node", []string{"node", "../../examples/readers/node/reader.mjs"}, "NODE_EXTRA_CA_CERTS"},
		{"python", []string{"python3", "../../examples/readers/python/reader.py"}, "SSL_CERT_FILE"},
	} {
		t.Run(r.name, func(t *testing.T) {
			if _, err := exec.LookPath(r.command[0]); err != nil {
				t.Skipf("%s is not installed here: its reader is not tested", r.command[0])
			}
			t.Run("sends the new token at the next call", func(t *testing.T) { sendsTheNewToken(newStory(t, r)) })
			t.Run("survives a storm of updates", func(t *testing.T) { survivesAStorm(newStory(t, r)) })
			t.Run("tries once more after a refusal", func(t *testing.T) { triesOnceMore(newStory(t, r)) })
			t.Run("waits for a token that comes late", func(t *testing.T) { waitsForALateToken(newStory(t, r)) })
			t.Run("does not insist", func(t *testing.T) { doesNotInsist(newStory(t, r)) })
		})
	}
}

func sendsTheNewToken(s *story) {
	current, wrong := 0, 0
	s.answer = func(n int) int {
		if n != current {
			wrong++
		}
		current++
		s.update(current)
		return http.StatusOK
	}
	s.run(func() bool { return current >= enoughCalls })
	s.expect("200")
	if wrong > 0 {
		s.Errorf("%d of %d calls had another token than the one that was in the file", wrong, current)
	}
}

// survivesAStorm changes the directory again and again, also while the reader opens its file: about one open in ten
// thousand that meets a change finds no file, and the next one does.
func survivesAStorm(s *story) {
	var writing, written, calls, bad, floor int // floor was in the file before the call began, or a later one
	s.answer = func(n int) int {
		calls++
		if n < floor || n > writing {
			bad++
		}
		floor = written
		return http.StatusOK
	}
	stop := make(chan struct{})
	var storm sync.WaitGroup
	storm.Go(func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			s.locked(func() { writing++ })
			s.update(writing)
			s.locked(func() { written = writing })
		}
	})
	calm := sync.OnceFunc(func() { close(stop); storm.Wait() })
	defer calm()
	s.run(func() bool { return calls >= enoughCalls && written >= enoughUpdates })
	calm()
	s.expect("200")
	if bad > 0 {
		s.Errorf("%d of %d calls had a token that was torn, or older than one that was in the file before", bad, calls)
	}
	s.Logf("%d calls during %d updates", calls, written)
}

// triesOnceMore has every token revoked just after the reader has read it, and another one take its place.
func triesOnceMore(s *story) {
	current, served := 0, 0
	s.answer = func(n int) int {
		if n != current {
			return http.StatusInternalServerError
		}
		current++
		s.update(current)
		if n%2 == 0 {
			return http.StatusUnauthorized
		}
		served++
		return http.StatusOK
	}
	s.run(func() bool { return served >= enoughCalls })
	s.expect("200")
}

// waitsForALateToken has every token revoked some time before another one takes its place.
func waitsForALateToken(s *story) {
	const late, enough = 300 * time.Millisecond, 5
	current, dead, served := 0, -1, 0
	var coming sync.WaitGroup // tokens, the last of which comes after the reader has ended
	s.answer = func(n int) int {
		if n == dead {
			return http.StatusInternalServerError // it insists
		}
		if n%2 == 0 {
			dead = n
			coming.Go(func() {
				<-time.After(late)
				s.locked(func() { current++; s.update(current) })
			})
			return http.StatusUnauthorized
		}
		served++
		current++
		s.update(current)
		return http.StatusOK
	}
	s.run(func() bool { return served >= enough })
	coming.Wait()
	s.expect("200")
}

// doesNotInsist has a dead token in the file and no other one: asking again would not help.
func doesNotInsist(s *story) {
	asked := 0
	s.answer = func(int) int { asked++; return http.StatusUnauthorized }
	s.run(func() bool { return asked >= 3 }) // each waits for another token
	s.expect("401")
	if most := len(s.printed) + 1; asked > most { // the reader is stopped at any moment
		s.Errorf("%d requests for %d calls", asked, len(s.printed))
	}
}

// reader is one of the example programs.
type reader struct {
	name    string
	command []string
	cas     string // the environment variable that names a file of certificate authorities
}

// story is a reader, the directory it reads, and the server it calls.
type story struct {
	*testing.T
	reader

	dir, caFile string
	server      *httptest.Server

	mu      sync.Mutex
	answer  func(n int) int // returns the status for a call with the nth token; -1 is no token
	changed chan struct{}   // has something after an answer
	printed []string        // by the reader: the status of each call
}

func newStory(t *testing.T, r reader) *story {
	s := &story{T: t, reader: r, dir: t.TempDir(), changed: make(chan struct{}, 1)}
	s.update(0)
	ca := lab.Must(payutest.NewAuthority())(t)
	s.server = httptest.NewUnstartedServer(s)
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{lab.Must(ca.Certificate())(t)}}
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	lab.Check(t, os.WriteFile(s.caFile, ca.PEM(), 0o600))
	return s
}

func (s *story) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	s.locked(func() { w.WriteHeader(s.answer(n)) })
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *story) locked(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// update exchanges the directory behind the file, as the kubelet's AtomicWriter does: it writes a new one, has ..data
// point to that with one rename, and removes the old one.
func (s *story) update(n int) {
	data := filepath.Join(s.dir, "..data")
	old, _ := os.Readlink(data)
	fresh := filepath.Join(s.dir, fmt.Sprintf("..2026_11_22_10_00_00.%09d", n))
	steps := []error{
		os.Mkdir(fresh, 0o755),
		os.WriteFile(filepath.Join(fresh, "access_token"), []byte(nthToken(n)), 0o644),
		os.Symlink(filepath.Base(fresh), data+"_tmp"),
		os.Rename(data+"_tmp", data),
	}
	if old == "" {
		steps = append(steps, os.Symlink("..data/access_token", s.file()))
	} else {
		steps = append(steps, os.RemoveAll(filepath.Join(s.dir, old)))
	}
	for _, err := range steps {
		if err != nil {
			s.Errorf("updating the directory: %v", err)
		}
	}
}

func (s *story) file() string { return filepath.Join(s.dir, "access_token") }

// nthToken is a token. It is long, and all of one letter, so that one which is torn shows.
func nthToken(n int) string {
	return fmt.Sprintf("%08d-%s", n, strings.Repeat(string(rune('a'+n%26)), 8000))
}

// number is the inverse of nthToken; -1 is no token.
func number(bearer string) int {
	var n int
	if _, err := fmt.Sscanf(bearer, "%08d-", &n); err != nil || bearer != nthToken(n) {
		return -1
	}
	return n
}

// run has the reader make calls until there are enough, and stops it and the server.
func (s *story) run(enough func() bool) {
	s.Helper()
	var stderr bytes.Buffer
	s.server.StartTLS()
	defer s.server.Close()
	program := exec.Command(s.command[0], append(s.command[1:], s.file(), s.server.URL, "0.001s")...)
	program.Env = append(os.Environ(), s.cas+"="+s.caFile)
	program.Stderr = &stderr
	stdout := lab.Must(program.StdoutPipe())(s.T)
	lab.Check(s.T, program.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			s.printed = append(s.printed, lines.Text())
		}
	}()
	defer func() {
		program.Process.Kill()
		<-ended
		program.Wait()
	}()
	deadline := time.After(lab.Patience)
	for done := false; !done; s.locked(func() { done = enough() }) {
		select {
		case <-s.changed:
		case <-ended:
			s.Fatalf("the reader ended: %s", &stderr)
		case <-deadline:
			s.Fatalf("the reader did not make enough calls within %s", lab.Patience)
		}
	}
}

// expect checks what the reader printed of each call.
func (s *story) expect(status string) {
	s.Helper()
	for i, got := range s.printed {
		if got != status {
			s.Fatalf("call %d printed %q, want %q", i, got, status)
		}
	}
	if len(s.printed) == 0 {
		s.Error("the reader printed nothing")
	}
}
