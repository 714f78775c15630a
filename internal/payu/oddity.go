package payu

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

// asIssued is the form of the client IDs and client secrets that PayU issues: 64 hexadecimal digits.
var asIssued = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// longestName is how long the name of a key may be that is surely no credential.
const longestName = 40

var manyDigits = regexp.MustCompile(`[0-9a-fA-F]{32}`)

// MayBeCredential reports whether a text may be a client ID or client secret that took the place of a key, or of a label's value: messages
// never repeat such a text, since more people may read PayUTokens and events than Secrets.
func MayBeCredential(text string) bool {
	return len(text) > longestName || manyDigits.MatchString(strings.ReplaceAll(text, "-", ""))
}

// AsIssued reports whether both credentials have the form of those that PayU issues.
func (c Credentials) AsIssued() bool {
	return asIssued.MatchString(c.ClientID) && asIssued.MatchString(c.ClientSecret)
}

// Oddities says what about credentials often goes wrong on their way into a Secret, without a character of them: for whoever
// wonders why PayU refuses them. Empty if nothing looks odd. idName and secretName are how the reader knows them.
func Oddities(c Credentials, idName, secretName string) string {
	if c.ClientID == c.ClientSecret {
		return fmt.Sprintf("%s and %s are the same value", idName, secretName)
	}
	var list []string
	for _, credential := range []struct{ name, value string }{{idName, c.ClientID}, {secretName, c.ClientSecret}} {
		if odd := oddity(credential.value); odd != "" {
			list = append(list, credential.name+" "+odd)
		}
	}
	if id, secret := asIssued.MatchString(c.ClientID), asIssued.MatchString(c.ClientSecret); len(list) == 0 && id != secret {
		name := idName
		if id {
			name = secretName
		}
		list = append(list, name+" is not 64 hexadecimal digits, as the other one is")
	}
	return strings.Join(list, ", and ")
}

func oddity(value string) string {
	first, last := value[:1], value[len(value)-1:]
	switch {
	case first == last && len(value) > 1 && strings.Contains(`"'`+"`", first):
		return "is in quotes"
	case first == " " || last == " ":
		return "begins or ends with a blank"
	case isEncoded(value):
		return "is encoded in base64 once too often"
	default:
		return ""
	}
}

// isEncoded reports whether a value is base64 of what looks like a credential. 64 hexadecimal digits are base64, too, but not of
// printable characters. Line breaks do not matter: tools wrap base64.
func isEncoded(value string) bool {
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(decoded) < 16 {
		return false
	}
	credential, err := ParseCredential(decoded)
	return err == nil && !strings.Contains(credential, " ")
}
