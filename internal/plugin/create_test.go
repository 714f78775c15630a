package plugin_test

import (
	"strings"
	"testing"
)

// create prints nothing that the API server refuses afterwards.
func TestCreateRefusesWhatTheAPIServerWould(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"links", "--scopes=read_bills,read_bills"}, "--scopes: read_bills is repeated: write each scope once"},
		{[]string{"links", "--scopes=read_bills read_plans"}, `"read_bills read_plans" holds a blank: separate scopes by commas`},
		{[]string{"links", "--scopes=read_bills, read_plans"}, `" read_plans" holds a blank: separate scopes by commas`},
		{[]string{"links", `--scopes=read\bills`}, "a scope holds printable ASCII"},
		{[]string{"links", "--scopes="}, "--scopes: give at least one scope"},
		{[]string{"Links_1", "--scopes=read_bills"}, `"Links_1" cannot be the name of a PayUToken`},
		{[]string{"links", "--scopes=read_bills", "--target=Links_1"}, `"Links_1" cannot be the name of a Secret (--target)`},
		{[]string{"links", "--scopes=read_bills", "--credentials=Links_1"}, `"Links_1" cannot be the name of a Secret (--credentials)`},
		{[]string{"links", "--scopes=read_bills", "--delivery=prompt"}, "spec.target.delivery should be one of [Eventual Prompt]"},
		{[]string{"links", "--scopes=read_bills", "-n", "Shop_1"}, `"Shop_1" cannot be the name of a namespace`},
		{[]string{"links", "--scopes=read_bills", "--target=payu-credentials"}, `the target Secret must not be the credentials Secret "payu-credentials"`},
		{[]string{"payu-credentials", "--scopes=read_bills"}, `the target Secret must not be the credentials Secret "payu-credentials"`},
	} {
		s.run(append([]string{"create", "--environment=Test"}, test.args...)...).wantError(t, test.want)
	}
}

func TestCreateWithDelivery(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.run("create", "links", "--environment=Test", "--scopes=read_bills", "--delivery=Prompt").want(t, 0, "  target:\n    delivery: Prompt\n")
}

// What looks wrong about credentials is said where it can still be mended, and not among the manifests.
func TestCreateHintsAtOddCredentials(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	got := s.run("create", "links", "--environment=Test", "--scopes=read_bills", "--from-env-file", s.file("payu.env", `client_id="merchant"`+"\nclient_secret=x\n"))
	got.want(t, 0, "hint: client_id is in quotes: compare with what PayU issued\n", "kind: Secret")
	if strings.Contains(got.stdout, "hint") {
		t.Errorf("stdout:\n%s", got.stdout)
	}
}
