package resp

// maxPeekArgs is the most arguments of a command that PeekKeys looks into, so that its work is bounded whatever arrives.
const maxPeekArgs = 8

// PeekKeys looks at requests before they are decoded, for a reactor that wants to have memory fetched for several of them at the
// same time. It stores in keys the first argument, which mostly is a key, of each command that lies whole at the beginning of b,
// as many as keys has room for. It returns their number, and the offset behind the last of these commands.
//
// It stops at a command that is not an array of two to eight bulk strings. It checks no limits and keeps nothing. The keys are parts
// of b.
func PeekKeys(b []byte, keys [][]byte) (n, end int) {
	for n < len(keys) && end < len(b) && b[end] == '*' {
		args, pos := parseLength(b, end)
		if pos == 0 || args < 2 || args > maxPeekArgs {
			return n, end
		}
		for i := range args {
			if pos >= len(b) || b[pos] != '$' {
				return n, end
			}
			size, start := parseLength(b, pos)
			if start == 0 || size > int64(len(b)-start-2) {
				return n, end
			}
			pos = start + int(size) + 2
			if i == 1 {
				keys[n] = b[start : pos-2 : pos-2]
			}
		}
		n++
		end = pos
	}
	return n, end
}
