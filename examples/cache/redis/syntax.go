package redis

import (
	"strings"

	"github.com/protoring/protoring/codec/resp"
)

// syntaxes say which arguments a command has, as COMMAND DOCS tells it, from which redis-cli makes its hints. An argument is its
// name and its type, and then, each only if it has one, its =token, the #number of its keys' specification, the version that it is there
// @since and that it is out of use !since, ? if it may be left out, * if there may be several, + if each of them has the token, and
// those that it is made of in brackets.
var syntaxes = map[string]string{
	"get": "key:key#0",
	"set": "key:key#0 value:string condition:oneof@2.6.12?(nx:pure-token=NX xx:pure-token=XX) get:pure-token=GET@6.2.0? " +
		"expiration:oneof?(seconds:integer=EX@2.6.12 milliseconds:integer=PX@2.6.12 unix-time-seconds:unix-time=EXAT@6.2.0 " +
		"unix-time-milliseconds:unix-time=PXAT@6.2.0 keepttl:pure-token=KEEPTTL@6.0.0)",
	"getex": "key:key#0 expiration:oneof?(seconds:integer=EX milliseconds:integer=PX unix-time-seconds:unix-time=EXAT " +
		"unix-time-milliseconds:unix-time=PXAT persist:pure-token=PERSIST)",
	"getdel":      "key:key#0",
	"getset":      "key:key#0 value:string",
	"getrange":    "key:key#0 start:integer end:integer",
	"setrange":    "key:key#0 offset:integer value:string",
	"substr":      "key:key#0 start:integer end:integer",
	"strlen":      "key:key#0",
	"append":      "key:key#0 value:string",
	"mget":        "key:key#0*",
	"mset":        "key_value:block*(key:key#0 value:string)",
	"msetnx":      "key_value:block*(key:key#0 value:string)",
	"setnx":       "key:key#0 value:string",
	"setex":       "key:key#0 seconds:integer value:string",
	"psetex":      "key:key#0 milliseconds:integer value:string",
	"incr":        "key:key#0",
	"decr":        "key:key#0",
	"incrby":      "key:key#0 increment:integer",
	"decrby":      "key:key#0 decrement:integer",
	"incrbyfloat": "key:key#0 increment:double",
	"del":         "key:key#0*",
	"unlink":      "key:key#0*",
	"exists":      "key:key#0*",
	"type":        "key:key#0",
	"touch":       "key:key#0*",
	"expire":      "key:key#0 seconds:integer condition:oneof@7.0.0?(nx:pure-token=NX xx:pure-token=XX gt:pure-token=GT lt:pure-token=LT)",
	"pexpire": "key:key#0 milliseconds:integer condition:oneof@7.0.0?(nx:pure-token=NX xx:pure-token=XX gt:pure-token=GT " +
		"lt:pure-token=LT)",
	"expireat": "key:key#0 unix-time-seconds:unix-time condition:oneof@7.0.0?(nx:pure-token=NX xx:pure-token=XX gt:pure-token=GT " +
		"lt:pure-token=LT)",
	"pexpireat": "key:key#0 unix-time-milliseconds:unix-time condition:oneof@7.0.0?(nx:pure-token=NX xx:pure-token=XX " +
		"gt:pure-token=GT lt:pure-token=LT)",
	"ttl":             "key:key#0",
	"pttl":            "key:key#0",
	"expiretime":      "key:key#0",
	"pexpiretime":     "key:key#0",
	"persist":         "key:key#0",
	"keys":            "pattern:pattern",
	"scan":            "cursor:integer pattern:pattern=MATCH? count:integer=COUNT? type:string=TYPE@6.0.0?",
	"rename":          "key:key#0 newkey:key#1",
	"renamenx":        "key:key#0 newkey:key#1",
	"copy":            "source:key#0 destination:key#1 destination-db:integer=DB? replace:pure-token=REPLACE?",
	"move":            "key:key#0 db:integer",
	"object|encoding": "key:key#0",
	"object|freq":     "key:key#0",
	"object|idletime": "key:key#0",
	"object|refcount": "key:key#0",
	"flushall":        "async:oneof?(async:pure-token=ASYNC@4.0.0 sync:pure-token=SYNC@6.2.0)",
	"flushdb":         "async:oneof?(async:pure-token=ASYNC@4.0.0 sync:pure-token=SYNC@6.2.0)",
	"ping":            "message:string?",
	"echo":            "message:string",
	"select":          "index:integer",
	"hello": "arguments:block?(protover:integer username_password:block=AUTH?(username:string password:string) " +
		"clientname:string=SETNAME?)",
	"auth":           "username:string@6.0.0? password:string",
	"client|caching": "mode:oneof(yes:pure-token=YES no:pure-token=NO)",
	"client|kill": "filter:oneof(ip:port:string!2.8.12 new-format:oneof*(client-id:integer=ID@2.8.12? " +
		"normal_master_slave_pubsub:oneof=TYPE@2.8.12?(normal:pure-token=NORMAL master:pure-token=MASTER@3.2.0 " +
		"slave:pure-token=SLAVE replica:pure-token=REPLICA@5.0.0 pubsub:pure-token=PUBSUB) username:string=USER? " +
		"ip:port:string=ADDR? ip:port:string=LADDR@6.2.0? yes/no:string=SKIPME?))",
	"client|list": "normal_master_replica_pubsub:oneof=TYPE@5.0.0?(normal:pure-token=NORMAL master:pure-token=MASTER " +
		"replica:pure-token=REPLICA pubsub:pure-token=PUBSUB) id:block=ID@6.2.0?(client-id:integer*)",
	"client|no-evict": "enabled:oneof(on:pure-token=ON off:pure-token=OFF)",
	"client|reply":    "on_off_skip:oneof(on:pure-token=ON off:pure-token=OFF skip:pure-token=SKIP)",
	"client|setname":  "connection-name:string",
	"client|tracking": "status:oneof(on:pure-token=ON off:pure-token=OFF) client-id:integer=REDIRECT? prefix:string=PREFIX?*+ " +
		"bcast:pure-token=BCAST? optin:pure-token=OPTIN? optout:pure-token=OPTOUT? noloop:pure-token=NOLOOP?",
	"client|unblock": "client-id:integer timeout_error:oneof?(timeout:pure-token=TIMEOUT error:pure-token=ERROR)",
	"info":           "section:string?*",
	"config|get":     "parameter:block*(parameter:string)",
	"config|set":     "parameter_value:block*(parameter:string value:string)",
	"command|docs":   "command-name:string?*",
	"command|info":   "command-name:string?*",
	"command|list":   "filterby:oneof=FILTERBY?(module-name:string=MODULE category:string=ACLCAT pattern:pattern=PATTERN)",
	"lolwut":         "version:integer=VERSION?",
	"memory|usage":   "key:key#0 count:integer=SAMPLES?",
	"shutdown": "nosave_save:oneof?(nosave:pure-token=NOSAVE save:pure-token=SAVE) now:pure-token=NOW@7.0.0? " +
		"force:pure-token=FORCE@7.0.0? abort:pure-token=ABORT@7.0.0?",
	"slowlog|get":          "count:integer?",
	"latency|graph":        "event:string",
	"latency|histogram":    "command:string?*",
	"latency|history":      "event:string",
	"latency|reset":        "event:string?*",
	"watch":                "key:key#0*",
	"subscribe":            "channel:string*",
	"unsubscribe":          "channel:string?*",
	"psubscribe":           "pattern:block*(pattern:pattern)",
	"punsubscribe":         "pattern:pattern?*",
	"publish":              "channel:string message:string",
	"pubsub|channels":      "pattern:pattern?",
	"pubsub|numsub":        "channel:string?*",
	"pubsub|shardchannels": "pattern:pattern?",
	"pubsub|shardnumsub":   "shardchannel:string?*",
	"client|setinfo":       "attr:oneof(libname:string=LIB-NAME libver:string=LIB-VER)",
	"client|no-touch":      "enabled:oneof(on:pure-token=ON off:pure-token=OFF)",
}

