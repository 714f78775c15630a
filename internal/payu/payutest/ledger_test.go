package payutest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func TestRequestsAndCounters(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse})
	start := s.Now().UTC()
	s.ask(form("read_payment_links create_payment_links"))
	s.step(time.Second)
	s.ask(form("create_payment_links read_payment_links"))
	s.ask(form("", "client_id", "nobody"))

	const both = "create_payment_links read_payment_links"
	want := []payutest.Request{
		{ClientID: "shop", Scope: both, ReceivedAt: start, Outcome: "success", Status: 200},
		{ClientID: "shop", Scope: both, ReceivedAt: start.Add(time.Second), Outcome: "reused", Status: 200},
		{ClientID: "nobody", ReceivedAt: start.Add(time.Second), Outcome: "invalid_client", Status: 401},
	}
	if got := s.Requests(); !reflect.DeepEqual(got, want) {
		t.Errorf("requests %+v\nwant %+v", got, want)
	}
	counters := payutest.Counters{
		Requests:    map[string]map[string]int{"shop": {"success": 1, "reused": 1}, "nobody": {"invalid_client": 1}},
		Resource:    map[string]map[int]int{},
		MaxInFlight: map[string]map[string]int{"shop": {both: 1}, "nobody": {"": 1}},
	}
	if got := s.Counters(); !reflect.DeepEqual(got, counters) || got.Total() != 3 {
		t.Errorf("counters %+v\nwant %+v", got, counters)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	errBoom := errors.New("boom")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBoom)
	err := payutest.New(payutest.Config{}).Await(ctx, func(payutest.Counters) bool { return false })
	if !errors.Is(err, errBoom) {
		t.Errorf("got %v", err)
	}
}

func TestTheLogHoldsNoSecretsAndNoTokens(t *testing.T) {
	var log bytes.Buffer
	s := begin(t, payutest.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	token := s.ask(form("read_payment_links")).token(t)
	s.ask(form("bad"))

	text := log.String()
	if strings.Contains(text, token) || strings.Contains(text, "s3cret") {
		t.Errorf("the log gives something away: %s", text)
	}
	for _, want := range []string{
		`"client_id":"shop","scope":"read_payment_links","outcome":"success","status":200,"duration":"`,
		`"client_id":"shop","scope":"bad","outcome":"invalid_scope","status":400,"duration":"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines != 2 {
		t.Errorf("%d lines for two requests", lines)
	}
}
