package resp

// A Kind is the type of a Value: the type byte of RESP.
type Kind byte

// The kinds of RESP2 and RESP3.
const (
	KindNull      Kind = '_' // also "$-1" and "*-1" of RESP2
	KindSimple    Kind = '+'
	KindError     Kind = '-'
	KindInt       Kind = ':'
	KindBulk      Kind = '$'
	KindArray     Kind = '*'
	KindMap       Kind = '%'
	KindSet       Kind = '~'
	KindPush      Kind = '>'
	KindBool      Kind = '#'
	KindDouble    Kind = ','
	KindBigNumber Kind = '('
	KindVerbatim  Kind = '='
	KindBulkError Kind = '!'
	KindAttribute Kind = '|'

	kindRaw Kind = 'r' // of a Reply
)

// A Value is a decoded reply, a tree. It lives per loop and is reused: Data, Items and Attr are valid until OnInbound
// returns. Data is a view of the received bytes.
type Value struct {
	Kind   Kind
	Format [3]byte // of KindVerbatim: "txt" or "mkd"
	Int    int64   // of KindInt; of KindBool 1 or 0
	Double float64 // of KindDouble
	Data   []byte  // text of all that is no aggregate, no KindInt and no KindBool; without the format of KindVerbatim
	Items  []Value // of an aggregate; those of KindMap and KindAttribute are keys and values in turn
	Attr   *Value  // the KindAttribute that preceded this value, or nil
}

// Err returns the text of an error reply as an error of type ServerError, and nil for all other kinds. The text is copied.
func (v *Value) Err() error {
	if v.Kind == KindError || v.Kind == KindBulkError {
		return ServerError(v.Data)
	}
	return nil
}

// A ServerError is the text of an error reply. Its first word is the code, such as ERR or WRONGTYPE.
type ServerError string

func (e ServerError) Error() string { return string(e) }
