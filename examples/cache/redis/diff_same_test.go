package redis_test

import (
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/protoring/protoring/codec/resp"
)

// elements cuts an aggregate's items apart, and returns its first line.
func elements(text string) (head string, items []string) {
	i := strings.Index(text, "\r\n")
	if i < 0 || !strings.ContainsRune("*%~>", rune(text[0])) {
		return text, nil
	}
	head, text = text[:i], text[i+2:]
	var dec resp.ReplyDecoder
	for len(text) > 0 {
		var v resp.Value
		n, err := dec.Decode([]byte(text), &v)
		if err != nil {
			break
		}
		items = append(items, text[:n])
		text = text[n:]
	}
	return head, items
}

// same says whether two replies to a command mean the same, where they need not be the same bytes.
func same(w wire, queued []wire, a, b string) bool {
	if a == b {
		return true
	}
	switch w.name() {
	case "exec":
		headA, itemsA := elements(a)
		headB, itemsB := elements(b)
		if headA != headB || len(itemsA) != len(queued) || len(itemsB) != len(queued) {
			return false
		}
		for i, q := range queued {
			if !same(q, nil, itemsA[i], itemsB[i]) {
				return false
			}
		}
		return true
	case "ttl", "expiretime":
		return near(a, b, 3)
	case "pttl", "pexpiretime":
		return near(a, b, 3000)
	case "time":
		headA, itemsA := elements(a)
		headB, itemsB := elements(b)
		return headA == headB && len(itemsA) == 2 && len(itemsB) == 2
	case "keys":
		return sameSet(a, b, 1)
	case "randomkey":
		return a[0] == '$' && b[0] == '$' && a[1] != '-' && b[1] != '-'
	case "scan": // one call, of which neither the cursor nor the keys are known
		return strings.HasPrefix(a, "*2\r\n") && strings.HasPrefix(b, "*2\r\n")
	case "hello":
		return hideID(a) == hideID(b)
	}
	switch w.sub() {
	case "client getredir": // the number of a connection, if it is one
		return a[0] == ':' && b[0] == ':' && len(a) > len(":0\r\n") == (len(b) > len(":0\r\n"))
	case "client id":
		return a[0] == ':' && b[0] == ':'
	case "object idletime": // Redis shares small integers among keys, and their times with them
		return a[0] == ':' && b[0] == ':'
	case "pubsub channels":
		return sameSet(a, b, 1)
	case "config get":
		return sameSet(a, b, 2)
	case "client trackinginfo":
		return hideRedirect(a) == hideRedirect(b)
	}
	return false
}

func near(a, b string, tolerance int) bool {
	n, err := strconv.Atoi(strings.Trim(a, ":\r\n"))
	m, err2 := strconv.Atoi(strings.Trim(b, ":\r\n"))
	return err == nil && err2 == nil && a[0] == ':' && b[0] == ':' && n >= 0 && m >= 0 && max(n-m, m-n) <= tolerance
}

// sameSet compares aggregates whose items come in any order, in groups.
func sameSet(a, b string, group int) bool {
	headA, itemsA := elements(a)
	headB, itemsB := elements(b)
	if headA != headB || len(itemsA) != len(itemsB) {
		return false
	}
	if a[0] == '%' {
		group = 2
	}
	join := func(items []string) (list []string) {
		for i := 0; i+group <= len(items); i += group {
			list = append(list, strings.Join(items[i:i+group], ""))
		}
		sort.Strings(list)
		return list
	}
	return strings.Join(join(itemsA), "") == strings.Join(join(itemsB), "")
}

// hideID takes away the number of the connection.
func hideID(s string) string {
	const before = "$2\r\nid\r\n:"
	i := strings.Index(s, before)
	if i < 0 {
		return s
	}
	i += len(before)
	return s[:i] + s[i+max(0, strings.IndexByte(s[i:], '\r')):]
}

var redirects = regexp.MustCompile(`redirect\r\n:[1-9]\d*`)

// hideRedirect takes away the number of another connection.
func hideRedirect(s string) string { return redirects.ReplaceAllString(s, "redirect:N") }
