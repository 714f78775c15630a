package target

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// seal is the annotation auth.payu.in/source of a target Secret: 2.<data>.<mac>.<shape>.
//
// data tells whole data from damaged ones without any secret. mac proves what the token was made from: whoever does not
// know the client secret cannot make one, and whoever does not have the Secret's data can test no guess of a client
// secret with it, since it covers the data themselves and not their digest in the annotation. shape tells whether the rest
// of the Secret is as the spec asks.
type seal struct{ data, mac, shape digest }

// sealVersion stands first in a seal.
const sealVersion = "2"

// digest is a SHA-256.
type digest [sha256.Size]byte

// String returns the seal as it stands in the annotation.
func (s seal) String() string {
	return strings.Join([]string{sealVersion, s.data.String(), s.mac.String(), s.shape.String()}, ".")
}

func (d digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// parseSeal reads the annotation. ok is false if it is not a seal of this version.
func parseSeal(annotation string) (s seal, ok bool) {
	parts := strings.Split(annotation, ".")
	if len(parts) != 4 || parts[0] != sealVersion {
		return seal{}, false
	}
	for i, d := range []*digest{&s.data, &s.mac, &s.shape} {
		decoded, err := base64.RawURLEncoding.DecodeString(parts[i+1])
		if err != nil || len(decoded) != len(d) {
			return seal{}, false
		}
		*d = digest(decoded)
	}
	return s, true
}

// Key proves that a seal was made by somebody who knows a client secret. It is of use for nothing else.
type Key digest

// KeyFor returns the key for a client. It is a digest and not the client secret itself: FIPS 140-3 refuses HMAC keys of
// less than 14 bytes.
func KeyFor(environment string, c payu.Credentials) Key {
	return Key(digestOf("payu-token-operator seal", environment, c.ClientID, c.ClientSecret))
}

// old returns the key of seals that replace one of the former version. That one proved less, so that what they seal is
// shared with nobody either.
func (k Key) old() Key { return Key(digestOf("former", string(k[:]))) }

// statement is what a mac proves of a token: what it was made from, and whether PayU stated its life.
type statement struct {
	scopes       []string
	granted      string
	lifeUnstated bool
	templates    digest
}

// mac binds content, the digest of data that is in no annotation, to a statement about the token in the data.
func (k Key) mac(content digest, c statement) digest {
	parts := []string{content.String(), joinedSet(c.scopes), joinedSet(strings.Fields(c.granted)), c.templates.String()}
	if c.lifeUnstated {
		parts = append(parts, "life unstated")
	}
	h := hmac.New(sha256.New, k[:])
	writeAll(h, parts)
	return digest(h.Sum(nil))
}

// equal compares in constant time.
func (d digest) equal(other digest) bool { return hmac.Equal(d[:], other[:]) }

// dataDigest covers the data and, since they say as much about the token, the times in the annotations. It stands in the
// seal.
func dataDigest(data map[string][]byte, fetchedAt, expiresAt string) digest {
	return digestOf(dataParts("data", data, fetchedAt, expiresAt)...)
}

// contentDigest covers the same and must stand nowhere: with it, guesses of the client secret could be tested against the
// mac.
func contentDigest(data map[string][]byte, fetchedAt, expiresAt string) digest {
	return digestOf(dataParts("content", data, fetchedAt, expiresAt)...)
}

func dataParts(title string, data map[string][]byte, fetchedAt, expiresAt string) []string {
	parts := []string{title, fetchedAt, expiresAt}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		parts = append(parts, key, string(data[key]))
	}
	return parts
}

func digestOf(parts ...string) digest {
	h := sha256.New()
	writeAll(h, parts)
	return digest(h.Sum(nil))
}

// writeAll hashes the parts, each with its length before it: different lists never become the same bytes.
func writeAll(h hash.Hash, parts []string) {
	var length [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		_, _ = io.WriteString(h, p) // a hash returns no error
	}
}

func joinedSet(list []string) string { return strings.Join(slices.Compact(sorted(list)), " ") }

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
