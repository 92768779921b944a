package uring

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestProbe: where the kernel is new enough, a feature that is not usable is a fault of the probe. Incremental buffers may well be
// missing there: some kernels have them with faults.
func TestProbe(t *testing.T) {
	f := Probe()
	t.Log(f)
	require.Equal(t, f, Probe())
	for _, c := range []struct {
		name         string
		err          error
		major, minor int
	}{
		{"BufRing", f.BufRing, 5, 19},
		{"MultishotAccept", f.MultishotAccept, 5, 19},
		{"MultishotRecv", f.MultishotRecv, 6, 0},
		{"MsgRing", f.MsgRing, 6, 11},
		{"ShotCap", f.ShotCap, 6, 17},
		{"ReceiveTotal", f.ReceiveTotal, 6, 17},
		{"PromptSend", f.PromptSend, 5, 17},
	} {
		if kernelIs(t, c.major, c.minor) {
			require.NoError(t, c.err, c.name)
		} else if c.err != nil {
			require.ErrorIs(t, c.err, ErrNotSupported, c.name)
		}
	}
	if f.IncrementalBuffers != nil {
		require.ErrorIs(t, f.IncrementalBuffers, ErrNotSupported)
	}
}

func kernelIs(t *testing.T, major, minor int) bool {
	var have [2]int
	for i, s := range strings.SplitN(kernelRelease(), ".", 3)[:2] {
		for _, c := range s {
			if c < '0' || c > '9' {
				break
			}
			have[i] = have[i]*10 + int(c-'0')
		}
	}
	require.Positive(t, have[0])
	return have[0] > major || have[0] == major && have[1] >= minor
}

// The probes leave nothing behind, however often they run, and whatever they find.
func TestProbeLeavesNothing(t *testing.T) {
	onThread(t, func() {
		fds, maps := openFDs(), ringMappings()
		for range 3 {
			require.Equal(t, Probe(), probeFeatures())
		}
		cause := errors.New("a cause")
		err := probeOne("a feature", "9.9", func(p *prober) error {
			ours, _, err := p.socketpair()
			require.NoError(t, err)
			mem, err := p.memory(16)
			require.NoError(t, err)
			b, err := p.group(2, false)
			require.NoError(t, err)
			b.Add(0, mem)
			b.Advance()
			for range 3 { // in flight when the probe ends
				p.sqe().PrepareRecvMultishot(ours, probeGroup, 0, 0)
			}
			require.NoError(t, p.quiet())
			return cause
		})
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, ErrNotSupported)
		require.Equal(t, "uring: a feature: not usable on this kernel (Linux 9.9 brought it; this is "+kernelRelease()+"): a cause",
			err.Error())
		require.Equal(t, fds, openFDs())
		require.Equal(t, maps, ringMappings())
	})
}

// What kernels with faults do, as completions made by hand. The consumer stands at offset 24 of buffer 2, of 64 bytes each.
func TestProbeSeesFaults(t *testing.T) {
	flags := func(id uint32, flags uint32) uint32 { return id<<cqeBufferShift | CQEBuffer | flags }
	for _, c := range []struct {
		name string
		cqe  CQE
		at   int // where the bytes really are
		err  string
	}{
		{"right", CQE{Res: 10, Flags: flags(2, CQEMore|CQEBufMore)}, 2*64 + 24, ""},
		{"right, used up", CQE{Res: 40, Flags: flags(2, CQEMore)}, 2*64 + 24, ""},
		{"BUF_MORE absent", CQE{Res: 10, Flags: flags(2, CQEMore)}, 2*64 + 24, "F_BUF_MORE is absent, with 30 bytes left"},
		{"BUF_MORE too much", CQE{Res: 40, Flags: flags(2, CQEMore|CQEBufMore)}, 2*64 + 24, "F_BUF_MORE is present"},
		{"next buffer", CQE{Res: 10, Flags: flags(3, CQEMore|CQEBufMore)}, 3 * 64, "it came in buffer 3"},
		{"no buffer", CQE{Res: 10, Flags: CQEMore | CQEBufMore}, 2*64 + 24, "no buffer ID"},
		{"ended", CQE{Res: 10, Flags: flags(2, CQEBufMore)}, 2*64 + 24, "the multishot ended"},
		{"wrong place", CQE{Res: 10, Flags: flags(2, CQEMore|CQEBufMore)}, 2 * 64, "the bytes are not there"},
		{"too long", CQE{Res: 41, Flags: flags(2, CQEMore)}, 2*64 + 24, "it has 41 bytes"},
		{"no data", CQE{Res: 0, Flags: CQEMore}, 0, "result 0"},
		{"error", CQE{Res: -int32(unix.EFAULT)}, 0, "bad address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &consumer{mem: make([]byte, 4*64), size: 64, id: 2, offset: 24, text: 1000}
			copy(s.mem[c.at:], probeText(1000, max(0, int(c.cqe.Res))))
			n, err := s.piece(c.cqe, 64)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.ErrorContains(t, err, "offset 24 of buffer 2")
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, c.cqe.Res, n)
		})
	}
}

func TestFeaturesString(t *testing.T) {
	setup := &SetupError{Cause: "cause", Remedy: "remedy", Err: unix.EPERM}
	not := &NotSupportedError{Feature: "x", Since: "6.17", Err: unix.EINVAL}
	for _, c := range []struct {
		f    Features
		want string
	}{
		{Features{}, "usable: buffer rings, multishot accept, multishot receive, incremental buffers, shot cap, receive total, prompt send, ring messages"},
		{Features{ShotCap: not, ReceiveTotal: not, MsgRing: errors.New("odd")},
			"usable: buffer rings, multishot accept, multishot receive, incremental buffers, prompt send; not usable: shot cap (invalid argument), receive total (invalid argument), ring messages (odd)"},
		{Features{not, not, not, not, not, not, not, not}, "usable: none; not usable: buffer rings (invalid argument), multishot accept (invalid argument), " +
			"multishot receive (invalid argument), incremental buffers (invalid argument), shot cap (invalid argument), receive total (invalid argument), prompt send (invalid argument), ring messages (invalid argument)"},
		{Features{setup, setup, setup, setup, setup, setup, setup, setup}, "uring: no ring: cause (operation not permitted): remedy"},
	} {
		require.Equal(t, c.want, c.f.String())
	}
}

// TestProbeTime: Probe stands before the first connection of each process.
func TestProbeTime(t *testing.T) {
	onThread(t, func() {
		start := time.Now()
		probeFeatures()
		t.Log(time.Since(start))
		require.Less(t, time.Since(start), probeTimeout, "something was waited for that does not come")
	})
}
