package reactor

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckHooks says whether each method of R whose name begins with On is one that will be called. The error names the type, the
// method, and what is expected. Where R is an interface type, its values are to be given to [CheckHooksOf] as well: they may have
// more methods.
func CheckHooks[In, Out any, R Reactor[In, Out]]() error {
	return checkHooks[Out](reflect.TypeFor[R]())
}

// CheckHooksOf is CheckHooks for the type of v, a reactor.
func CheckHooksOf[Out any](v any) error {
	if v == nil {
		return fmt.Errorf("reactor: the reactor is nil")
	}
	return checkHooks[Out](reflect.TypeOf(v))
}

// hooks are the optional interfaces, of one method each.
func hooks[Out any]() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[Opener[Out]](), reflect.TypeFor[Roomer[Out]](), reflect.TypeFor[Ender[Out]](),
		reflect.TypeFor[Drainer[Out]](), reflect.TypeFor[Outbounder[Out]](), reflect.TypeFor[Closer](),
	}
}

func checkHooks[Out any](t reflect.Type) error {
	for i := range t.NumMethod() {
		if m := t.Method(i); looksLikeHook(m.Name) {
			if err := checkHook[Out](t, m); err != nil {
				return err
			}
		}
	}
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return nil
	}
	// A value's method set lacks what is declared on the pointer, so such a hook would never be called.
	for i, p := 0, reflect.PointerTo(t); i < p.NumMethod(); i++ {
		m := p.Method(i)
		if _, ok := t.MethodByName(m.Name); !ok && looksLikeHook(m.Name) {
			return fmt.Errorf("reactor: (*%v).%s has a pointer receiver, and the reactor is a value: return a *%v", t, m.Name, t)
		}
	}
	return nil
}

func checkHook[Out any](t reflect.Type, m reflect.Method) error {
	name := t.String()
	if t.Kind() == reflect.Pointer {
		name = "(" + name + ")"
	}
	var names []string
	for _, hook := range hooks[Out]() {
		want := hook.Method(0)
		if want.Name != m.Name {
			names = append(names, want.Name)
			continue
		}
		if !t.Implements(hook) {
			return fmt.Errorf("reactor: %s.%s has the wrong signature: want %v", name, m.Name, want.Type)
		}
		return nil
	}
	return fmt.Errorf("reactor: %s.%s is no hook; hooks are %s", name, m.Name, strings.Join(names, ", "))
}

// looksLikeHook leaves out OnInbound, which the compiler checks, and words like Once.
func looksLikeHook(name string) bool {
	rest, ok := strings.CutPrefix(name, "On")
	first, _ := utf8.DecodeRuneInString(rest)
	return ok && unicode.IsUpper(first) && name != "OnInbound"
}
