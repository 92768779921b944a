package resp

// Client is the codec of a client's connection: a codec.Codec[Value, Args].
type Client struct {
	ReplyDecoder
	CommandEncoder
}

// Args is a command to send: its name and its arguments, at least one.
type Args [][]byte

// CommandEncoder encodes commands as arrays of bulk strings.
type CommandEncoder struct{}

// Encode appends the command.
func (CommandEncoder) Encode(dst []byte, m Args) []byte { return AppendCommand(dst, m...) }

// Size is an upper bound of the encoded size of m in bytes.
func (CommandEncoder) Size(m Args) int {
	n := headSize
	for _, arg := range m {
		n += headSize + len(arg)
	}
	return n
}

// AppendCommand appends a command of at least one argument, its name, to dst and returns the extended slice.
func AppendCommand[S ~[]byte | ~string](dst []byte, args ...S) []byte {
	dst = appendHead(dst, '*', int64(len(args)))
	for _, arg := range args {
		dst = appendHead(dst, '$', int64(len(arg)))
		dst = append(dst, arg...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
