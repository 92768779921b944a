package result

import (
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// MaxLatency is the longest time that a histogram tells from longer ones.
const MaxLatency = 2 * time.Minute

const (
	minLatency = 1 // nanoseconds
	digits     = 3
)

// NewHistogram returns an empty histogram of nanoseconds.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatency, int64(MaxLatency), digits)
}

// Record counts a time.
func Record(h *hdrhistogram.Histogram, nanos int64) {
	_ = h.RecordValue(min(max(nanos, minLatency), int64(MaxLatency))) // within the bounds: no error
}

// Latency is a distribution of times, in nanoseconds, with three significant digits.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"meanNanos"`
	Min   int64   `json:"minNanos"`
	P50   int64   `json:"p50Nanos"`
	P90   int64   `json:"p90Nanos"`
	P99   int64   `json:"p99Nanos"`
	P999  int64   `json:"p99.9Nanos"`
	P9999 int64   `json:"p99.99Nanos"`
	Max   int64   `json:"maxNanos"`
	// Encoded is the histogram in HdrHistogram's own compressed form, version 2, in base64: HdrHistogram's tools read it.
	Encoded string `json:"hdr,omitempty"`
}

// Of returns what a histogram says.
func Of(h *hdrhistogram.Histogram) Latency {
	l := Latency{Count: h.TotalCount(), Mean: h.Mean(), Min: h.Min(), Max: h.Max()}
	for q, p := range map[float64]*int64{50: &l.P50, 90: &l.P90, 99: &l.P99, 99.9: &l.P999, 99.99: &l.P9999} {
		*p = h.ValueAtQuantile(q)
	}
	if l.Count > 0 {
		if b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil {
			l.Encoded = string(b)
		}
	}
	return l
}

// Histogram returns the distribution itself.
func (l *Latency) Histogram() (*hdrhistogram.Histogram, error) {
	if l.Encoded == "" {
		return NewHistogram(), nil
	}
	h, err := hdrhistogram.Decode([]byte(l.Encoded))
	if err != nil {
		return nil, fmt.Errorf("a histogram that cannot be read: %w", err)
	}
	return h, nil
}

// Merge returns the distribution of all the rounds' latencies: the histograms are added up, percentiles are never averaged.
func Merge(rounds []*Round) (*hdrhistogram.Histogram, error) {
	return merge(rounds, func(r *Round) *Latency { return &r.Latency })
}

// merge is Merge of one of the distributions that rounds have, or may have.
func merge(rounds []*Round, of func(*Round) *Latency) (*hdrhistogram.Histogram, error) {
	sum := NewHistogram()
	for _, r := range rounds {
		l := of(r)
		if l == nil {
			continue
		}
		h, err := l.Histogram()
		if err != nil {
			return nil, err
		}
		sum.Merge(h)
	}
	return sum, nil
}

// WriteHgrm writes a histogram as HdrHistogram's plotter wants it: milliseconds by percentile.
func WriteHgrm(w io.Writer, h *hdrhistogram.Histogram) error {
	const ticks = 5 // for each halving of the distance to 100 %
	_, err := h.PercentilesPrint(w, ticks, float64(time.Millisecond))
	return err
}
