package memcache

import "encoding/base64"

// AppendKey appends a key in base64, as it follows a k flag of a command with a b flag.
func AppendKey(dst, key []byte) []byte { return base64.StdEncoding.AppendEncode(dst, key) }

// decodeKey decodes a key as memcached does: bytes that are not of the alphabet are passed over, what follows the padding is ignored, and
// only the number of the others must be a multiple of four. It returns the part of dst that the key takes, nil where there is none.
func decodeKey(dst, src []byte) []byte {
	count := 0
	for _, c := range src {
		if sextets[c] != noSextet {
			count++
		}
	}
	if count == 0 || count%4 != 0 || count/4*3 > len(dst) {
		return nil
	}
	var v uint32
	n, have, pad := 0, 0, 0
	for _, c := range src {
		if sextets[c] == noSextet {
			continue
		}
		if c == '=' {
			pad++
		}
		v = v<<6 | uint32(sextets[c])
		if have++; have < 4 {
			continue
		}
		dst[n], dst[n+1], dst[n+2] = byte(v>>16), byte(v>>8), byte(v)
		n += 3
		v, have = 0, 0
		if pad > 2 {
			return nil
		}
		if pad > 0 {
			return dst[:n-pad]
		}
	}
	return dst[:n]
}

const noSextet = 0x80

// sextets has the value of each byte of the alphabet, with 0 for the padding.
var sextets = func() (t [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = noSextet
	}
	for i := range alphabet {
		t[alphabet[i]] = byte(i)
	}
	t['='] = 0
	return t
}()
