// Package payu asks PayU (India) for access tokens and knows a token's life. It speaks the Get Token and Get
// Client Token APIs: the client credentials grant of OAuth 2.0 (RFC 6749 section 4.4).
package payu

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Credentials are a client ID and a client secret (RFC 6749 section 2.3.1). They print as "[redacted]".
type Credentials struct {
	ClientID     string
	ClientSecret string
}

// String keeps the credentials out of logs and error texts.
func (Credentials) String() string { return "[redacted]" }

// GoString keeps the credentials out of %#v.
func (Credentials) GoString() string { return "[redacted]" }

// MarshalText keeps it out of structured logs.
func (Credentials) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// ParseCredential returns a client ID or client secret as it is sent: without the one LF or CRLF that echo and
// editors leave at its end. An empty value, or one with a byte outside printable ASCII (%x20-7E), is an error
// that names the kind of byte and never the value. It also says so if the value looks like base64 with line breaks.
func ParseCredential(value []byte) (string, error) {
	s, lineEnd := strings.CutSuffix(string(value), "\n")
	if lineEnd {
		s = strings.TrimSuffix(s, "\r")
	}
	if s == "" {
		return "", fmt.Errorf("is empty")
	}
	for i := range len(s) {
		if isLineBreak(s[i]) && isEncoded(s) {
			return "", fmt.Errorf("holds %s, which no PayU credential has, and looks encoded in base64 once too often", kindOfByte(s[i]))
		}
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", fmt.Errorf("holds %s, which no PayU credential has", kindOfByte(s[i]))
		}
	}
	return s, nil
}

func isLineBreak(b byte) bool { return b == '\n' || b == '\r' }

func kindOfByte(b byte) string {
	switch {
	case isLineBreak(b):
		return "a line break"
	case b == '\t':
		return "a tab"
	case b == 0:
		return "a NUL byte"
	case b >= 0x80:
		return "a byte outside ASCII"
	default:
		return "a control character"
	}
}

// Source is all that a token is made from. Two Sources with the same Key get the same token.
type Source struct {
	Environment string
	Credentials Credentials
	// Scopes are a set; the order is that of the request.
	Scopes []string
}

// Key tells sources apart without giving anything away: a digest of a source, and one of its client.
type Key struct {
	Source Digest
	Client Digest
}

// Key returns the key of the source.
func (s Source) Key() Key { return KeyFor(ClientKey(s.Environment, s.Credentials), s.Scopes) }

// ClientKey returns what tells a client from all others.
func ClientKey(environment string, c Credentials) Digest {
	return DigestOf("client", environment, c.ClientID, c.ClientSecret)
}

// KeyFor returns the key of the source that a client and a set of scopes make.
func KeyFor(client Digest, scopes []string) Key {
	return Key{Client: client, Source: DigestOf(append([]string{"source", client.String()}, sortedSet(scopes)...)...)}
}

// Digest is 128 bits of a SHA-256. The zero Digest is that of nothing.
type Digest [16]byte

// DigestOf returns the digest of the parts. Different lists of parts have different digests. A client secret of PayU is
// random and long, so that nobody finds it by trying.
func DigestOf(parts ...string) Digest {
	var list []byte
	for _, p := range parts {
		list = binary.BigEndian.AppendUint64(list, uint64(len(p)))
		list = append(list, p...)
	}
	sum := sha256.Sum256(list)
	return Digest(sum[:16])
}

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
