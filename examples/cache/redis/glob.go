package redis

// maxGlobSteps bounds the work of one match, which is otherwise that of the name's length times the pattern's. A pattern that reaches it
// does not match. A million steps take about 3 ms, and no pattern that people write for keys of some hundred bytes comes near.
const maxGlobSteps = 1 << 20

// matches says whether a name fits a pattern, as Redis' stringmatchlen does: * is any bytes, ? one byte, [a-c] and [^abc] one byte of a
// set, and a backslash takes the meaning from the byte behind it.
func matches(pattern, name []byte) bool {
	g := globber{steps: maxGlobSteps}
	return g.match(pattern, name)
}

// matchesFold is matches without regard to case, of ASCII only.
func matchesFold(pattern, name []byte) bool {
	g := globber{steps: maxGlobSteps, fold: true}
	return g.match(pattern, name)
}

type globber struct {
	steps int
	fold  bool
	over  bool // the rest of the pattern, from a star on, is nowhere in the rest of the name: no longer match of an earlier star helps
}

// match has the quirks of Redis: an open [ ends with the pattern, and one byte of the pattern is left where the name has ended, so that
// only stars match nothing.
func (g *globber) match(pattern, name []byte) bool {
	for len(pattern) > 0 && len(name) > 0 {
		if g.steps--; g.steps < 0 {
			return false
		}
		switch pattern[0] {
		case '*':
			for len(pattern) > 1 && pattern[1] == '*' {
				pattern = pattern[1:]
			}
			if len(pattern) == 1 {
				return true
			}
			for len(name) > 0 {
				if g.match(pattern[1:], name) {
					return true
				}
				if g.over || g.steps < 0 {
					return false
				}
				name = name[1:]
			}
			g.over = true
			return false
		case '?':
			name = name[1:]
		case '[':
			var ok bool
			if pattern, ok = g.set(pattern[1:], name[0]); !ok {
				return false
			}
			name = name[1:]
		case '\\':
			if len(pattern) >= 2 {
				pattern = pattern[1:]
			}
			fallthrough
		default:
			if !g.equal(pattern[0], name[0]) {
				return false
			}
			name = name[1:]
		}
		if len(pattern) > 0 {
			pattern = pattern[1:]
		}
		if len(name) == 0 {
			for len(pattern) > 0 && pattern[0] == '*' {
				pattern = pattern[1:]
			}
			break
		}
	}
	return len(pattern) == 0 && len(name) == 0
}

// set says whether a byte is in the set that pattern begins with, and returns the pattern from the set's end on.
func (g *globber) set(pattern []byte, ch byte) (rest []byte, ok bool) {
	not := len(pattern) > 0 && pattern[0] == '^'
	if not {
		pattern = pattern[1:]
	}
	for {
		switch {
		case len(pattern) >= 2 && pattern[0] == '\\':
			pattern = pattern[1:]
			ok = ok || pattern[0] == ch
		case len(pattern) == 0:
			return pattern, ok != not
		case pattern[0] == ']':
			return pattern, ok != not
		case len(pattern) >= 3 && pattern[1] == '-':
			from, to, at := pattern[0], pattern[2], ch
			if int8(from) > int8(to) { // bytes are signed, as C's char
				from, to = to, from
			}
			if g.fold {
				from, to, at = lower(from), lower(to), lower(at)
			}
			pattern = pattern[2:]
			ok = ok || int8(at) >= int8(from) && int8(at) <= int8(to)
		default:
			ok = ok || g.equal(pattern[0], ch)
		}
		pattern = pattern[1:]
	}
}

func (g *globber) equal(a, b byte) bool { return a == b || g.fold && lower(a) == lower(b) }
