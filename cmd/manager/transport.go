package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// requestLimit ends requests to the API server. It is more than the 10 s that an admission webhook has by default: one that hangs must
// be named by the API server's answer, or be ignored by it, before the request ends.
const requestLimit = 13 * time.Second

// bounded ends requests that take too long, from the first byte sent to the last byte of the body. Watches are left alone.
type bounded struct {
	next  http.RoundTripper
	limit time.Duration
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	if watch := request.URL.Query().Get("watch"); watch == "true" || watch == "1" {
		return b.next.RoundTrip(request)
	}
	ctx, cancel := context.WithTimeoutCause(request.Context(), b.limit, timeout(b.limit))
	response, err := b.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		defer cancel()
		return nil, inTime(ctx, err)
	}
	response.Body = &boundedBody{ReadCloser: response.Body, ctx: ctx, cancel: cancel}
	return response, nil
}

// boundedBody is what a request with a limit answers.
type boundedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelFunc
}

// Read implements io.Reader. Beyond the limit the end of the body counts as an error, too: a server may end its answer early because the
// client hangs up.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		err = inTime(b.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// inTime returns err, or, if the request has ended because of its context, why that is.
func inTime(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// timeout says that a request took too long.
type timeout time.Duration

// Error implements error.
func (t timeout) Error() string {
	return fmt.Sprintf("timeout: no answer within %s", time.Duration(t))
}

// Timeout is what net.Error calls it.
func (timeout) Timeout() bool { return true }

// Is has errors.Is take it for what ends a context.
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }
