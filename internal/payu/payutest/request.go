package payutest

import (
	"net/http"
	"net/url"
)

// maxForm is far more than any token request needs.
const maxForm = 64 << 10

// tokenRequest is what RFC 6749 section 4.4.2 puts into an access token request.
type tokenRequest struct {
	grantType    string
	clientID     string
	clientSecret string
	scopes       []string
}

// readTokenRequest takes parameters from a form-encoded body only: RFC 6749 section 2.3.1 forbids them in the URI. What
// cannot be parsed counts as missing. Credentials of a Basic header win over those in the body and are, as with
// Doorkeeper, not form-decoded.
func readTokenRequest(w http.ResponseWriter, r *http.Request) tokenRequest {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.ParseForm() != nil {
		r.PostForm = nil
	}
	t := tokenRequest{
		grantType:    last(r.PostForm, "grant_type"),
		clientID:     last(r.PostForm, "client_id"),
		clientSecret: last(r.PostForm, "client_secret"),
		scopes:       parseScope(last(r.PostForm, "scope")),
	}
	if id, secret, ok := r.BasicAuth(); ok && id != "" {
		t.clientID, t.clientSecret = id, secret
	}
	return t
}

// last returns the last of a repeated parameter's values: the one that Rack keeps.
func last(form url.Values, name string) string {
	values := form[name]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
