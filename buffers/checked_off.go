//go:build !race && !invariants

package buffers

// Checked is false in ordinary builds: see checked_on.go.
const Checked = false