// An argument is parsed from a syntax.
type argument struct {
	name, kind, token, spec, since, until string
	flags                                 []string
	parts                                 []argument
}

const syntaxMarks = "=#@!?*+() "

// parseSyntax parses arguments up to a bracket or the end, and returns what is behind them.
func parseSyntax(text string) (list []argument, rest string) {
	for text != "" && text[0] != ')' {
		if text[0] == ' ' {
			text = text[1:]
			continue
		}
		var a argument
		var head string
		head, text = cutMark(text)
		colon := strings.LastIndexByte(head, ':') // names may have one, too
		a.name, a.kind = head[:colon], head[colon+1:]
		for text != "" && text[0] != ' ' && text[0] != ')' {
			mark := text[0]
			text = text[1:]
			switch mark {
			case '?':
				a.flags = append(a.flags, "optional")
			case '*':
				a.flags = append(a.flags, "multiple")
			case '+':
				a.flags = append(a.flags, "multiple_token")
			case '=':
				a.token, text = cutMark(text)
			case '#':
				a.spec, text = cutMark(text)
			case '@':
				a.since, text = cutMark(text)
			case '!':
				a.until, text = cutMark(text)
			case '(':
				a.parts, text = parseSyntax(text)
				text = text[1:]
			}
		}
		list = append(list, a)
	}
	return list, text
}

func cutMark(text string) (before, from string) {
	i := strings.IndexAny(text, syntaxMarks)
	if i < 0 {
		return text, ""
	}
	return text[:i], text[i:]
}

// sendArguments sends them in the form of COMMAND DOCS.
func sendArguments(list []argument, out *outbound) {
	out.Send(resp.Array(len(list)))
	for _, a := range list {
		type pair struct{ name, value string }
		var pairs []pair
		for _, p := range []pair{{"name", a.name}, {"type", a.kind}, {"key_spec_index", a.spec}, {"token", a.token}, {"since", a.since},
			{"deprecated_since", a.until}} {
			if p.value != "" {
				pairs = append(pairs, p)
			}
		}
		size := len(pairs)
		if len(a.flags) > 0 {
			size++
		}
		if len(a.parts) > 0 {
			size++
		}
		out.Send(resp.Map(size))
		for _, p := range pairs {
			out.Send(resp.BulkString(p.name))
			if p.name == "key_spec_index" {
				out.Send(resp.Int(int64(p.value[0] - '0')))
			} else {
				out.Send(resp.BulkString(p.value))
			}
		}
		if len(a.flags) > 0 {
			out.Send(resp.BulkString("flags"))
			sendNames(a.flags, out)
		}
		if len(a.parts) > 0 {
			out.Send(resp.BulkString("arguments"))
			sendArguments(a.parts, out)
		}
	}
}
