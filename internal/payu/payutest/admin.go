package payutest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// AdminHelp lists the endpoints of Server.AdminHandler.
const AdminHelp = `Admin API (JSON; durations are strings such as "1m30s"; ?client_id= narrows to one client):
  GET    /admin/settings    {"mode","token_ttl","reuse_limit_percent","latency","omit","jwt"}
  PATCH  /admin/settings    change those given
  GET    /admin/clients     the registered clients, without secrets
  PUT    /admin/clients     register or replace {"client_id","client_secret","scopes":[],"disabled","unauthorized"}
  DELETE /admin/clients?client_id=...   remove, and revoke its tokens
  GET    /admin/faults      the faults in force
  POST   /admin/faults      inject one: {"client_id","times", "latency","hang", "error","error_description","status",
                            "body","header":{},"break":"reset|close|truncate|endless","after_issue",
                            "set":{member: raw JSON},"omit":[member],"grant":[scope]}; go doc payutest.Fault explains
  DELETE /admin/faults[?client_id=...]  clear all, or those of one client (empty: those of every client)
  POST   /admin/revoke[?client_id=...]  revoke all tokens
  GET    /admin/issued[?token=...]      every token made, with its value, or one of them (404: never made)
  GET    /admin/requests    the handled token requests
  GET    /admin/counters    {"requests","resource","in_flight","max_in_flight"}
  POST   /admin/reset       forget tokens, faults, requests and counters
  GET    /healthz
`

// AdminHandler returns the admin API that AdminHelp describes. It has no authentication and shows token values: serve it on
// a loopback address only.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /admin", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, AdminHelp) })
	mux.HandleFunc("GET /admin/settings", show(func() settingsPatch { return patchOf(s.Settings()) }))
	mux.HandleFunc("PATCH /admin/settings", accept(s.patch))
	mux.HandleFunc("GET /admin/clients", show(s.Clients))
	mux.HandleFunc("PUT /admin/clients", accept(s.putClient))
	mux.HandleFunc("DELETE /admin/clients", forClient(s.RemoveClient, nil))
	mux.HandleFunc("GET /admin/faults", show(s.Faults))
	mux.HandleFunc("POST /admin/faults", accept(s.inject))
	mux.HandleFunc("DELETE /admin/faults", forClient(s.ClearFault, s.ClearFaults))
	mux.HandleFunc("POST /admin/revoke", forClient(s.RevokeAll, func() { s.RevokeAll("") }))
	mux.HandleFunc("GET /admin/issued", s.showIssued)
	mux.HandleFunc("GET /admin/requests", show(s.Requests))
	mux.HandleFunc("GET /admin/counters", show(s.Counters))
	mux.HandleFunc("POST /admin/reset", forClient(nil, s.Reset))
	return mux
}

func (s *Server) putClient(c Client) error {
	if c.ID == "" {
		return errors.New("client: no client_id")
	}
	s.PutClient(c)
	return nil
}

func (s *Server) inject(f Fault) error {
	if err := f.Validate(); err != nil {
		return err
	}
	s.Inject(f)
	return nil
}

func (s *Server) showIssued(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("token") {
		respond(w, s.Issued())
		return
	}
	issued, ok := s.TokenInfo(r.URL.Query().Get("token"))
	if !ok {
		http.Error(w, "no such token", http.StatusNotFound)
		return
	}
	respond(w, issued)
}

// show responds with what get returns.
func show[T any](get func() T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { respond(w, get()) }
}

// accept decodes the body strictly, and responds with 400 if it cannot or if use returns an error.
func accept[T any](use func(T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		err := d.Decode(&in)
		if err == nil {
			err = use(in)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// forClient calls one for the client ID in the query, or all if there is none. Without the function that is needed it
// responds with 400.
func forClient(one func(clientID string), all func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case query.Has("client_id") && one != nil:
			one(query.Get("client_id"))
		case !query.Has("client_id") && all != nil:
			all()
		default:
			http.Error(w, "client_id is missing, or not allowed here", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func respond(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
