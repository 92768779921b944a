package uring

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// BTF is the kernel's own description of its types (/sys/kernel/btf/vmlinux; Documentation/bpf/btf.rst). This reader knows of it
// what the comparison of layouts and enums needs.

const (
	btfMagic = 0xeb9f

	btfInt      = 1
	btfPtr      = 2
	btfArray    = 3
	btfStruct   = 4
	btfUnion    = 5
	btfEnum     = 6
	btfTypedef  = 8
	btfVolatile = 9
	btfConst    = 10
	btfRestrict = 11
	btfFuncPro  = 13
	btfVar      = 14
	btfDatasec  = 15
	btfDeclTag  = 17
	btfTypeTag  = 18
	btfEnum64   = 19
)

type btf struct {
	order   binary.ByteOrder
	types   []byte
	strings []byte
	at      []uint32          // offset of each type in types; type 0 is void
	structs map[string]uint32 // IDs of named structs and unions
	enums   map[string]int64  // values of enumerators
}

type btfType struct {
	kind, vlen int
	kflag      bool
	size       uint32 // or the ID of the type referred to
	extra      []byte
}

func parseBTF(data []byte) (*btf, error) {
	b := &btf{order: binary.LittleEndian, structs: map[string]uint32{}, enums: map[string]int64{}}
	if len(data) < 24 || b.order.Uint16(data) != btfMagic {
		return nil, fmt.Errorf("no BTF of this byte order")
	}
	u32 := func(at int) int { return int(b.order.Uint32(data[at:])) }
	header := u32(4)
	b.types = data[header+u32(8):][:u32(12)]
	b.strings = data[header+u32(16):][:u32(20)]
	b.at = []uint32{0}
	for at := 0; at < len(b.types); {
		id := uint32(len(b.at))
		b.at = append(b.at, uint32(at))
		t := b.typ(id)
		name := b.name(b.order.Uint32(b.types[at:]))
		switch t.kind {
		case btfStruct, btfUnion:
			if name != "" {
				if _, twice := b.structs[name]; !twice {
					b.structs[name] = id
				}
			}
		case btfEnum:
			for i := range t.vlen {
				e := t.extra[i*8:]
				b.enums[b.name(b.order.Uint32(e))] = int64(int32(b.order.Uint32(e[4:])))
			}
		case btfEnum64:
			for i := range t.vlen {
				e := t.extra[i*12:]
				low, high := b.order.Uint32(e[4:]), b.order.Uint32(e[8:])
				b.enums[b.name(b.order.Uint32(e))] = int64(uint64(high)<<32 | uint64(low))
			}
		}
		at += 12 + len(t.extra)
	}
	return b, nil
}

func (b *btf) name(at uint32) string {
	s := b.strings[at:]
	for i, c := range s {
		if c == 0 {
			return string(s[:i])
		}
	}
	return ""
}

func (b *btf) typ(id uint32) btfType {
	d := b.types[b.at[id]:]
	info := b.order.Uint32(d[4:])
	t := btfType{kind: int(info >> 24 & 0x1f), vlen: int(info & 0xffff), kflag: info>>31 != 0, size: b.order.Uint32(d[8:])}
	var extra int
	switch t.kind {
	case btfInt, btfVar, btfDeclTag:
		extra = 4
	case btfArray:
		extra = 12
	case btfStruct, btfUnion, btfDatasec, btfEnum64:
		extra = 12 * t.vlen
	case btfEnum, btfFuncPro:
		extra = 8 * t.vlen
	}
	t.extra = d[12 : 12+extra]
	return t
}

// sizeof returns the size of a type in bytes.
func (b *btf) sizeof(id uint32) int {
	for {
		t := b.typ(id)
		switch t.kind {
		case btfTypedef, btfVolatile, btfConst, btfRestrict, btfTypeTag:
			id = t.size
		case btfArray:
			return b.sizeof(b.order.Uint32(t.extra)) * int(b.order.Uint32(t.extra[8:]))
		case btfPtr:
			return 8
		default:
			return int(t.size)
		}
	}
}

// structSize returns the size of a named struct.
func (b *btf) structSize(name string) (int, error) {
	id, ok := b.structs[name]
	if !ok {
		return 0, fmt.Errorf("the kernel's BTF has no struct %s", name)
	}
	return b.sizeof(id), nil
}

// member returns offset and size of a member, in bytes; it looks into members without a name.
func (b *btf) member(name, member string) (offset, size int, err error) {
	id, ok := b.structs[name]
	if !ok {
		return 0, 0, fmt.Errorf("the kernel's BTF has no struct %s", name)
	}
	if offset, size, ok = b.find(id, member); !ok {
		return 0, 0, fmt.Errorf("the kernel's struct %s has no member %s; it has %s", name, member, strings.Join(b.members(id), ", "))
	}
	return offset, size, nil
}

func (b *btf) find(id uint32, member string) (offset, size int, ok bool) {
	t := b.typ(id)
	for i := range t.vlen {
		m := t.extra[i*12:]
		name, typ, bits := b.name(b.order.Uint32(m)), b.order.Uint32(m[4:]), b.order.Uint32(m[8:])
		var bitfield uint32
		if t.kflag {
			bits, bitfield = bits&0xffffff, bits>>24
		}
		switch {
		case name == member && bitfield == 0 && bits%8 == 0:
			return int(bits / 8), b.sizeof(typ), true
		case name == "":
			if k := b.typ(typ).kind; k == btfStruct || k == btfUnion {
				if offset, size, ok = b.find(typ, member); ok {
					return offset + int(bits/8), size, true
				}
			}
		}
	}
	return 0, 0, false
}

func (b *btf) members(id uint32) []string {
	var names []string
	t := b.typ(id)
	for i := range t.vlen {
		m := t.extra[i*12:]
		if name, typ := b.name(b.order.Uint32(m)), b.order.Uint32(m[4:]); name != "" {
			names = append(names, name)
		} else if k := b.typ(typ).kind; k == btfStruct || k == btfUnion {
			names = append(names, b.members(typ)...)
		}
	}
	return names
}
