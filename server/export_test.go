package server

import "testing"

// StartGenerations lets the generations of new slots begin at g until the test is over. It is called before the test's server begins.
func StartGenerations(t *testing.T, g uint32) {
	was := firstGeneration
	firstGeneration = g
	t.Cleanup(func() { firstGeneration = was })
}

// A LoopState is what a loop has, by its own books.
type LoopState struct {
	Slots   int // made
	Free    int // of them, those without a connection
	Wrapped int // of them, those whose generation has begun anew at zero
	Blocks  int // bytes that carries and outputs are charged with
	Buffers int // for how many receives there is memory
}

// LoopStates asks each loop.
func (s *Server) LoopStates() []LoopState {
	s.mu.Lock()
	loops := s.loops
	s.mu.Unlock()
	states := make([]LoopState, len(loops))
	for i, l := range loops {
		done := make(chan bool)
		asked := l.post(note{do: func() {
			st := &states[i]
			*st = LoopState{Slots: len(l.slots), Free: l.free.len(), Blocks: l.pool.Used(), Buffers: l.engine.Buffers()}
			for _, sl := range l.slots {
				if sl.generation < firstGeneration {
					st.Wrapped++
				}
			}
			close(done)
		}})
		if asked {
			<-done
		}
	}
	return states
}
