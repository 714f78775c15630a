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
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// measurement is one that can be run alone.
type measurement struct {
	name, what string
	run        func(*bench, context.Context) ([]section, error)
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
	managerPath, simulatorPath string
	output, profile            string
	only                       []string
	quick                      bool
	scale

	root string // of the module
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
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", process.OneLine(err))
		os.Exit(1)
	}
}

func run(args []string) error {
	var o options
	if err := o.parse(args); err != nil {
		return err
	}
	ctrl.SetLogger(logr.Discard()) // the report tells what matters
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	b := &bench{options: o, start: time.Now()}
	err := b.measure(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return b.close(err)
}

func (o *options) parse(args []string) error {
	var names, usage []string
	for _, m := range measurements() {
		names = append(names, m.name)
		usage = append(usage, fmt.Sprintf("  %-12s%s", m.name, m.what))
	}
	var given scale
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
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
	flags.StringVar(&o.managerPath, "manager", "", "a `program` built before from cmd/manager; by default it is built")
	flags.StringVar(&o.simulatorPath, "simulator", "", "a `program` built before from cmd/payu-simulator; by default it is built")
	flags.Usage = func() {
		fmt.Printf("bench measures what the operator costs and how fast it is:\n%s\n\nFlags:\n%s", strings.Join(usage, "\n"), flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return fmt.Errorf("--only=%s: want some of %s", name, strings.Join(names, ","))
		}
	}
	o.scale = full
	if o.quick {
		o.scale = quick
	}
	flags.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "n":
			o.sizes = given.sizes
		case "repeat":
			o.repeat = given.repeat
		case "counted":
			o.counted = given.counted
		case "population":
			o.populations = given.populations
		case "foreign":
			o.foreign = given.foreign
		}
	})
	slices.Sort(o.populations)
	slices.Sort(o.foreign)
	return o.settle()
}

// settle checks the scale and finds the file to write.
func (o *options) settle() error {
	if o.repeat < 1 || len(o.sizes) == 0 || len(o.populations) == 0 || slices.Min(o.sizes) < 1 || slices.Min(o.populations) < 1 {
		return errors.New("--n, --population and --repeat want numbers of at least 1")
	}
	if most := max(slices.Max(o.sizes), slices.Max(o.populations)); most > clients {
		return fmt.Errorf("%d PayUTokens: want at most %d", most, clients)
	}
	if err := o.locate(); err != nil {
		return err
	}
	if o.output == "" && !o.quick && len(o.only) == 0 {
		o.output = filepath.Join(o.root, resultsFile)
	}
	return nil
}

// locate finds the folder of go.mod.
func (o *options) locate() error {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	o.root = filepath.Dir(strings.TrimSpace(string(out)))
	if err == nil && !filepath.IsAbs(o.root) {
		err = errors.New("start this program in a folder of its module")
	}
	return err
}

// measure measures, and writes the report.
func (b *bench) measure(ctx context.Context) error {
	machine, err := describe(b.root)
	if err != nil {
		return err
	}
	if err := b.setUp(ctx); err != nil {
		return err
	}
	if err := b.addVersion(&machine); err != nil {
		return err
	}
	var sections []section
	for _, m := range measurements() {
		if len(b.only) > 0 && !slices.Contains(b.only, m.name) {
			continue
		}
		b.say("%s: %s", m.name, m.what)
		measured, err := m.run(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for _, s := range measured {
			fmt.Println(s)
		}
		sections = append(sections, measured...)
	}
	if len(b.only) == 0 {
		sections = append(sections, b.inputs.needs(), b.inputs.limits())
		fmt.Printf("%s\n%s\n", b.inputs.needs(), b.inputs.limits())
	}
	machine.add("took", shown(time.Since(b.start)))
	return b.write(machine, sections)
}
