//go:build race || invariants

package store

// checked builds overwrite what is freed, so that whoever still reads it is found out.
const checked = true

func poison(p []byte) {
	for i := range p {
		p[i] = 0xDB
	}
}
