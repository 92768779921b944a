package server

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/stretchr/testify/require"
)

// A wheelModel is the wheel's timers as a list.
type wheelModel struct {
	w     wheel
	now   int64 // nanoseconds
	times []*modelTimer
	fired int
}

type modelTimer struct {
	timer
	m     *wheelModel
	at    int64 // nanoseconds; -1 when stopped
	again int64 // is set anew so much later when it fires, if positive
	other *modelTimer
	what  int
}

func (t *modelTimer) due(now int64) {
	if t.at < 0 {
		panic("a stopped timer fires")
	}
	if now < t.at {
		panic("a timer fires too early")
	}
	if t.scheduled() {
		panic("a timer that fires is in the wheel")
	}
	t.at = -1
	t.m.fired++
	switch t.what {
	case 1:
		t.m.set(t, now+t.again)
	case 2:
		t.m.stop(t.other)
	case 3:
		t.m.set(t.other, now+t.again)
	}
}

func (m *wheelModel) set(t *modelTimer, at int64) {
	t.at = at
	m.w.set(&t.timer, at)
}

func (m *wheelModel) stop(t *modelTimer) {
	t.at = -1
	m.w.stop(&t.timer)
}

// next returns when the first timer is due, or -1.
func (m *wheelModel) next() int64 {
	first := int64(-1)
	for _, t := range m.times {
		if t.at >= 0 && (first < 0 || t.at < first) {
			first = t.at
		}
	}
	return first
}

func (m *wheelModel) check(t *testing.T) {
	count := 0
	for _, x := range m.times {
		require.Equal(t, x.at >= 0, x.scheduled())
		if x.at >= 0 {
			count++
			require.Less(t, m.now, x.at+int64(2*wheelTick), "a timer is late")
		}
	}
	require.Equal(t, count, m.w.count)
	wait := m.w.wait(m.now)
	first := m.next()
	if first < 0 {
		require.Negative(t, wait)
		return
	}
	require.GreaterOrEqual(t, wait, time.Duration(0))
	// Never later than the first timer, but for the ticks that it is rounded to.
	require.LessOrEqual(t, int64(wait), max(first-m.now, 0)+2*int64(wheelTick))
	if first > m.now { // how many waits it takes is another test
		require.Positive(t, wait)
	}
}

func TestWheelModel(t *testing.T) {
	spans := []time.Duration{wheelTick, 10 * wheelTick, 255 * wheelTick, 256 * wheelTick, 257 * wheelTick, 65535 * wheelTick,
		65536 * wheelTick, 65537 * wheelTick, wheelMax * wheelTick, 30 * time.Hour, 200 * time.Hour}
	seeds := uint64(300)
	if buffers.Checked {
		seeds = 60
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 3))
		span := func() int64 {
			d := spans[r.IntN(len(spans))]
			if r.IntN(3) == 0 {
				return int64(d) + r.Int64N(3)*int64(wheelTick) - int64(wheelTick)
			}
			return r.Int64N(int64(d) + 1)
		}
		m := &wheelModel{now: r.Int64N(int64(100 * time.Hour))}
		m.w.advance(m.now)
		for range 1 + r.IntN(40) {
			m.times = append(m.times, &modelTimer{m: m, at: -1})
		}
		for _, x := range m.times {
			x.timer.owner = x
			x.what, x.again, x.other = r.IntN(8), span(), m.times[r.IntN(len(m.times))]
		}
		for range 300 {
			x := m.times[r.IntN(len(m.times))]
			switch r.IntN(6) {
			case 0, 1:
				m.set(x, m.now+span())
			case 2:
				m.stop(x)
			case 3: // to what the wheel says, as a loop does
				if wait := m.w.wait(m.now); wait >= 0 {
					m.now += int64(wait)
				}
				m.w.advance(m.now)
			case 4:
				m.now += span()
				m.w.advance(m.now)
			case 5: // time goes by and nobody looks
				m.now += r.Int64N(int64(time.Second))
				continue
			}
			if m.w.now == m.now/int64(wheelTick) {
				m.check(t)
			}
		}
	}
}

// Following the wheel's word, a loop reaches a far timer within few waits.
func TestWheelWaits(t *testing.T) {
	for _, d := range []time.Duration{0, 1, wheelTick, time.Second, time.Minute, time.Hour, 18 * time.Hour, 100 * time.Hour} {
		for _, start := range []time.Duration{0, time.Second, 1023 * time.Millisecond, time.Hour - 1, 17 * time.Hour} {
			m := &wheelModel{now: int64(start)}
			m.w.advance(m.now)
			x := &modelTimer{m: m}
			x.timer.owner = x
			m.set(x, m.now+int64(d))
			due := x.at
			waits := 0
			for ; m.fired == 0; waits++ {
				wait := m.w.wait(m.now)
				require.GreaterOrEqual(t, wait, time.Duration(0))
				m.now += int64(wait)
				m.w.advance(m.now)
				require.Less(t, waits, 30)
			}
			require.GreaterOrEqual(t, m.now, due)
			require.Less(t, m.now, due+2*int64(wheelTick))
			require.LessOrEqual(t, waits, 4+int(d/(wheelMax*wheelTick))*4)
		}
	}
}

func TestWheelAllocatesNothing(t *testing.T) {
	m := &wheelModel{}
	for i := range 1000 {
		x := &modelTimer{m: m, what: 1, again: int64(i) * int64(100*time.Millisecond)}
		x.timer.owner = x
		m.times = append(m.times, x)
		m.set(x, x.again)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		m.now += int64(30 * time.Millisecond)
		m.w.advance(m.now)
		m.w.wait(m.now)
		m.set(m.times[5], m.now+int64(time.Hour))
		m.stop(m.times[6])
	}))
	require.Positive(t, m.fired)
}

func BenchmarkWheelSet(b *testing.B) {
	m := &wheelModel{}
	x := &modelTimer{m: m}
	for b.Loop() {
		m.now += 1000
		m.w.set(&x.timer, m.now+int64(time.Minute))
	}
}
