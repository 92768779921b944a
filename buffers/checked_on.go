//go:build race || invariants

package buffers

// Checked is true in builds that look for views that are kept too long: with -race, which does not see mapped memory by itself,
// and with -tags invariants. There recycled memory is overwritten with 0xCC, passes a quarantine before it is used again, and
// is inaccessible while it is free.
const Checked = true
