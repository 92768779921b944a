//go:build race

package server_test

// raceEnabled: memory and rates are those of the race detector.
const raceEnabled = true
