package engine

import "github.com/protoring/protoring/uring"

// prompts are sends that are tried within the enter that takes them, and tell only of failure. So an answer does not end the sleep
// that the same enter begins, and a second enter to sleep is spared: at 20,000 to 100,000 requests a second that is 3 to 5 % of the
// CPU time. A send of which nothing is told has succeeded: its completion is made here.
type prompts struct {
	usable bool
	open   []promptSend // prepared, and nothing is known of them
	sent   []promptSend // that have succeeded
	told   int          // of sent: those whose completions were made
	full   []bool       // by slot: a prompt send has found the socket full. The next one waits for room
}

type promptSend struct {
	token Token
	size  int
	seq   uint64 // SQEs that the ring has taken when it has taken this one
}

// maxPrompt is the number of bytes up to which a send is prompt. The output is held until something else happens.
const maxPrompt = 16 << 10

// may says whether a send can be prompt.
func (p *prompts) may(t Token, size int) bool {
	if !p.usable || size > maxPrompt {
		return false
	}
	for int(t.Slot()) >= len(p.full) {
		p.full = append(p.full, false)
	}
	was := p.full[t.Slot()]
	p.full[t.Slot()] = false
	return !was
}

func (p *prompts) tried(t Token, size int, seq uint64) {
	p.open = append(p.open, promptSend{t, size, seq})
}

// confirm looks at what has become of the sends that the ring has taken. The completions are all that there are.
func (p *prompts) confirm(taken uint64, first, second []uring.CQE) {
	if len(p.open) == 0 {
		return
	}
	for _, cqes := range [...][]uring.CQE{first, second} {
		for i := range cqes {
			if t := Token(cqes[i].UserData); t.Op() == OpSend {
				p.failed(t)
			}
		}
	}
	n := 0
	for n < len(p.open) && p.open[n].seq <= taken {
		n++
	}
	p.sent = append(p.sent, p.open[:n]...)
	p.open = p.open[:copy(p.open, p.open[n:])]
}

// failed takes a send of which the kernel tells, if it was a prompt one.
func (p *prompts) failed(t Token) {
	for i := range p.open {
		if p.open[i].token == t {
			p.open = append(p.open[:i], p.open[i+1:]...)
			p.full[t.Slot()] = true
			return
		}
	}
}

// next makes the completion of a send that has succeeded, the oldest first.
func (p *prompts) next(c *Completion) bool {
	if p.told == len(p.sent) {
		p.sent, p.told = p.sent[:0], 0
		return false
	}
	s := &p.sent[p.told]
	p.told++
	*c = Completion{Token: s.token, Res: s.size}
	return true
}
