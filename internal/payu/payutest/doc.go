// Package payutest simulates PayU's OAuth 2.0 server: a token endpoint that behaves as a real Doorkeeper 5.5 does (PayU's
// error texts are Doorkeeper's, word for word), a protected resource to use its tokens on, and every fault that a
// network, a proxy or another server may add.
//
//	srv := payutest.Run(t, payutest.Config{Clients: []payutest.Client{{ID: "shop", Secret: "s3cret"}}})
//	client := payu.NewClient(srv.URL, srv.CAFile)          // the code under test
//	srv.SetMode(payutest.RevokePrevious)                   // while it runs
//	srv.Inject(payutest.Fault{Error: "rate_limit_exceeded", Times: 2})
//	srv.Issued(), srv.Requests(), srv.Counters()           // what happened
//
// The token server itself ([Server]) answers
//
//	POST /oauth/token          RFC 6749 section 4.4, grant_type=client_credentials
//	GET  /resource[?scope=s]   200 for a live bearer token (that carries scope s), else 401 (403)
//	GET  /healthz              200
//
// and [Server.AdminHandler] answers what [AdminHelp] lists, on an address of its own; [Admin] is its client. The program
// cmd/payu-simulator puts flags around both.
//
// It imports only the standard library and package payu, and not package testing, so that the program does not link it.
package payutest
