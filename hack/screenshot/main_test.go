package main

import (
	"encoding/xml"
	"strings"
	"testing"
)

func TestPicture(t *testing.T) {
	got := picture("\x1b[31mRed\x1b[39m & \x1b[1mbold\x1b[0m\n  \x1b[2mfaint\x1b[0;1m\x1b[39mX\x1b[0m\x1b[32m██\nnext\n\n")
	if err := xml.Unmarshal([]byte(got), new(struct{})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`x="14.0" y="27" textLength="25.2" lengthAdjust="spacingAndGlyphs" xml:space="preserve" fill="#ff7b72">Red<`,
		`x="47.6" y="27" textLength="8.4" lengthAdjust="spacingAndGlyphs" xml:space="preserve">&amp;<`,
		` font-weight="bold">bold<`, ` fill="#7d8590">faint<`, ` font-weight="bold">X<`,
		`<rect x="81.2" y="33" width="16.8" height="15" fill="#56d364"/>`, ` fill="#56d364">next<`,
		`viewBox="0 0 112 82"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
