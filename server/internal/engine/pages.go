package engine

const pageEntries = 256

// pages is a table by small numbers that grows without moving, and without room for more than a page of entries that nobody has.
type pages[T any] []*[pageEntries]T

// at returns the entry of i, for good.
func (p *pages[T]) at(i int) *T {
	for i/pageEntries >= len(*p) {
		*p = append(*p, new([pageEntries]T))
	}
	return &(*p)[i/pageEntries][i%pageEntries]
}
