package load

// A conn is a connection: requests are appended to one buffer while another one is with the kernel.
type conn struct {
	fd      int
	index   int // in the worker
	session Session
	state   connState

	fill, flight output
	asked        fifo // requests without a reply, oldest first
	pos          int  // bytes of the next reply that have come
	sending      bool // true exactly while a send is in flight whose completion was not handled
	receiving    bool // true exactly while a receive is armed whose last completion was not handled
	marked       bool // in worker.dirty
}

type connState uint8

const (
	live    connState = iota
	leaving           // nothing is asked any more; it closes when all is answered
	closing           // the socket is shut; it is closed when nothing is in flight
	dialing           // its next socket is on its way
	dead              // it has failed
)

// output is requests on their way: bytes, and bodies that lie elsewhere.
type output struct {
	bytes  []byte
	bodies []body
	size   int // of all of it
	sent   int
}

// body is sent behind the first at bytes.
type body struct {
	at    int
	bytes []byte
}

func (o *output) reset() {
	clear(o.bodies)
	o.bytes, o.bodies, o.size, o.sent = o.bytes[:0], o.bodies[:0], 0, 0
}

// segments calls add with each piece of what is not sent, in order, until it returns false.
func (o *output) segments(add func([]byte) bool) {
	skip := o.sent
	piece := func(b []byte) bool {
		if skip >= len(b) {
			skip -= len(b)
			return true
		}
		b = b[skip:]
		skip = 0
		return add(b)
	}
	at := 0
	for _, body := range o.bodies {
		if !piece(o.bytes[at:body.at]) || !piece(body.bytes) {
			return
		}
		at = body.at
	}
	piece(o.bytes[at:])
}

// asked is a request without a reply.
type asked struct {
	due int64 // in nanoseconds since the start
	tag uint64
}

// A fifo is a queue of requests.
type fifo struct {
	ring []asked // a power of two of them
	head int
	n    int
}

func (f *fifo) push(a asked) {
	if f.n == len(f.ring) {
		next := make([]asked, max(4, 2*len(f.ring)))
		for i := range f.n {
			next[i] = f.ring[(f.head+i)&(len(f.ring)-1)]
		}
		f.ring, f.head = next, 0
	}
	f.ring[(f.head+f.n)&(len(f.ring)-1)] = a
	f.n++
}

func (f *fifo) first() *asked { return &f.ring[f.head] }

func (f *fifo) pop() {
	f.head = (f.head + 1) & (len(f.ring) - 1)
	f.n--
}
