package store

import (
	"fmt"
	"strings"
)

// policyNames are those of redis.conf, in the order of the policies.
var policyNames = [...]string{"noeviction", "allkeys-lru", "allkeys-random", "volatile-lru", "volatile-random", "volatile-ttl"}

// String returns the policy's name in redis.conf.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// ParsePolicy returns the policy of a name, in any case.
func ParsePolicy(name string) (Policy, error) {
	for i, known := range policyNames {
		if strings.EqualFold(name, known) {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("no policy %q: want %s", name, PolicyNames())
}

// PolicyNames returns the names with commas between them.
func PolicyNames() string { return strings.Join(policyNames[:], ", ") }
