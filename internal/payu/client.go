package payu

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// PayU's base URLs.
const (
	TestBaseURL       = "https://uat-accounts.payu.in"
	ProductionBaseURL = "https://accounts.payu.in"
)

// MaxInFlight is how many requests the operator makes at once in one environment: so many connections are kept.
const MaxInFlight = 64

// Config says where and how a Client asks.
type Config struct {
	// BaseURLs by environment: https, or http to a loopback address.
	BaseURLs map[string]string
	// CAs is PEM to be trusted beside the system's roots; may be empty.
	CAs []byte
	// Timeout bounds a request as a whole, from the connection to the last byte of the answer.
	Timeout time.Duration
	// UserAgent names the operator and its version to PayU.
	UserAgent string
	// Now is the clock that a token's life is counted from.
	Now func() time.Time
}

// Client makes token requests: one POST each, no retry, no redirect, TLS 1.2 or newer. It goes through the proxy
// that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name.
type Client struct {
	config    Config
	endpoints map[string]string
	http      *http.Client
}

// NewClient returns a Client, or an error that names the bad base URL or says that CAs holds no certificate.
func NewClient(config Config) (*Client, error) {
	endpoints := make(map[string]string, len(config.BaseURLs))
	for environment, base := range config.BaseURLs {
		endpoint, err := tokenEndpoint(base)
		if err != nil {
			return nil, fmt.Errorf("base URL of environment %s: %w", environment, err)
		}
		endpoints[environment] = endpoint
	}
	roots, err := rootsWith(config.CAs)
	if err != nil {
		return nil, err
	}
	return &Client{config: config, endpoints: endpoints, http: newHTTPClient(config.Timeout, roots)}, nil
}

func newHTTPClient(timeout time.Duration, roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: timeout,
		// A 307 or 308 would send the client secret to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: MaxInFlight,
			IdleConnTimeout:     90 * time.Second,
		},
	}
}

func tokenEndpoint(base string) (string, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "":
		return "", fmt.Errorf("%q is no URL: write it like %s", base, TestBaseURL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%s: leave out user, query and fragment", u.Redacted())
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return u.JoinPath("oauth/token").String(), nil
	default:
		return "", fmt.Errorf("%q would send the client secret unencrypted: use https (http only to a loopback address)", base)
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func rootsWith(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil // the system's roots, read when they are first needed
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no PEM certificate in it")
	}
	return roots, nil
}

// Token makes one request for a token. Its errors are of type *Error.
func (c *Client) Token(ctx context.Context, source Source) (Token, error) {
	request, err := c.newRequest(ctx, source)
	if err != nil {
		return Token{}, err
	}
	sentAt := c.config.Now()
	a, err := c.roundTrip(request)
	if err != nil {
		return Token{}, err
	}
	return decode(a, source.Scopes, sentAt)
}

func (c *Client) newRequest(ctx context.Context, source Source) (*http.Request, error) {
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {source.Credentials.ClientID},
		"client_secret": {source.Credentials.ClientSecret},
		"scope":         {strings.Join(source.Scopes, " ")},
	}
	endpoint := c.endpoints[source.Environment]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil || endpoint == "" {
		return nil, &Error{Reason: Unreachable, Detail: "no base URL is known for the environment"}
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.config.UserAgent)
	return request, nil
}

func (c *Client) roundTrip(request *http.Request) (answer, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, unreachable(request.URL.Host, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err == nil:
		return answer{status: response.StatusCode, header: response.Header, body: body}, nil
	case isTimeout(err):
		return answer{}, unreachable(request.URL.Host, err)
	default:
		return answer{}, invalid("the answer ended early")
	}
}

// unreachable says why no answer came, in words that are the same each time: ports, addresses and times vary, and
// a proxy's URL may hold a password.
func unreachable(host string, err error) *Error {
	return &Error{Reason: Unreachable, Detail: fmt.Sprintf("no answer from %s: %s", host, causeOf(err))}
}

func causeOf(err error) string {
	var (
		dns       *net.DNSError
		errno     syscall.Errno
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		cert      *tls.CertificateVerificationError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host (DNS)"
	case errors.As(err, &dns):
		return "the host name cannot be looked up (DNS)"
	case isTimeout(err):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "the operator is stopping"
	case errors.As(err, &authority):
		return "its certificate is signed by an unknown authority (TLS)"
	case errors.As(err, &hostname):
		return "its certificate is for another host name (TLS)"
	case errors.As(err, &cert):
		return "its certificate is not valid (TLS)"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &op) && isAlert(op):
		return "the TLS handshake failed"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before an answer"
	default:
		return "the connection failed"
	}
}

// isAlert recognises a TLS alert by the words that crypto/tls uses, since its own type is not exported.
func isAlert(op *net.OpError) bool { return op.Op == "remote error" || op.Op == "local error" }

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
