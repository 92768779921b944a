package result

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const none = "–" // what was not measured

// Nanos writes a time in the unit that suits it: "850 ns", "12.3 µs", "1.20 ms", "2.00 s".
func Nanos(v float64) string {
	switch {
	case v <= 0:
		return none
	case v < 999.5:
		return fmt.Sprintf("%.0f ns", v)
	case v < 999.5e3:
		return three(v/1e3) + " µs"
	case v < 999.5e6:
		return three(v/1e6) + " ms"
	}
	return three(v/1e9) + " s"
}

// Micros writes a time that is given in microseconds.
func Micros(v float64) string {
	if v < 0.0005 {
		return none
	}
	return three(v) + " µs"
}

// three writes three significant digits, and all those before the point.
func three(v float64) string {
	switch a := math.Abs(v); {
	case a < 0.995:
		return fmt.Sprintf("%.3f", v)
	case a < 9.995:
		return fmt.Sprintf("%.2f", v)
	case a < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Count writes a whole number with commas between thousands; small ones that are not whole have their digits.
func Count(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	if math.Abs(v) < 99.95 && v != math.Trunc(v) {
		return three(v)
	}
	digits := strconv.FormatFloat(math.Abs(v), 'f', 0, 64)
	var b strings.Builder
	if v < 0 && digits != "0" {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Size writes bytes in the unit that suits them.
func Size(bytes float64) string {
	const unit = 1024
	switch {
	case bytes < unit:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < unit*unit:
		return trim(bytes/unit) + " KiB"
	case bytes < unit*unit*unit:
		return trim(bytes/unit/unit) + " MiB"
	}
	return trim(bytes/unit/unit/unit) + " GiB"
}

// trim writes a number with one digit after the point, if that says anything.
func trim(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// Percent writes a part of 1.
func Percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

// Text returns the median as write writes it, or a dash.
func (s Spread) Text(write func(float64) string) string {
	if s.N == 0 {
		return none
	}
	return write(s.Median)
}

// Ratio returns the median of ratios with the least and the greatest: "0.79 [0.71–0.92]".
func (s Spread) Ratio() string {
	switch s.N {
	case 0:
		return none
	case 1:
		return ratio(s.Median)
	}
	return fmt.Sprintf("%s [%s–%s]", ratio(s.Median), ratio(s.Least), ratio(s.Greatest))
}

func ratio(v float64) string {
	if v < 9.995 {
		return fmt.Sprintf("%.2f", v)
	}
	return three(v)
}

// Describe says in words how the servers were put under load.
func (l *Load) Describe() string {
	if l.Rate > 0 {
		return l.describe(strings.TrimSpace(Count(l.Rate) + " requests/s offered " + l.Arrival))
	}
	return l.describe("")
}

// DescribeRising is Describe of a load whose rate is told elsewhere.
func (l *Load) DescribeRising() string {
	return l.describe(strings.TrimSpace("requests at rising rates, " + l.Arrival))
}

// describe says what is offered, where that is a rate.
func (l *Load) describe(offered string) string {
	words := []string{cmp.Or(l.Proto, "unknown protocol"), Plural(l.Conns, "connection")}
	if offered != "" {
		words = append(words, offered)
		if l.Depth > 0 {
			words = append(words, fmt.Sprintf("at most %d in flight on each", l.Depth))
		}
	} else {
		words = append(words, fmt.Sprintf("closed loop with %d in flight on each", max(l.Depth, 1)))
	}
	words = append(words, Size(float64(l.Size)))
	if l.Keys > 0 {
		words = append(words, strings.TrimSpace(Count(float64(l.Keys))+" keys "+l.Dist))
	}
	if l.Mix != "" {
		words = append(words, "gets to sets "+l.Mix)
	}
	if l.Churn > 0 {
		words = append(words, Count(l.Churn)+" connections/s renewed")
	}
	if l.Idle > 0 {
		words = append(words, Count(float64(l.Idle))+" idle connections")
	}
	if l.Duration > 0 {
		words = append(words, short(l.Duration)+" measured after "+short(l.Warmup))
	}
	if l.Threads > 0 {
		words = append(words, Plural(l.Threads, "thread")+" of load")
	}
	return strings.Join(words, ", ")
}

// Plural writes how many there are of something: "1 CPU", "2 CPUs".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(float64(n)) + " " + noun + "s"
}

// short writes "1m0s" as "1m".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Describe says in a line what the figures hold for.
func (e *Environment) Describe() string {
	var words []string
	add := func(format string, value string) {
		if value != "" {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	add("%s", e.CPU)
	if e.CPUs > 0 {
		words = append(words, Plural(e.CPUs, "CPU"))
	}
	add("virtual (%s)", e.Virtual)
	add("%s", e.Kernel)
	add("%s", e.Go)
	add("commit %s", e.Commit)
	add("servers on CPU %s", e.ServerCPUs)
	add("load on CPU %s", e.LoadCPUs)
	return strings.Join(words, " · ")
}
