// Package lab provides the cast of every test and program that runs the operator.
//
//	var cluster *lab.Cluster // a real kube-apiserver and etcd
//
//	func TestMain(m *testing.M) { lab.RunTests(m, &cluster, lab.StartCluster) }
//
//	func TestAToken(t *testing.T) {
//		shop := cluster.NewShop(t)                        // a namespace
//		payu := lab.RunPayU(t, payutest.Config{})         // PayU, which knows one merchant
//		shop.Credentials("payu-credentials", lab.Merchant, lab.MerchantSecret)
//		shop.Operate(payu)                                // the operator, until the end of the test, when it must stop well
//		shop.Create("links")
//		shop.AwaitReady("links")
//	}
//
// A program has [Main] for its frame, and starts the same cast by [StartCluster], [StartSimulator] and [Operator].
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// Patience bounds every wait for something that will come: a busy machine may take its time.
const Patience = 2 * time.Minute

// OperatorName is the name of the operator's namespace and ServiceAccount in config/default, and of nearly all else.
const OperatorName = "payu-token-operator"

// Must returns a value, or ends the test if there is an error: lab.Must(os.ReadFile(path))(t).
func Must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		Check(t, err)
		return value
	}
}

// Check ends the test unless err is nil.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Within limits a wait for a promise. After the limit, the cause names the promise.
func Within(ctx context.Context, limit time.Duration, promise string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("not seen within %s: %s", limit.Round(time.Millisecond), promise))
}

// Await tries again and again until there is no error. When the time is up, the error names the promise and the last failure.
func Await(ctx context.Context, limit time.Duration, promise string, try func(context.Context) error) error {
	return AwaitEvery(ctx, 20*time.Millisecond, limit, promise, try)
}

// AwaitEvery is Await with another interval, for an attempt that costs something.
func AwaitEvery(ctx context.Context, interval, limit time.Duration, promise string, try func(context.Context) error) error {
	ctx, cancel := Within(ctx, limit, promise)
	defer cancel()
	again := time.NewTicker(interval)
	defer again.Stop()
	var trouble error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else it is only that the time is up
			trouble = err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return causeWith(ctx, trouble)
		}
	}
}

// causeWith is why ctx has ended, and what else went wrong.
func causeWith(ctx context.Context, trouble error) error {
	if trouble == nil || errors.Is(trouble, errNotSo) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), trouble)
}

// So returns nil if something is so, and otherwise an error that adds nothing to the promise of Await.
func So(so bool) error {
	if so {
		return nil
	}
	return errNotSo
}

var errNotSo = errors.New("it is not so")

// Unless returns nil if something is so, and otherwise an error with that message.
func Unless(so bool, format string, args ...any) error {
	if so {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// Outcome returns why ctx has ended, if it has, since all else failed because of that; otherwise err.
func Outcome(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// AwaitTrue waits until something is true, or ends the test.
func AwaitTrue(t testing.TB, promise string, look func() bool) {
	t.Helper()
	Check(t, Await(t.Context(), Patience, promise, func(context.Context) error { return So(look()) }))
}

// Pause lets time go by.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Get returns what a server responds with. Any status but 200 is an error.
func Get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return string(text), err
}
