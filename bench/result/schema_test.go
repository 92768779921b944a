package result_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

// TestSchemaIsDocumented holds docs/bench-schema.md to the types: each field is there, with what kind of value it has and whether it may be
// missing, and nothing else is.
func TestSchemaIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/bench-schema.md")
	require.NoError(t, err)
	documented := map[string]map[string][2]string{} // type → field → type, optional
	row := regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]+) \\| (yes|no) \\| [^|]+ \\|$")
	section := ""
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSuffix(l, "\n")
		if name, ok := strings.CutPrefix(l, "## "); ok {
			section = name
		}
		if strings.HasPrefix(l, "| `") {
			m := row.FindStringSubmatch(l)
			require.NotNilf(t, m, "a row of %s that is not field, type, optional, meaning: %s", section, l)
			if documented[section] == nil {
				documented[section] = map[string][2]string{}
			}
			require.NotContains(t, documented[section], m[1])
			documented[section][m[1]] = [2]string{m[2], m[3]}
		}
	}
	types := map[string]reflect.Type{}
	collect(types, reflect.TypeFor[result.Report]())
	require.ElementsMatch(t, slices.Collect(maps.Keys(types)), slices.Collect(maps.Keys(documented)), "types")
	for name, typ := range types {
		fields := map[string][2]string{}
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			require.NotEmptyf(t, key, "%s.%s has no name in JSON", name, f.Name)
			optional := "no"
			if strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") {
				optional = "yes"
			}
			fields[key] = [2]string{kind(f.Type), optional}
		}
		require.Equal(t, fields, documented[name], "fields of %s", name)
	}
	require.Contains(t, string(b), "`version` is **2**")
	require.Equal(t, 2, result.Version, "the document says 2")
}

// collect finds the structs that a type is made of.
func collect(types map[string]reflect.Type, t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[result.Report]().PkgPath() {
		return
	}
	types[t.Name()] = t
	for i := range t.NumField() {
		collect(types, t.Field(i).Type)
	}
}

// kind is what the document calls a type.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "array of " + plural(kind(t.Elem()))
	case reflect.Map:
		return "object of " + plural(kind(t.Elem()))
	case reflect.Struct:
		if t.PkgPath() == "time" {
			return "string"
		}
		return t.Name()
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	}
	return "number"
}

func plural(kind string) string {
	if kind == "string" || kind == "number" {
		return kind + "s"
	}
	return kind
}

// TestKeysAreStable holds the names themselves: a field that is renamed in the code and in the document would else pass.
func TestKeysAreStable(t *testing.T) {
	b, err := json.Marshal(result.Round{Lag: &result.Latency{}, Server: &result.Server{}, Stats: &result.Stats{Engine: "epoll", Total: map[string]int64{"Sends": 1}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"seconds":0,"ops":0,"achievedPerSecond":0,"bytes":{"sent":0,"received":0},"othersBusy":0,
		"latency":{"count":0,"meanNanos":0,"minNanos":0,"p50Nanos":0,"p90Nanos":0,"p99Nanos":0,"p99.9Nanos":0,"p99.99Nanos":0,"maxNanos":0},
		"lag":{"count":0,"meanNanos":0,"minNanos":0,"p50Nanos":0,"p90Nanos":0,"p99Nanos":0,"p99.9Nanos":0,"p99.99Nanos":0,"maxNanos":0},
		"generator":{"threads":0,"cpuSeconds":0,"busy":0,"syscalls":0},
		"server":{"pid":0,"cpuSeconds":0,"cpuMicrosPerOp":0,"busy":0,"rssBytes":0,"peakRSSBytes":0,"voluntarySwitches":0,"involuntarySwitches":0,"threads":0},
		"stats":{"engine":"epoll","seconds":0,"total":{"Sends":1}}}`, string(b))
}
