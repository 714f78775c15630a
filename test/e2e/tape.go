package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

// tape is what a workload has told of its calls.
type tape struct {
	source string // its URL
	http   *http.Client

	mu   sync.Mutex
	list []calls.Call
}

// update reads on.
func (t *tape) update(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s?from=%d", t.source, len(t.list)), nil)
	if err != nil {
		return err
	}
	answer, err := t.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the workload for its calls: %s", answer.Status)
	}
	var more []calls.Call
	if err := json.NewDecoder(answer.Body).Decode(&more); err != nil {
		return err
	}
	t.list = append(t.list, more...)
	return nil
}

// since returns the calls from a mark on.
func (t *tape) since(mark int) []calls.Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list[mark:]
}

// mark returns the place of the last call of now, for those after it to be looked at later.
func (t *tape) mark(ctx context.Context) (int, error) {
	err := await(ctx, patience, "the workload tells of its calls", func(ctx context.Context) (bool, error) {
		err := t.update(ctx)
		return err == nil, err
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.list) - 1, err
}

// awaitRenewals waits until the workload has seen so many since the mark.
func (t *tape) awaitRenewals(ctx context.Context, mark, n int, limit time.Duration) error {
	return await(ctx, limit, fmt.Sprintf("the workload has a new token (number %d)", n), func(ctx context.Context) (bool, error) {
		err := t.update(ctx)
		return calls.Summarize(t.since(mark)).Renewals >= n, err
	})
}
