package payutest

import (
	"fmt"
	"net/http"
)

// oauthError describes the response for an error code of RFC 6749 section 5.2.
type oauthError struct {
	status      int
	description string
}

// errorDescription is Doorkeeper's fallback for a code without a text.
const errorDescription = "The authorization server encountered an unexpected condition which prevented it from fulfilling the request."

// oauthErrors has the texts of Doorkeeper 5.5 (config/locales/en.yml) and the statuses of its ErrorResponse. Only faults
// cause those below the blank line: PayU documents rate_limit_exceeded and server_error, slow_down is RFC 8628.
var oauthErrors = map[string]oauthError{
	"invalid_request":        {http.StatusBadRequest, "The request is missing a required parameter, includes an unsupported parameter value, or is otherwise malformed."},
	"unsupported_grant_type": {http.StatusBadRequest, "The authorization grant type is not supported by the authorization server."},
	"invalid_client":         {http.StatusUnauthorized, "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method."},
	"unauthorized_client":    {http.StatusUnauthorized, "The client is not authorized to perform this request using this method."},
	"invalid_scope":          {http.StatusBadRequest, "The requested scope is invalid, unknown, or malformed."},
	"invalid_token_reuse":    {http.StatusBadRequest, errorDescription},

	"server_error":            {http.StatusInternalServerError, errorDescription},
	"rate_limit_exceeded":     {http.StatusTooManyRequests, "Too many requests. Please try again later."},
	"temporarily_unavailable": {http.StatusServiceUnavailable, "The authorization server is currently unable to handle the request due to a temporary overloading or maintenance of the server."},
	"slow_down":               {http.StatusBadRequest, "The client is asking too often."},
}

// errorAnswer is a response with an OAuth error. An empty description is Doorkeeper's text for the code.
func errorAnswer(code, description string) answer {
	known, ok := oauthErrors[code]
	if !ok {
		known = oauthError{http.StatusBadRequest, errorDescription}
	}
	if description == "" {
		description = known.description
	}
	a := answer{outcome: code, status: known.status, header: jsonHeader(), members: []member{
		{"error", JSON(code)},
		{"error_description", JSON(description)},
	}}
	if code == "rate_limit_exceeded" {
		a.set("retry_after", JSON(60)) // as in PayU's sample
	}
	a.header.Set("WWW-Authenticate", challenge(code, description))
	return a
}

// challenge is RFC 6750 section 3, which Doorkeeper sends with each error of its token endpoint as well.
func challenge(code, description string) string {
	return fmt.Sprintf(`Bearer realm="Doorkeeper", error="%s", error_description="%s"`, code, description)
}
