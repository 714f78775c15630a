package main

import (
	"fmt"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// latency measures how long it takes from the request that creates a PayUToken until its Secret is visible to others,
// one at a time, with everything else at rest.
func (b *bench) latency() []section {
	s := section{title: "One PayUToken at a time", head: []string{"", "median", "95 of 100 within", "median, less the token server's"}}
	namespace, remove := b.namespace()
	defer remove()
	b.createCredentials(namespace, 2*b.singles)
	m := b.operator(b.account)
	defer b.stop(m)
	b.warm()
	asked := b.timeSingles(b.singles, 0, func(n int) { lab.Must(b.payu.Token(b.Context(), sourceOf(n)))(b) })
	s.add("token server's answer", milliseconds(median(asked)), milliseconds(quantile(asked, 0.95)), "")
	secrets := b.watchSecrets(namespace)
	defer secrets.stop()
	first := 0
	for _, row := range []struct {
		what  string
		pause time.Duration // long enough for the operator to report on the one before
	}{
		{"creation until the Secret is visible, soon after another", 300 * time.Millisecond},
		{"creation until the Secret is visible, first for a while", 1500 * time.Millisecond},
	} {
		took := b.timeSingles(b.singles, row.pause, func(n int) {
			lab.Check(b, b.client.Create(b.Context(), newToken(namespace, first+n, first+n)))
			lab.Must(secrets.await(b.Context(), 1, true, lab.Patience))(b)
		})
		first += b.singles
		over := median(took) - median(asked)
		s.add(row.what, milliseconds(median(took)), milliseconds(quantile(took, 0.95)), milliseconds(over))
		b.goal(row.what+", less the token server's answer (median)", "at most 20 ms", milliseconds(over), over <= 20*time.Millisecond)
	}
	s.note("%d times each, one at a time. The creation counts from before the request for it is sent; the Secret is visible when a watch shows it. The first for a while (a second) in its namespace is tried out first: the API server is asked, with a dry run, whether it would accept the Secret.", b.singles)
	return []section{s}
}

// timeSingles returns how long it took each time, with a pause before each.
func (b *bench) timeSingles(n int, rest time.Duration, do func(n int)) []time.Duration {
	took := make([]time.Duration, n)
	for i := range n {
		lab.Check(b, lab.Pause(b.Context(), rest))
		began := time.Now()
		do(i)
		took[i] = time.Since(began)
	}
	return took
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
