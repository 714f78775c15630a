package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// stop asks an operator to end, which is to work.
func (b *bench) stop(m *manager) { lab.Check(b, stop(m.Process)) }

// stop asks a process to end, which is to work.
func stop(p *lab.Process) error {
	err := p.Stop(lab.Patience)
	if state := p.State(); err == nil && !state.Success() {
		return fmt.Errorf("the process ended with %s", state)
	}
	return err
}

// usage is what a process has taken so far, and holds now.
type usage struct {
	cpu      time.Duration
	resident float64 // bytes
	most     float64 // bytes that were ever resident
}

// cpuOf returns how long do takes, and how much CPU time a process takes meanwhile.
func (b *bench) cpuOf(pid int, do func()) (cpu, took time.Duration) {
	before, began := b.usageOf(pid), time.Now()
	do()
	took = time.Since(began)
	return b.usageOf(pid).cpu - before.cpu, took
}

// usageOf reads /proc.
func (b *bench) usageOf(pid int) usage { return lab.Must(usageOf(pid))(b) }

// ticksPerSecond is USER_HZ, which is the same on all that Linux runs on today.
const ticksPerSecond = 100

// usageOf reads /proc.
func usageOf(pid int) (usage, error) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return usage{}, err
	}
	ticks, err := ticksIn(string(stat))
	return usage{
		cpu:      time.Duration(ticks) * time.Second / ticksPerSecond,
		resident: kilobytesIn(string(status), "VmRSS:") * 1024,
		most:     kilobytesIn(string(status), "VmHWM:") * 1024,
	}, err
}

// ticksIn returns utime and stime of a /proc/PID/stat. The program's name, in parentheses, may hold anything.
func ticksIn(stat string) (int, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("%q is no /proc/PID/stat", stat)
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return user + system, errors.Join(err1, err2)
}

// kilobytesIn returns a value of /proc/PID/status or /proc/meminfo; 0 if it is not there.
func kilobytesIn(text, key string) float64 {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, key); found {
			n, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return n
		}
	}
	return 0
}

// children returns the process IDs of this program's children by the name of their program. envtest starts etcd and
// kube-apiserver, and does not tell theirs.
func children() map[string]int {
	all := map[string]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		head, rest, _ := strings.Cut(string(stat), ")")
		id, name, _ := strings.Cut(head, " (")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			all[name], _ = strconv.Atoi(id)
		}
	}
	return all
}

// manager is the operator while it runs.
type manager struct {
	*lab.Operator
	pprof string // an address
}

// awaitMetrics waits until the metrics show what is wanted. It looks seldom: with many PayUTokens it is work to show them.
func (m *manager) awaitMetrics(ctx context.Context, limit time.Duration, what string, look func(metrics map[string]float64) bool) error {
	return lab.AwaitEvery(ctx, 200*time.Millisecond, limit, what, func(ctx context.Context) error {
		metrics, err := m.scrape(ctx)
		if err != nil {
			return err
		}
		return lab.So(look(metrics))
	})
}

// awaitReady waits until the metrics say of n PayUTokens that they are Ready.
func (m *manager) awaitReady(ctx context.Context, n int) error {
	return m.awaitMetrics(ctx, lab.Patience, fmt.Sprintf("%d PayUTokens are Ready", n), func(metrics map[string]float64) bool {
		return int(metrics["payu_token_ready"]) == n
	})
}

// awaitPasses waits until the operator has made so many passes, and has nothing left to look at.
func (m *manager) awaitPasses(ctx context.Context, n int) error {
	limit := lab.Patience + time.Duration(n)*time.Second/50
	return m.awaitMetrics(ctx, limit, fmt.Sprintf("the operator has made %d passes", n), func(metrics map[string]float64) bool {
		return int(metrics["controller_runtime_reconcile_total"]) >= n && metrics["workqueue_depth"] == 0
	})
}

// passes returns how many passes the operator has made.
func (m *manager) passes(ctx context.Context) (int, error) {
	metrics, err := m.scrape(ctx)
	return int(metrics["controller_runtime_reconcile_total"]), err
}

// scrape returns the sums of the metrics of the operator by their names.
func (m *manager) scrape(ctx context.Context) (map[string]float64, error) {
	page, err := m.Scrape(ctx)
	return sumsIn(page), err
}

// readings lets time go by in which the metrics are read at an interval, at once for the first time; not at all where it is 0.
func (m *manager) readings(ctx context.Context, lasts, every time.Duration) (read int, err error) {
	end := time.Now().Add(lasts)
	for ; every > 0 && time.Now().Before(end); read++ {
		if _, err := m.scrape(ctx); err != nil {
			return read, err
		}
		if err := lab.Pause(ctx, min(every, time.Until(end))); err != nil {
			return read, err
		}
	}
	return read, lab.Pause(ctx, time.Until(end))
}

// sumsIn adds up the series of each metric of a page. The labels of these metrics hold no space.
func sumsIn(page string) map[string]float64 {
	sums := map[string]float64{}
	for line := range strings.Lines(page) {
		series, text, found := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(text, 64)
		if !found || err != nil || strings.HasPrefix(line, "#") {
			continue
		}
		name, _, _ := strings.Cut(series, "{")
		sums[name] += value
	}
	return sums
}
