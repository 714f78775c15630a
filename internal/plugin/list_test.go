package plugin_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin"
)

// column returns the words of one column, by its number.
func column(text string, n int) (words []string) {
	for line := range strings.Lines(text) {
		words = append(words, strings.Fields(line)[n])
	}
	return words
}

func TestList(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("well", s.ready(54*time.Minute), labelled("team", "payments"))
	s.create("refused", s.refused("InvalidClient", "PayU answered invalid_client"), labelled("team", "payments"))
	s.create("paused", s.ready(time.Minute), suspended)

	got := s.run("list")
	got.want(t, 0)
	want := `NAME     ENVIRONMENT  READY  REASON         LIFETIME              EXPIRES  RENEWAL
refused  Test         False  InvalidClient  ····················  -        -
paused   Test         True   Suspended      ░░░░░░░░░░░░░│░░░░░░  in 119m  suspended
well     Test         True   TokenValid     █████████░░░░│░░░░░░  in 66m   in 26m
`
	if diff := cmp.Diff(want, got.stdout); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wide := s.run("list", "-o", "wide", "-l", "team=payments")
	wide.want(t, 0, "SECRET", "create_payment_links,read_payment_links", "PayU answered invalid_client")
	if diff := cmp.Diff([]string{"NAME", "refused", "well"}, column(wide.stdout, 0)); diff != "" {
		t.Errorf("of team payments -want +got:\n%s", diff)
	}
}

func TestListOfAllNamespaces(t *testing.T) {
	t.Parallel()
	one, other := newShop(t), newShop(t)
	mark := labelled("test", one.namespace)
	one.create("links", one.ready(time.Minute), mark)
	other.create("links", other.refused("InvalidScope", "…"), mark)
	got := one.run("list", "-A", "-l", "test="+one.namespace)
	got.want(t, 0)
	if diff := cmp.Diff([]string{"NAMESPACE", other.namespace, one.namespace}, column(got.stdout, 0)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestListForPrograms(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("well", s.ready(time.Minute))
	s.create("refused", s.refused("InvalidClient", "…"))

	if names := s.run("list", "-o", "name"); names.stdout != "payutoken.auth.payu.in/refused\npayutoken.auth.payu.in/well\n" {
		t.Errorf("names:\n%s", names.stdout)
	}
	for format, unmarshal := range map[string]func([]byte, any) error{
		"json": json.Unmarshal, "yaml": func(b []byte, v any) error { return yaml.Unmarshal(b, v) },
	} {
		var list v1alpha1.PayUTokenList
		got := s.run("list", "-o", format)
		got.want(t, 0)
		check(t, unmarshal([]byte(got.stdout), &list))
		if len(list.Items) != 2 || list.Items[1].Name != "well" || list.Items[1].Status.ExpiresAt == nil || list.Kind != "PayUTokenList" {
			t.Errorf("%s:\n%s", format, got.stdout)
		}
		if strings.Contains(got.stdout, "managedFields") {
			t.Errorf("%s holds managedFields", format)
		}
	}
	if path := s.run("list", "-o", "jsonpath={.items[*].metadata.name}"); path.stdout != "refused well" {
		t.Errorf("jsonpath: %s", path.stdout)
	}
}

func TestListOfNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	got := s.run("list")
	got.want(t, 0, `There is no PayUToken in namespace "`+s.namespace+`"`)
	if got.stdout != "" {
		t.Errorf("stdout: %s", got.stdout)
	}
	var list v1alpha1.PayUTokenList
	got = s.run("list", "-o", "json")
	check(t, json.Unmarshal([]byte(got.stdout), &list))
}

func TestColourIsForTerminals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("well", s.ready(time.Minute))
	size := func() (int, int) { return 100, 30 }
	for name, test := range map[string]struct {
		terminal *plugin.Terminal
		want     bool
	}{
		"a file":                  {nil, false},
		"a terminal":              {&plugin.Terminal{Colour: true, Size: size}, true},
		"a terminal and NO_COLOR": {&plugin.Terminal{Size: size}, false},
	} {
		s.terminal = test.terminal
		for _, args := range [][]string{{"list"}, {"status", "well"}} {
			if got := s.run(args...); strings.Contains(got.stdout, "\x1b[32m") != test.want || got.code != 0 {
				t.Errorf("%s to %s: want colour: %t\n%q", args, name, test.want, got.stdout)
			}
		}
	}
}

