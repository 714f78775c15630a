package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// requestLimit is the time limit of requests to the API server. It exceeds the 10 s that an admission webhook has by default, so that
// the API server can ignore a webhook that hangs, or name it in its response.
const requestLimit = 13 * time.Second

// bounded cancels requests that exceed a limit, from sending the request to the last byte of the response. Watches have no limit.
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

// boundedBody is the body of the response to a request with a limit.
type boundedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelFunc
}

// Read implements io.Reader. After the limit, the end of the body is an error, too: a server may end its response early because the
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

// inTime returns err, or the cause if ctx is done.
func inTime(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// timeout is the error of a request that exceeds its limit.
type timeout time.Duration

// Error implements error.
func (t timeout) Error() string {
	return fmt.Sprintf("timeout: no response within %s", time.Duration(t))
}

// Timeout is true, as net.Error defines it.
func (timeout) Timeout() bool { return true }

// Is makes errors.Is treat it like the deadline of a context.
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }
