//go:build !race && !invariants

package store

const checked = false

func poison([]byte) {}
