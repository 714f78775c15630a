package main

import (
	"fmt"
	"os"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// warmUp is how many PayUTokens are made before the clock runs, for connections to be open.
const warmUp = 2 * workers

// load is what a run took.
type load struct {
	took time.Duration
	// cpu is what each program used meanwhile, by its name: the operators are "manager", this program is "bench".
	cpu map[string]time.Duration
	// resident is the memory of each operator afterwards, on average.
	resident float64
}

func (l load) perSecond(n int) float64 { return float64(n) / l.took.Seconds() }

// throughput has the bare loop and the operator in turn make Secrets for PayUTokens that appear as fast as they can.
func (b *bench) throughput() []section {
	s := section{title: "Many new PayUTokens at once", head: []string{"PayUTokens", "bare loop", "operator", "operator / bare loop"}}
	c := section{title: "CPU time for each of them", head: []string{"PayUTokens", "by", "kube-apiserver", "etcd", "operator", "token server", "bench", "in all"}}
	for _, n := range b.sizes {
		var bare, operator []load
		for range b.repeat {
			one, two := b.timeBare(n), b.timeOperators(n, nil)
			b.Say("%d PayUTokens: bare loop %s, operator %s", n, rate(one.perSecond(n)), rate(two.perSecond(n)))
			bare, operator = append(bare, one), append(operator, two)
		}
		ofBare, ofOperator := rates(bare, n), rates(operator, n)
		ratio := median(ofOperator) / median(ofBare)
		s.add(n, ranged(ofBare), ranged(ofOperator), fmt.Sprintf("%.0f %%", 100*ratio))
		c.rows = append(c.rows, append([]string{fmt.Sprint(n), "bare loop"}, cpuRow(bare, n)...))
		c.rows = append(c.rows, append([]string{fmt.Sprint(n), "operator"}, cpuRow(operator, n)...))
		b.inputs.perSecond = median(ofOperator)
		b.inputs.serverCPU = medianCPU(operator, "kube-apiserver", n)
		b.goal(fmt.Sprintf("throughput of the operator, of the bare loop's, %d PayUTokens", n), "60 %", fmt.Sprintf("%.0f %%", 100*ratio), ratio >= 0.60)
	}
	s.note("Medians of %d, and the least and the most, one client each, %d workers, until the last Secret is visible.", b.repeat, workers)
	c.note("Medians. The bench creates the PayUTokens in both, and is the bare loop itself.")
	return []section{s, c}
}

func rates(loads []load, n int) []float64 {
	list := make([]float64, len(loads))
	for i, l := range loads {
		list[i] = l.perSecond(n)
	}
	return list
}

func ranged(rates []float64) string {
	return fmt.Sprintf("%s (%.1f to %.1f)", rate(median(rates)), quantile(rates, 0), quantile(rates, 1))
}

// cpuRow returns the medians of the CPU time of each program for one of n PayUTokens, and their sum.
func cpuRow(loads []load, n int) []string {
	var row []string
	var sum time.Duration
	for _, program := range []string{"kube-apiserver", "etcd", "manager", "payu-simulator", "bench"} {
		each := medianCPU(loads, program, n)
		row = append(row, milliseconds(each))
		sum += each
	}
	return append(row, milliseconds(sum))
}

func medianCPU(loads []load, program string, n int) time.Duration {
	var each []time.Duration
	for _, l := range loads {
		each = append(each, l.cpu[program]/time.Duration(n))
	}
	return median(each)
}

// cpuTimes returns the CPU time of all programs so far.
func (b *bench) cpuTimes(managers []*manager) map[string]time.Duration {
	all := map[string]time.Duration{"bench": b.usageOf(os.Getpid()).cpu, "payu-simulator": b.usageOf(b.simulator.PID()).cpu}
	for name, pid := range children() {
		if name == "etcd" || name == "kube-apiserver" {
			all[name] += b.usageOf(pid).cpu
		}
	}
	for _, m := range managers {
		all["manager"] += b.usageOf(m.PID()).cpu
	}
	return all
}

// timed runs the clock until n Secrets of a namespace are visible that do has made, or the operators for it.
func (b *bench) timed(namespace string, n int, do func(), managers ...*manager) load {
	secrets := b.watchSecrets(namespace)
	defer secrets.stop()
	before, began := b.cpuTimes(managers), time.Now()
	do()
	last := lab.Must(secrets.await(b.Context(), n, true, lab.Patience+time.Duration(n)*time.Second/5))(b)
	l := load{took: last.Sub(began), cpu: map[string]time.Duration{}}
	for name, used := range b.cpuTimes(managers) {
		l.cpu[name] = used - before[name]
	}
	for _, m := range managers {
		l.resident += b.usageOf(m.PID()).resident / float64(len(managers))
	}
	return l
}

// timeBare has the bare loop make n PayUTokens and their Secrets.
func (b *bench) timeBare(n int) load {
	namespace, remove := b.namespace()
	defer remove()
	b.createCredentials(namespace, n)
	return b.timed(namespace, n, func() { b.bare(namespace, n) })
}

// timeOperators has operators, one for each list of flags, make Secrets for n PayUTokens.
func (b *bench) timeOperators(n int, flags ...[]string) load {
	namespace, remove := b.namespace()
	defer remove()
	b.createCredentials(namespace, n)
	var managers []*manager
	for _, args := range flags {
		m := b.operator(b.account, args...)
		defer b.stop(m)
		managers = append(managers, m)
	}
	b.warm()
	profiled := b.profileThese("throughput", aWhile, managers)
	defer profiled()
	return b.timed(namespace, n, func() { b.createTokens(namespace, 0, n, ownClient) }, managers...)
}

// warm has the operators that run make some Secrets.
func (b *bench) warm() {
	namespace, remove := b.namespace()
	defer remove()
	b.createCredentials(namespace, warmUp)
	b.timed(namespace, warmUp, func() { b.createTokens(namespace, 0, warmUp, ownClient) })
}
