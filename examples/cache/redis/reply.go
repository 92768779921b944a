package redis

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// Error texts that several commands have.
const (
	errSyntax  = "ERR syntax error"
	errInteger = "ERR value is not an integer or out of range"
	errFloat   = "ERR value is not a valid float"
	errMemory  = "OOM command not allowed when used memory > 'maxmemory'."
	errKey     = "ERR key is too long"
	errNoKey   = "ERR no such key"
	errRange   = "ERR value is out of range, value must between -2147483648 and 2147483647"
	errDB      = "ERR DB index is out of range"
	errTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

// refuse answers with an error.
func refuse(out *outbound, text string) reactor.Status {
	out.Send(resp.Error(text))
	return reactor.Continue
}

// refusef answers with an error that repeats words of the client's. Redis cuts line ends at its ends.
func refusef(out *outbound, format string, args ...any) reactor.Status {
	return refuse(out, strings.Trim(fmt.Sprintf(format, args...), "\r\n"))
}

func refuseArity(out *outbound, name string) reactor.Status {
	return refusef(out, "ERR wrong number of arguments for '%s' command", name)
}

// refuseStore answers with an error of the store's.
func refuseStore(out *outbound, err error) reactor.Status {
	switch err {
	case store.ErrKey:
		return refuse(out, errKey)
	case store.ErrInteger:
		return refuse(out, errInteger)
	case store.ErrOverflow:
		return refuse(out, "ERR increment or decrement would overflow")
	}
	return refuse(out, errMemory)
}

func ok(out *outbound) reactor.Status {
	out.Send(resp.Simple("OK"))
	return reactor.Continue
}

// answer answers 1 for yes and 0 for no.
func answer(yes bool, out *outbound) reactor.Status {
	n := int64(0)
	if yes {
		n = 1
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

// maxQuoted is the most bytes of a client's words that an error repeats.
const maxQuoted = 128

// cut returns what Redis repeats of a word: up to a zero byte, and not more than maxQuoted.
func cut(word []byte) []byte {
	word = word[:min(len(word), maxQuoted)]
	return untilZero(word)
}

func untilZero(word []byte) []byte {
	if i := bytes.IndexByte(word, 0); i >= 0 {
		word = word[:i]
	}
	return word
}

// quoteArgs returns the beginning of the arguments in the form that Redis has it.
func quoteArgs(args [][]byte) []byte {
	var text []byte
	for _, arg := range args {
		if len(text) >= maxQuoted {
			break
		}
		arg = cut(arg)
		arg = arg[:min(len(arg), maxQuoted-len(text))]
		text = fmt.Appendf(text, "'%s' ", arg)
	}
	return text
}

// is says whether arg is the word, which is in lower case, in any case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, ch := range arg {
		if lower(ch) != word[i] {
			return false
		}
	}
	return true
}

func lower(ch byte) byte {
	if ch-'A' < 26 {
		return ch | 0x20
	}
	return ch
}
