package calls_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func call(seconds float64, token string, status int) calls.Call {
	return calls.Call{At: at(seconds), Token: token, Status: status}
}

func TestSummarize(t *testing.T) {
	tests := map[string]struct {
		calls []calls.Call
		want  calls.Summary
	}{
		"none":                      {nil, calls.Summary{}},
		"only where it starts from": {[]calls.Call{call(0, "a", 200)}, calls.Summary{}},
		"all work": {
			[]calls.Call{call(0, "a", 200), call(0.5, "a", 200), call(1.25, "a", 200)},
			calls.Summary{Calls: 2, LongestGap: 750 * time.Millisecond},
		},
		"a renewal, right at the start": {
			[]calls.Call{call(0, "a", 200), call(0.5, "b", 200), call(1, "b", 200)},
			calls.Summary{Calls: 2, Renewals: 1, LongestGap: 500 * time.Millisecond},
		},
		"refused until the renewal": {
			[]calls.Call{call(0, "a", 200), call(0.5, "a", 401), call(1, "a", 403), call(2, "b", 200)},
			calls.Summary{Calls: 3, Renewals: 1, Refusals: 2, LongestGap: 2 * time.Second},
		},
		"refused to the end": {
			[]calls.Call{call(0, "a", 200), call(0.5, "a", 401), call(4, "a", 401)},
			calls.Summary{Calls: 2, Refusals: 2, LongestGap: 4 * time.Second},
		},
		"no answer": {
			[]calls.Call{call(0, "a", 200), call(0.5, "a", 0), call(1, "a", 200)},
			calls.Summary{Calls: 2, Unanswered: 1, LongestGap: time.Second},
		},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, calls.Summarize(test.calls)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAdd(t *testing.T) {
	a := calls.Summary{Calls: 10, Renewals: 4, Refusals: 1, Unanswered: 0, LongestGap: time.Second}
	b := calls.Summary{Calls: 7, Renewals: 5, Refusals: 2, Unanswered: 3, LongestGap: 2 * time.Second}
	want := calls.Summary{Calls: 17, Renewals: 4, Refusals: 3, Unanswered: 3, LongestGap: 2 * time.Second}
	if got := a.Add(b); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRenewals(t *testing.T) {
	got := calls.Renewals([]calls.Call{
		call(0, "a", 401), call(1, "b", 200), call(2, "b", 200), call(3, "b", 401), call(4, "c", 0), call(5, "c", 200), call(6, "d", 401),
	})
	want := []calls.Renewal{{Old: "b", New: "c", LastOld: at(2), FirstNew: at(5)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
