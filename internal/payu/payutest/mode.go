package payutest

import "fmt"

// Mode says what a token request does when the client already has a token with the same scope set. The zero value is
// Default.
type Mode string

const (
	// Default issues a new token with the full lifetime for each request; earlier ones stay valid.
	Default Mode = "default"
	// Reuse returns the same token again, with the rest of its lifetime (Doorkeeper: reuse_access_token).
	Reuse Mode = "reuse"
	// RevokePrevious issues a new token and revokes the previous one (revoke_previous_client_credentials_token).
	RevokePrevious Mode = "revoke-previous"
)

// ParseMode returns the mode with that name.
func ParseMode(name string) (Mode, error) {
	switch mode := Mode(name); mode {
	case Default, Reuse, RevokePrevious:
		return mode, nil
	}
	return "", fmt.Errorf("mode %q: want %s, %s or %s", name, Default, Reuse, RevokePrevious)
}

// UnmarshalText refuses names that ParseMode refuses.
func (m *Mode) UnmarshalText(text []byte) error {
	mode, err := ParseMode(string(text))
	if err != nil {
		return err
	}
	*m = mode
	return nil
}
