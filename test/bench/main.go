// Command bench measures what the operator costs and how fast it is, on a real kube-apiserver and etcd, with PayU's token
// server as a process of its own and the operator as the program that users run, with exactly the RBAC of config/default:
//
//	go run ./test/bench                       everything, in half an hour
//	go run ./test/bench --quick               everything, small, in two minutes: does it still run?
//	go run ./test/bench --only=latency        one measurement
//
// It measures, and does not judge: figures depend on the machine, and it exits with 0 whatever they are. What belongs
// together is measured in turn, several times, on one machine: the bare loop, which does nothing but the writes that
// cannot be left out, tells what the machine can do at all. The processes share the machine's cores, and CPU time tells
// where they went.
package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// measurement is one that can be run alone.
type measurement struct {
	name, what string
	run        func(*bench) []section
}

func measurements() []measurement {
	return []measurement{
		{"throughput", "many new PayUTokens at once: the bare loop and the operator in turn", (*bench).throughput},
		{"latency", "one new PayUToken at a time", (*bench).latency},
		{"requests", "requests to the API server, counted by its audit log", (*bench).requests},
		{"sharing", "requests to PayU for PayUTokens of one client and scopes", (*bench).sharing},
		{"shards", "two operators, by label, against one", (*bench).shards},
		{"population", "memory, CPU, restart and cost with few and many PayUTokens", (*bench).population},
		{"foreign", "memory and throughput with many Secrets of others", (*bench).foreignSecrets},
		{"spread", "a simulated day of renewals", (*bench).renewalSpread},
	}
}

// options are the flags, and what they decide.
type options struct {
	output, profile string
	only            []string
	quick           bool
	scale
}

// scale is how much is measured.
type scale struct {
	sizes       []int         // PayUTokens that appear at once
	repeat      int           // how often, the median counts
	singles     int           // PayUTokens that appear one at a time
	counted     int           // PayUTokens whose requests are counted
	sharers     int           // PayUTokens of one client
	sharded     int           // PayUTokens that shards share
	populations []int         // PayUTokens that are there
	foreign     []int         // Secrets of others
	simulated   int           // PayUTokens of a simulated day
	rest        time.Duration // how long an operator rests before its memory is read
	minute      time.Duration // how long its CPU time is measured while nothing is due
	settling    time.Duration // from the first PayUToken until renewals begin, if all is measured by then that is measured before
	steadily    time.Duration // how long while PayUTokens are looked at and renewed
}

var (
	full = scale{
		sizes: []int{500, 2000}, repeat: 3, singles: 30, counted: 200, sharers: 1000, sharded: 1000, populations: []int{100, 1000, 10_000},
		foreign: []int{10_000, 50_000}, simulated: 10_000, rest: 30 * time.Second, minute: time.Minute, settling: 9 * time.Minute, steadily: passEvery,
	}
	quick = scale{
		sizes: []int{50}, repeat: 1, singles: 5, counted: 10, sharers: 20, sharded: 50, populations: []int{20, 100},
		foreign: []int{200}, simulated: 1000, rest: time.Second, minute: 5 * time.Second, settling: 45 * time.Second, steadily: 5 * time.Second,
	}
)

// resultsFile is what a full run writes.
const resultsFile = "docs/performance-results.md"

func main() {
	var o options
	var given scale
	var names []string
	about := "measures what the operator costs and how fast it is:"
	for _, m := range measurements() {
		names = append(names, m.name)
		about += fmt.Sprintf("\n  %-12s%s", m.name, m.what)
	}
	flags := pflag.CommandLine
	flags.SortFlags = false
	flags.StringSliceVar(&o.only, "only", nil, "measure only these, `comma separated`")
	flags.BoolVar(&o.quick, "quick", false, "measure little of everything, to see whether it runs: the figures mean nothing")
	flags.IntSliceVar(&given.sizes, "n", full.sizes, "throughput: how many PayUTokens appear at once")
	flags.IntVar(&given.repeat, "repeat", full.repeat, "throughput: how often; the median counts")
	flags.IntVar(&given.counted, "counted", full.counted, "requests: of how many PayUTokens they are counted")
	flags.IntSliceVar(&given.populations, "population", full.populations, "population: how many PayUTokens there are")
	flags.IntSliceVar(&given.foreign, "foreign", full.foreign, "foreign: how many Secrets of others there are")
	flags.StringVar(&o.output, "output", "", "write the tables to this `file`, too; a full run writes "+resultsFile)
	flags.StringVar(&o.profile, "profile", "", "leave CPU and heap profiles of the operator and CPU profiles of kube-apiserver in this `folder`: throughput, population")
	lab.Main(about, func(ctx context.Context, _ context.CancelCauseFunc) error {
		for _, name := range o.only {
			if !slices.Contains(names, name) {
				return fmt.Errorf("--only=%s: want some of %s", name, strings.Join(names, ","))
			}
		}
		if err := o.settle(given, flags.Changed); err != nil {
			return err
		}
		b, err := newBench(ctx, o)
		if err != nil {
			return err
		}
		return b.close(b.Try(b.measure))
	})
}

// settle decides the scale, checks it, and finds the file to write.
func (o *options) settle(given scale, changed func(flag string) bool) error {
	o.scale = full
	if o.quick {
		o.scale = quick
	}
	for flag, take := range map[string]func(){
		"n":          func() { o.sizes = given.sizes },
		"repeat":     func() { o.repeat = given.repeat },
		"counted":    func() { o.counted = given.counted },
		"population": func() { o.populations = given.populations },
		"foreign":    func() { o.foreign = given.foreign },
	} {
		if changed(flag) {
			take()
		}
	}
	slices.Sort(o.populations)
	slices.Sort(o.foreign)
	if o.repeat < 1 || len(o.sizes) == 0 || len(o.populations) == 0 || slices.Min(o.sizes) < 1 || slices.Min(o.populations) < 1 {
		return errors.New("--n, --population and --repeat want numbers of at least 1")
	}
	if most := max(slices.Max(o.sizes), slices.Max(o.populations)); most > clients {
		return fmt.Errorf("%d PayUTokens: want at most %d", most, clients)
	}
	root, err := lab.Root()
	if err != nil {
		return err
	}
	if o.output == "" && !o.quick && len(o.only) == 0 {
		o.output = filepath.Join(root, resultsFile)
	}
	return nil
}

// measure measures, and writes the report.
func (b *bench) measure() {
	machine := lab.Must(describe(lab.Must(lab.Root())(b)))(b)
	b.setUp()
	lab.Check(b, b.addVersion(&machine))
	var sections []section
	for _, m := range measurements() {
		if len(b.only) > 0 && !slices.Contains(b.only, m.name) {
			continue
		}
		b.Say("%s: %s", m.name, m.what)
		measured := m.run(b)
		for _, s := range measured {
			fmt.Println(s)
		}
		sections = append(sections, measured...)
	}
	if len(b.only) == 0 {
		sections = append(sections, b.inputs.needs(), b.inputs.limits())
		fmt.Printf("%s\n%s\n", b.inputs.needs(), b.inputs.limits())
	}
	machine.add("took", lab.Shown(time.Since(b.Start)))
	lab.Check(b, b.write(machine, sections))
}
