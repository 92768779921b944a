package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeFlag is a number of bytes.
type sizeFlag int

func (f *sizeFlag) String() string {
	for _, u := range []string{"gb", "mb", "kb"} {
		if unit := sizeUnits[u]; *f > 0 && int(*f)%unit == 0 {
			return strconv.Itoa(int(*f)/unit) + u
		}
	}
	return strconv.Itoa(int(*f))
}

// sizeUnits are those of redis.conf.
var sizeUnits = map[string]int{
	"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30,
}

func (f *sizeFlag) Set(s string) error {
	s = strings.ToLower(s)
	digits := strings.TrimRight(s, "bkmg")
	n, err := strconv.Atoi(digits)
	unit := sizeUnits[s[len(digits):]]
	if err != nil || n < 0 || unit == 0 || n > math.MaxInt/2/unit {
		return fmt.Errorf("want a number of bytes, or one with kb, mb or gb behind it")
	}
	*f = sizeFlag(n * unit)
	return nil
}

// secondsFlag is a duration that may be given as a number of seconds, as redis.conf has it.
type secondsFlag time.Duration

func (f *secondsFlag) String() string { return time.Duration(*f).String() }

func (f *secondsFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.Atoi(s); nerr == nil && n <= math.MaxInt32 {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("want a number of seconds, or a duration as 5m")
	}
	*f = secondsFlag(d)
	return nil
}
