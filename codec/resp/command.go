package resp

// A Command is one decoded request. It lives per loop and is reused for all connections of it: Args and what it refers to
// are valid until OnInbound returns. Whoever keeps an argument longer copies it.
type Command struct {
	// Args is the name of the command and its arguments, at least one. It is empty when Err is set. Arguments are views of
	// the received bytes, except quoted ones of an inline command, which lie in memory of the Command.
	Args [][]byte
	// Err is set only with [Requests.DeliverErrors]: the peer broke the protocol, and this is what to answer.
	Err ProtocolError
	// Part is not nil only with [Requests.Parts]: it is a piece of the next argument of a command of which more is to come, and
	// valid as long as Args. In a message with the first piece of an argument, Args are the arguments before it; in one with a
	// further piece it is empty. The piece may be empty. Args of the last message of the command, without a Part, are all arguments:
	// those that were delivered in parts are nil.
	Part []byte
	// Rest is the number of bytes of the argument that follow Part.
	Rest int

	odd      bool   // Err or Part is set
	unquoted []byte // quoted arguments of the inline command in Args
}

const (
	keptArgs     = 4096  // elements of Args kept for the next command: 96 KiB per loop
	keptUnquoted = 65536 // bytes of unquoted kept for the next command: Redis' limit on an inline command
)

func (m *Command) clear() {
	m.Args = m.Args[:0]
	m.Err, m.Part, m.Rest, m.odd = "", nil, 0, false
}

// trim gives memory back that a command of count arguments does not need, if it is unreasonably large.
func (m *Command) trim(count int) {
	if cap(m.Args) > keptArgs && count <= keptArgs {
		m.Args = nil
	}
	if cap(m.unquoted) > keptUnquoted {
		m.unquoted = nil
	}
}

// A ProtocolError says what was wrong with a request, in the words of redis-server 7.0: the text of the error reply, as in
// "ERR Protocol error: invalid bulk length", without its type byte and its line end.
type ProtocolError string

const (
	errCount         ProtocolError = "ERR Protocol error: invalid multibulk length"
	errCountTooBig   ProtocolError = "ERR Protocol error: too big mbulk count string"
	errCountUnauth   ProtocolError = "ERR Protocol error: unauthenticated multibulk length"
	errLength        ProtocolError = "ERR Protocol error: invalid bulk length"
	errLengthTooBig  ProtocolError = "ERR Protocol error: too big bulk count string"
	errLengthUnauth  ProtocolError = "ERR Protocol error: unauthenticated bulk length"
	errInlineTooBig  ProtocolError = "ERR Protocol error: too big inline request"
	errInlineQuoting ProtocolError = "ERR Protocol error: unbalanced quotes in request"
)

// Error returns the text with the name of the package before it.
func (e ProtocolError) Error() string { return "resp: " + string(e) }

// Reply returns the error reply that a server sends before it closes the connection.
func (e ProtocolError) Reply() Reply { return Error(string(e)) }
