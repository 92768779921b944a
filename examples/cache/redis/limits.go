package redis

import (
	"fmt"
	"math"
	"strings"

	"github.com/protoring/protoring/examples/cache/store"
)

// outputLimits are client-output-buffer-limit: what may wait for a connection of each class before it is dropped. Those of subscribers
// are obeyed. The others are kept as they are set and do nothing: a reply that does not fit a connection's output waits until it does.
type outputLimits [3]outputLimit

type outputLimit struct {
	hard, soft int64 // bytes; 0: none
	seconds    int64 // that more than soft may wait without a break
}

// The classes, and the names that CONFIG GET has for them.
const (
	normalClass = iota
	replicaClass
	pubsubClass
)

var limitClasses = [...]string{"normal", "slave", "pubsub"}

// defaultLimits are those of Redis.
var defaultLimits = outputLimits{
	replicaClass: {256 << 20, 64 << 20, 60},
	pubsubClass:  {32 << 20, 8 << 20, 60},
}

func (o outputLimits) String() string {
	var fields []string
	for i, l := range o {
		fields = append(fields, fmt.Sprintf("%s %d %d %d", limitClasses[i], l.hard, l.soft, l.seconds))
	}
	return strings.Join(fields, " ")
}

// parse sets the classes that the text names. why is what is wrong with it, or empty.
func (o *outputLimits) parse(text string) (why string) {
	fields := strings.Fields(text)
	if len(fields)%4 != 0 {
		return "Wrong number of arguments in buffer limit configuration."
	}
	for ; len(fields) > 0; fields = fields[4:] {
		class := -1
		for i, name := range limitClasses {
			if strings.EqualFold(fields[0], name) || i == replicaClass && strings.EqualFold(fields[0], "replica") {
				class = i
			}
		}
		if class < 0 {
			return "Invalid client class specified in buffer limit configuration."
		}
		hard, okHard := parseMemory(fields[1])
		soft, okSoft := parseMemory(fields[2])
		seconds, okSeconds := store.ParseInt([]byte(fields[3]))
		if !okHard || !okSoft || !okSeconds || seconds < 0 || seconds > math.MaxInt32 {
			return "Error in hard, soft or soft_seconds setting in buffer limit configuration."
		}
		o[class] = outputLimit{int64(hard), int64(soft), seconds}
	}
	return ""
}
