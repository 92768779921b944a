package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/protoring/protoring/bench/result"
)

const (
	// statsTimeout is for one answer. A server's loop and its answer may have one CPU between them, which the load keeps busy.
	statsTimeout = 5 * time.Second
	// statsLead is how long before the measured time the first answer is asked for: what it costs the server is none of the requests'.
	statsLead = 50 * time.Millisecond
	// statsLimit is for the bytes of an answer: those of some hundred loops.
	statsLimit = 1 << 20
)

// stats are what a server on protoring has counted itself until some time.
type stats struct {
	at     time.Time
	Engine string             `json:"engine"`
	Loops  []map[string]int64 `json:"loops"`
	Total  map[string]int64   `json:"total"`
}

// checkStatsURL returns an error for what cannot be asked.
func checkStatsURL(at string) error {
	if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("statistics at %q: want a URL such as http://127.0.0.1:9100/stats", at)
	}
	return nil
}

// readStats asks the server. It returns nil where there is no URL.
func readStats(ctx context.Context, at string) (*stats, error) {
	if at == "" {
		return nil, nil
	}
	s, err := getStats(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("the server's statistics at %s: %w", at, err)
	}
	return s, nil
}

func getStats(ctx context.Context, at string) (*stats, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	// Without the proxies of the environment, and without a connection that stays while the load runs.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(ask)
	var failed *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("no answer in %v", statsTimeout)
	case errors.As(err, &failed):
		return nil, unwrapDial(failed.Err)
	case err != nil:
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", answer.Status)
	}
	s := &stats{}
	if err := json.NewDecoder(io.LimitReader(answer.Body, statsLimit)).Decode(s); err != nil || len(s.Total) == 0 {
		return nil, errors.New("the answer is none of a server on protoring (see -stats of its examples)")
	}
	s.at = time.Now()
	return s, nil
}

// isState says which numbers are of now; the others are counts since the server's start.
func isState(name string) bool { return name == "Conns" || name == "Memory" || name == "ReceiveMem" }

// since returns what has been counted between an earlier answer and this one. end is when the load has ended: after it there is nothing
// to count, and the time is none in which there could be.
func (s *stats) since(before *stats, end time.Time) *result.Stats {
	until := s.at
	if end.Before(until) {
		until = end
	}
	d := &result.Stats{Engine: s.Engine, Seconds: max(until.Sub(before.at), 0).Seconds(), Total: difference(before.Total, s.Total)}
	if len(s.Loops) > 1 && len(s.Loops) == len(before.Loops) {
		for i := range s.Loops {
			d.Loops = append(d.Loops, difference(before.Loops[i], s.Loops[i]))
		}
	}
	return d
}

func difference(before, after map[string]int64) map[string]int64 {
	d := make(map[string]int64, len(after))
	for name, v := range after {
		d[name] = v - before[name]
		if isState(name) { // after the load its connections may have gone
			d[name] = before[name]
		}
	}
	return d
}
