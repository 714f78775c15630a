package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stub is how long a part of a secret value is searched for: long enough to be no accident, short enough to find one
// that was cut short.
const stub = 16

// leaks finds secret values in files, by the beginning and the end of each, raw, percent-encoded and in base64.
type leaks struct {
	stubs map[[stub]byte]string // what it is a part of
	// firsts tells quickly where no stub begins.
	firsts [256 * 256]bool
}

// learn adds a secret value of 2 * stub bytes or more. Its name is what to call it when it is found.
func (l *leaks) learn(name, value string) {
	if l.stubs == nil {
		l.stubs = map[[stub]byte]string{}
	}
	for _, text := range append(base64Forms(value), value, url.QueryEscape(value)) {
		l.add(name, text[:stub])
		l.add(name, text[len(text)-stub:])
	}
}

func (l *leaks) add(name, text string) {
	var key [stub]byte
	copy(key[:], text)
	l.stubs[key] = name
	l.firsts[int(key[0])<<8|int(key[1])] = true
}

// base64Forms returns what base64 makes of a value at each of the three places where it may stand in a longer text,
// without the characters that its neighbours have a part in.
func base64Forms(value string) []string {
	var forms []string
	for shift := range 3 {
		text := []byte(strings.Repeat("x", shift) + value)
		whole := len(text) / 3 * 3 // the last bits of the rest mingle with what follows
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(text[:whole])
			if shift > 0 {
				encoded = encoded[4:]
			}
			forms = append(forms, encoded)
		}
	}
	return forms
}

// finding is a secret value in a place.
type finding struct {
	name string
	line int
}

// search returns the secret values in a text, each once.
func (l *leaks) search(text []byte) []finding {
	var found []finding
	seen := map[string]bool{}
	for i := 0; i+stub <= len(text); i++ {
		if !l.firsts[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		name, hit := l.stubs[[stub]byte(text[i:i+stub])]
		if hit && !seen[name] {
			seen[name] = true
			found = append(found, finding{name, 1 + bytes.Count(text[:i], []byte("\n"))})
		}
	}
	return found
}

// searched says what a search looked at.
type searched struct {
	files  int
	bytes  int64
	leaks  []violation
	alarms []alarm
}

// alarm is a line of a log that there should not be.
type alarm struct {
	text string
	file string
	line int
	at   time.Time
}

// forbidden is what the API server says to one who may not do something.
const forbidden = "is forbidden"

// alarms are what a log may not say: that a Go program is at its worst, or may not do what it tries to.
var alarms = []string{"panic:", "Observed a panic", "fatal error:", "DATA RACE", forbidden}

// searchFolder reads every file of a folder.
func (l *leaks) searchFolder(dir string) (searched, error) {
	var s searched
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return s, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return s, err
		}
		s.files++
		s.bytes += int64(len(text))
		for _, f := range l.search(text) {
			s.leaks = append(s.leaks, violation{"a secret value leaked", fmt.Sprintf("%s in %s, line %d", f.name, filepath.Base(file), f.line)})
		}
		if filepath.Ext(file) == ".log" {
			s.alarms = append(s.alarms, alarmsIn(filepath.Base(file), text)...)
		}
	}
	return s, nil
}

func alarmsIn(file string, log []byte) []alarm {
	var found []alarm
	number := 0
	var at time.Time // of the last line that has a time: a panic has none
	for line := range bytes.Lines(log) {
		number++
		var stamp struct{ Time time.Time }
		if json.Unmarshal(line, &stamp) == nil {
			at = stamp.Time
		}
		for _, text := range alarms {
			if bytes.Contains(line, []byte(text)) {
				found = append(found, alarm{text, file, number, at})
			}
		}
	}
	return found
}
