package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/server"
)

// redisVersion is the version whose behaviour and texts the cache has, which clients ask for.
const redisVersion = "7.0.15"

// A cache is what all connections share. Its methods may be called from any goroutine.
type cache struct {
	store     *store.Store
	hub       *hub
	commands  *commands
	maxMemory int // bytes; 0: no bound
	started   time.Time
	addr      string
	engine    func() string
	stats     func() server.Stats
}

func newCache(maxMemory int) *cache {
	return &cache{
		store:     store.New(store.Config{MaxMemory: maxMemory}),
		hub:       newHub(),
		commands:  newCommands(),
		maxMemory: maxMemory,
		started:   time.Now(),
		engine:    func() string { return "" },
		stats:     func() server.Stats { return server.Stats{} },
	}
}

// start begins the work in the background: expired entries are reclaimed, and dropped subscribers logged. The function that it
// returns ends it, and waits.
func (c *cache) start(log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.store.Run(ctx) })
	wg.Go(func() { c.hub.report(ctx, log) })
	return func() { cancel(); wg.Wait() }
}
