package config

import (
	"encoding"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite default.yaml")

// comments maps "Type.Field" to the lines of its comment.
func comments(t *testing.T) map[string][]string {
	out := map[string][]string{}
	for _, name := range []string{"config.go", "experimental.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				return false
			}
			for _, fd := range st.Fields.List {
				for _, name := range fd.Names {
					var lines []string
					if fd.Doc != nil {
						lines = strings.Split(strings.TrimSpace(fd.Doc.Text()), "\n")
					}
					out[spec.Name.Name+"."+name.Name] = lines
				}
			}
			return false
		})
	}
	return out
}

const preamble = `# The configuration of Viaduc. Every key has its default here; a file needs only
# the keys that differ. "viaduc doctor" checks a file and what it points to.

`

// document prints the tree with the comments of its source.
func document(t *testing.T) string {
	docs := comments(t)
	var b strings.Builder
	b.WriteString(preamble)
	var section func(v reflect.Value, indent string)
	section = func(v reflect.Value, indent string) {
		for i := range v.NumField() {
			sf := v.Type().Field(i)
			name := sf.Tag.Get("yaml")
			if name == "-" {
				continue
			}
			doc := docs[v.Type().Name()+"."+sf.Name]
			if len(doc) == 0 && indent == "" {
				t.Errorf("%s.%s has no comment", v.Type().Name(), sf.Name)
			}
			if indent == "" && isSection(sf.Type) {
				b.WriteString("\n")
			}
			for _, line := range doc {
				fmt.Fprintf(&b, "%s# %s\n", indent, line)
			}
			if bucket, ok := v.Field(i).Interface().(Bucket); ok {
				fmt.Fprintf(&b, "%s%s: {per_second: %v, burst: %d}\n", indent, name, bucket.PerSecond, bucket.Burst)
				continue
			}
			if isSection(sf.Type) {
				fmt.Fprintf(&b, "%s%s:\n", indent, name)
				section(v.Field(i), indent+"  ")
				continue
			}
			fmt.Fprintf(&b, "%s%s: %s\n", indent, name, inline(v.Field(i)))
		}
	}
	section(reflect.ValueOf(Default()).Elem(), "")
	return b.String()
}

func inline(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, _ := m.MarshalText()
		return string(text)
	}
	switch v.Kind() {
	case reflect.String:
		if strings.Trim(v.String(), "abcdefghijklmnopqrstuvwxyz./") == "" && v.Len() > 0 {
			return v.String()
		}
		return strconv.Quote(v.String())
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, inline(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		return "{}"
	}
	return fmt.Sprint(v.Interface())
}

func TestDefaultYAML_IsPrintedFromTheSource(t *testing.T) {
	want := document(t)
	if *update {
		if err := os.WriteFile("default.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatal("default.yaml differs from config.go; run: go test ./config -update")
	}
}

func TestDefaultYAML_LoadsToTheDefaults(t *testing.T) {
	c, err := Parse("default.yaml", []byte(DefaultYAML), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	for i, f := range fieldsOf(c) {
		if a, b := fmt.Sprint(f.value.Interface()), fmt.Sprint(fieldsOf(want)[i].value.Interface()); !f.section && a != b {
			t.Errorf("%s: %s, want %s", f.key, a, b)
		}
	}
}
