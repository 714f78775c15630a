package screen

import (
	"os"
	"strings"
	"testing"
)

// TestTheOperatorSaysTheWordsByWhichItsMessagesAreKnown, as its own golden file has them.
func TestTheOperatorSaysTheWordsByWhichItsMessagesAreKnown(t *testing.T) {
	messages, err := os.ReadFile("../../controller/testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{writtenByOperator, lacksLabel} {
		if !strings.Contains(string(messages), words) {
			t.Errorf("the operator no longer says %q", words)
		}
	}
}
