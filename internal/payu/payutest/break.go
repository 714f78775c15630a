package payutest

import (
	"net"
	"net/http"
	"strconv"
)

// Break is a way for a response to break.
type Break string

const (
	// BreakReset resets the TCP connection instead of responding.
	BreakReset Break = "reset"
	// BreakClose closes the connection instead of responding.
	BreakClose Break = "close"
	// BreakTruncate announces the whole response, sends half of its body and closes the connection.
	BreakTruncate Break = "truncate"
	// BreakEndless sends a body without end: Fault.Body over and over, or the start of a JSON string that never closes.
	BreakEndless Break = "endless"
)

// reset sends RST instead of FIN, by way of a zero linger time.
func reset(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = secure.NetConn() // closing the TLS layer would say goodbye first
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	raw.Close()
}

func truncate(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(max(len(body), 1)))
	w.WriteHeader(status)
	w.Write(body[:len(body)/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func endless(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.WriteHeader(status)
	chunk := body
	if len(body) == 0 {
		w.Write([]byte(`{"access_token":"`))
		chunk = []byte("0123456789abcdef")
	}
	for len(chunk) < 4096 {
		chunk = append(chunk, chunk...)
	}
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}