// What is not shown on a terminal grows by the lines that change.
func TestWatchIntoAFile(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("well", s.ready(time.Minute))
	changing := s.create("changing", s.ready(time.Minute))
	ctx, stop := context.WithCancel(t.Context())
	p := s.start(ctx, "list", "-w")
	p.awaitOutput("both PayUTokens", func(text string) bool { return strings.Count(text, "\n") == 3 })
	s.refused("InvalidClient", "…")(changing)
	s.writeStatus(changing)
	p.awaitOutput("the change", func(text string) bool { return strings.Count(text, "\n") == 4 })
	s.create("new")
	p.awaitOutput("the new one", func(text string) bool { return strings.Contains(text, "\nnew ") })
	stop()
	got := p.await()
	got.want(t, 130)
	if got.stderr != "" {
		t.Errorf("stderr: %s", got.stderr)
	}
	if diff := cmp.Diff([]string{"NAME", "changing", "well", "changing", "new"}, column(got.stdout, 0)[:5]); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, got.stdout)
	}
	if reasons := column(got.stdout, 3); reasons[1] != "TokenValid" || reasons[3] != "InvalidClient" {
		t.Errorf("reasons: %s", reasons)
	}
}

func TestWatchForPrograms(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	token := s.create("links", s.ready(time.Minute))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p := s.start(ctx, "list", "-w", "-o", "json")
	p.awaitOutput("the PayUToken", func(text string) bool { return strings.Count(text, `"kind": "PayUToken"`) == 1 })
	s.refused("InvalidClient", "…")(token)
	s.writeStatus(token)
	text := p.awaitOutput("the change", func(text string) bool { return strings.Count(text, "\n}\n") == 2 })
	decoder := json.NewDecoder(strings.NewReader(text))
	for _, want := range []string{"TokenValid", "InvalidClient"} {
		var got v1alpha1.PayUToken
		check(t, decoder.Decode(&got))
		if got.Status.Conditions[0].Reason != want {
			t.Errorf("%s, want %s", got.Status.Conditions[0].Reason, want)
		}
	}
}

// screens are the pictures that were drawn on a terminal.
func screens(text string) []string { return strings.Split(text, "\x1b[H")[2:] } // the first clears the screen

func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.terminal = &plugin.Terminal{Size: func() (int, int) { return 100, 30 }}
	token := s.create("links", s.ready(0))
	ctx, stop := context.WithCancel(t.Context())
	p := s.start(ctx, "list", "-w")
	lastly := func(word string) func(string) bool {
		return func(text string) bool {
			all := strings.Split(text, "\x1b[H")
			last := all[len(all)-1]
			return strings.HasSuffix(last, "\x1b[J") && strings.Contains(last, word)
		}
	}
	p.awaitOutput("a fresh token", lastly("in 120m"))
	s.clock.Step(54 * time.Minute)
	p.awaitOutput("the bar, after a while in which nothing changed", lastly("█████████░░░░│░░░░░░"))
	s.refused("InvalidClient", "…")(token)
	s.writeStatus(token)
	p.awaitOutput("a change", lastly("1 failed"))
	check(t, cluster.Client.Delete(t.Context(), token))
	p.awaitOutput("that it is gone", lastly("no PayUTokens"))
	stop()
	p.await().want(t, 130)
	for _, screen := range screens(p.stdout.String()) {
		for _, line := range strings.Split(strings.TrimSuffix(screen, "\n\x1b[J"), "\n") {
			if !strings.HasSuffix(line, "\x1b[K") {
				t.Fatalf("a line leaves what was there before: %q", line)
			}
		}
	}
}
