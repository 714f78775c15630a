package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

func TestServed(t *testing.T) {
	tests := map[string]struct {
		summary calls.Summary
		broken  int
	}{
		"all is well":      {calls.Summary{Calls: 100, Renewals: 4}, 0},
		"one refusal":      {calls.Summary{Calls: 100, Renewals: 4, Refusals: 1}, 1},
		"one call in vain": {calls.Summary{Calls: 100, Renewals: 4, Unanswered: 1}, 1},
		"too few renewals": {calls.Summary{Calls: 100, Renewals: 3}, 1},
		"nothing works":    {calls.Summary{Calls: 100, Refusals: 50, Unanswered: 50}, 3},
	}
	for name, test := range tests {
		if got := (row{Summary: test.summary}).served().broken; len(got) != test.broken {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestReport(t *testing.T) {
	var p proof
	p.say = func(string, ...any) {}
	p.check("shards keep to their own", "2 operators", nil)
	p.note(row{name: "kubelet restarts at each renewal", skipped: "nothing was named"}, nil)
	p.note(row{name: "mode reuse", Summary: calls.Summary{Calls: 60, Renewals: 4, Refusals: 7, LongestGap: 4 * time.Second}}, nil)
	calm := row{name: "nothing happens", Summary: calls.Summary{Calls: 200, Renewals: 4, LongestGap: 600 * time.Millisecond}, lifeLeft: 26 * time.Second}
	p.note(calm, nil)
	var out strings.Builder
	if err := p.report(&out); err != nil {
		t.Errorf("nothing was broken: %v", err)
	}
	want := `
scenario                           renewals seen   calls made   refusals   longest gap   old token's life left
nothing happens                    4               200          0          0.6 s         26.0 s
mode reuse                         4               60           7          4.0 s         -
kubelet restarts at each renewal   skipped: nothing was named

shards keep to their own: 2 operators

promises broken: 0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	p.note(calm, errors.Join(errors.New("not seen within 1m0s"), errors.New("something else")))
	out.Reset()
	if err := p.report(&out); !errors.Is(err, errBroken) {
		t.Errorf("a promise was broken: %v", err)
	}
	if !strings.HasSuffix(out.String(), "promises broken: 1\n  nothing happens: not seen within 1m0s; something else\n") {
		t.Errorf("it ends with %q", out.String())
	}
}

func TestGapOf(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	renewal := calls.Renewal{LastOld: at(9), FirstNew: at(17)}
	tests := map[string]struct {
		former payutest.Issued
		want   gap
	}{
		"an expired token": {payutest.Issued{ExpiresAt: at(10)}, gap{2 * time.Second, time.Second, 4 * time.Second}},
		"a revoked one":    {payutest.Issued{ExpiresAt: at(60), RevokedAt: at(12)}, gap{0, time.Second, 4 * time.Second}},
		"one that lives":   {payutest.Issued{ExpiresAt: at(60)}, gap{0, time.Second, 4 * time.Second}},
	}
	for name, test := range tests {
		if got := gapOf(renewal, test.former, payutest.Issued{IssuedAt: at(12)}, at(13)); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestNamesOfImages(t *testing.T) {
	repository, tag := image{Name: "localhost:5000/a/b:e2e-1"}.split()
	if repository != "localhost:5000/a/b" || tag != "e2e-1" {
		t.Errorf("%q %q", repository, tag)
	}
}

// TestShopsAreTold holds that a client ID tells which shop it is of.
func TestShopsAreTold(t *testing.T) {
	for _, a := range scenarios() {
		for _, b := range scenarios() {
			if a.shop != b.shop && strings.HasPrefix(a.shop, b.shop) {
				t.Errorf("%q begins like %q", a.shop, b.shop)
			}
		}
	}
}
