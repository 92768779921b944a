package compare

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/protoring/protoring/bench/load"
)

// checkName stands for the same server under a load that is not ours: Redis' own, as a check of the generator.
const checkName = "redis-benchmark"

// checkRate is the number of requests per second that the check's amount of work is made for.
const checkRate = 100_000

// redisBenchmark runs Redis' own generator. It has no way to say how long, so it gets about as many requests as the case needs.
func (r *run) redisBenchmark(ctx context.Context, c Case, p *process) (*load.Result, error) {
	if _, err := r.load(ctx, c, p, false); err != nil { // the keys are there now, and the server is warm
		return nil, err
	}
	n := int(checkRate * r.cfg.Duration.Seconds() * float64(min(c.Depth, 8)))
	out, err := r.output(ctx, []string{"redis-benchmark", "-h", host, "-p", p.port, "-t", strings.TrimPrefix(c.Proto, "resp-"),
		"-c", fmt.Sprint(c.Conns), "-P", fmt.Sprint(c.Depth), "-d", fmt.Sprint(c.Size), "-n", fmt.Sprint(n), "-r", "10000", "--csv"})
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
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
	result := &load.Result{Version: load.Version, Ops: int64(n), OpsPerSec: number("rps")}
	result.Latency = load.Latency{
		Mean: nanos * number("avg_latency_ms"), P50: int64(nanos * number("p50_latency_ms")),
		P99: int64(nanos * number("p99_latency_ms")), Max: int64(nanos * number("max_latency_ms")),
	}
	return result, err
}
