package compare

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/protoring/protoring/bench/result"
)

// redisBenchmark is Redis' own generator: a check of this one.
const redisBenchmark = "redis-benchmark"

// Mixes that it knows.
const (
	onlyGets = "1:0"
	onlySets = "0:1"
)

const (
	// checkRate is the number of requests per second that the check's amount of work is made for, at a depth of 1. Beyond a depth of
	// checkDepth a server is no faster.
	checkRate  = 100_000
	checkDepth = 8
)

// redisBenchmark puts a server under Redis' own load. It cannot be told how long to run, so it gets about as many requests as the case needs.
func (r *run) redisBenchmark(ctx context.Context, c Case, p *process) (*measurement, error) {
	l := c.Load
	fill(&l.Conns, 50)
	fill(&l.Depth, 1)
	fill(&l.Size, 64)
	fill(&l.Keys, 10_000)
	if _, err := r.load(ctx, c, p, false); err != nil { // the keys are there now, and the server is warm
		return nil, err
	}
	test := "get"
	if l.Mix == onlySets {
		test = "set"
	}
	n := int(checkRate * r.cfg.Duration.Seconds() * float64(min(l.Depth, checkDepth)))
	out, err := r.output(ctx, []string{redisBenchmark, "-h", host, "-p", p.port, "-t", test, "-c", strconv.Itoa(l.Conns),
		"-P", strconv.Itoa(l.Depth), "-d", strconv.Itoa(l.Size), "-n", strconv.Itoa(n), "-r", strconv.Itoa(l.Keys), "--csv"})
	if err != nil {
		return nil, err
	}
	round, err := parseCheck(string(out), int64(n))
	if err != nil {
		return nil, err
	}
	return &measurement{round: round}, nil
}

// parseCheck reads the two lines, names and numbers, that redis-benchmark prints.
func parseCheck(text string, ops int64) (*result.Round, error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("redis-benchmark's output: %w", err)
	}
	if len(rows) != 2 || len(rows[1]) < len(rows[0]) {
		return nil, errors.New("redis-benchmark's output is not what it was in Redis 7")
	}
	number := func(name string) float64 {
		for i, head := range rows[0] {
			if head == name {
				v, ferr := strconv.ParseFloat(rows[1][i], 64)
				err = errors.Join(err, ferr)
				return v
			}
		}
		err = errors.Join(err, fmt.Errorf("redis-benchmark prints no %s", name))
		return 0
	}
	const nanos = 1e6 // of a millisecond
	round := &result.Round{Ops: ops, Achieved: number("rps")}
	if round.Achieved > 0 {
		round.Seconds = float64(ops) / round.Achieved
	}
	round.Latency = result.Latency{
		Count: ops, Mean: nanos * number("avg_latency_ms"), Min: int64(nanos * number("min_latency_ms")),
		P50: int64(nanos * number("p50_latency_ms")), P99: int64(nanos * number("p99_latency_ms")), Max: int64(nanos * number("max_latency_ms")),
	}
	return round, err
}
