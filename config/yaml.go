package config

import (
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// yaml reads the file into the tree. It goes on after a mistake, so that all of
// them are reported.
func (l *loader) yaml(text []byte) {
	if len(text) > 4<<20 {
		l.mistake(l.file, "", "the file is larger than 4 MiB")
		return
	}
	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntax(err)
		return
	}
	for i, doc := range f.Docs {
		if i > 0 && doc.Body != nil {
			l.mistake(l.place(doc.Body), "", "a second document in the file")
			return
		}
		if doc.Body != nil && doc.Body.Type() != ast.NullType && doc.Body.Type() != ast.CommentType {
			l.section(reflect.ValueOf(l.cfg).Elem(), doc.Body, "")
		}
	}
}

func (l *loader) syntax(err error) {
	if ye, ok := err.(yaml.Error); ok && ye.GetToken() != nil {
		p := ye.GetToken().Position
		l.mistake(fmt.Sprintf("%s:%d:%d", l.file, p.Line, p.Column), "", "%s", ye.GetMessage())
		return
	}
	l.mistake(l.file, "", "%v", err)
}

func (l *loader) place(n ast.Node) string {
	p := n.GetToken().Position
	return fmt.Sprintf("%s:%d:%d", l.file, p.Line, p.Column)
}

// section fills a struct from a mapping.
func (l *loader) section(v reflect.Value, n ast.Node, prefix string) {
	if n.Type() == ast.NullType {
		return
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		l.mistake(l.place(n), trimDot(prefix), "must have keys of its own, is a %s", kindOf(n))
		return
	}
	known := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			known[name] = v.Field(i)
		}
	}
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		node := it.KeyValue()
		name := keyOf(node.Key)
		place := l.place(node.Key)
		dst, ok := known[name]
		switch {
		case !ok:
			l.mistake(place, prefix+name, "no such key%s", similar(name, known))
		case seen[name]:
			l.mistake(place, prefix+name, "stands twice")
		default:
			seen[name] = true
			l.places[prefix+name] = l.place(node.Value)
			l.value(dst, node.Value, prefix+name)
		}
	}
}

func trimDot(s string) string {
	if len(s) > 0 && s[len(s)-1] == '.' {
		return s[:len(s)-1]
	}
	return s
}

func keyOf(n ast.MapKeyNode) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return n.GetToken().Value
}

// value fills one key.
func (l *loader) value(v reflect.Value, n ast.Node, key string) {
	if n.Type() == ast.NullType {
		if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
			v.SetZero()
		}
		return
	}
	switch {
	case isSection(v.Type()):
		l.section(v, n, key+".")
	case v.Kind() == reflect.Slice:
		l.list(v, n, key)
	case v.Kind() == reflect.Map:
		var out map[string]any
		if err := yaml.NodeToValue(n, &out); err != nil {
			l.mistake(l.place(n), key, "must have keys of its own")
			return
		}
		v.Set(reflect.ValueOf(out))
	default:
		text, ok := scalar(n)
		if !ok {
			l.mistake(l.place(n), key, "must be a single value, is a %s", kindOf(n))
			return
		}
		if err := setText(v, text); err != nil {
			l.mistake(l.place(n), key, "%v", err)
		}
	}
}

func (l *loader) list(v reflect.Value, n ast.Node, key string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		l.mistake(l.place(n), key, "must be a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, len(seq.Values))
	for i, item := range seq.Values {
		e := reflect.New(v.Type().Elem()).Elem()
		l.value(e, item, fmt.Sprintf("%s[%d]", key, i))
		list = reflect.Append(list, e)
	}
	v.Set(list)
}

// scalar is the text of a single value as written, quotes removed.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "list"
	case ast.MapNode:
		return "mapping"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "YAML anchor, alias or tag"
	}
	return "single value"
}
