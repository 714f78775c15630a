package main

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

const secretValue = `AbCdEfGhIjKlMnOpQrStUvWx+&%=<"\ yZ0123456789aBcDeFgHiJkL`

func TestLeaksAreFoundInEveryForm(t *testing.T) {
	inJSON, err := json.Marshal(map[string]any{"data": []byte(secretValue), "text": secretValue})
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"raw":                     "secret=" + secretValue + "!",
		"in JSON":                 string(inJSON),
		"in JSON, as text":        `{"text":` + string(payloadOf(t, secretValue)) + `}`,
		"in a form":               url.Values{"client_secret": {secretValue}}.Encode(),
		"its beginning":           "cut short: " + secretValue[:stub] + "...",
		"its end":                 "..." + secretValue[len(secretValue)-stub:],
		"base64":                  base64.StdEncoding.EncodeToString([]byte(secretValue)),
		"base64 for URLs":         base64.RawURLEncoding.EncodeToString([]byte(secretValue)),
		"base64, one byte before": base64.StdEncoding.EncodeToString([]byte("x" + secretValue + "yyy")),
		"base64, two before":      base64.StdEncoding.EncodeToString([]byte("PAYU_TOKEN:" + secretValue + "\n")),
		"Basic auth":              base64.StdEncoding.EncodeToString([]byte("client:" + secretValue)),
		"base64, cut short":       base64.StdEncoding.EncodeToString([]byte("xy" + secretValue))[:28],
	}
	var l leaks
	l.learn("the secret", secretValue)
	for name, text := range forms {
		padded := strings.Repeat("0123456789abcdef ", 3) + "\n" + text + "\n"
		found := l.search([]byte(padded))
		if len(found) != 1 || found[0].name != "the secret" || found[0].line != 2 {
			t.Errorf("%s: found %v", name, found)
		}
	}
}

func payloadOf(t *testing.T, value string) []byte {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOtherTextIsNoLeak(t *testing.T) {
	var l leaks
	l.learn("the secret", secretValue)
	for _, text := range []string{"", "short", secretValue[1 : stub+1], strings.ToLower(secretValue), base64.StdEncoding.EncodeToString([]byte("something else altogether"))} {
		if found := l.search([]byte(text)); len(found) != 0 {
			t.Errorf("%q: found %v", text, found)
		}
	}
}

func TestAlarmsHaveATime(t *testing.T) {
	log := `{"time":"2026-11-22T12:00:01Z","msg":"fine"}` + "\npanic: index out of range\n\ngoroutine 1 [running]:\n" +
		`{"time":"2026-11-22T12:00:05Z","msg":"failed","err":"secrets is forbidden: User may not"}` + "\n"
	found := alarmsIn("manager-a.log", []byte(log))
	if len(found) != 2 || found[0].line != 2 || !found[0].at.Equal(at(1)) || found[1].text != forbidden || !found[1].at.Equal(at(5)) {
		t.Errorf("alarms %+v", found)
	}
}
