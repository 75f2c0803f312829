package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Mistake is one thing wrong with the configuration.
type Mistake struct {
	// Place is file:line:column, or the name of an environment variable.
	Place string
	// Key is the path of the key, such as federation.timeout.
	Key string
	// Text says what is wrong.
	Text string
}

func (m Mistake) String() string {
	s := m.Text
	if m.Key != "" {
		s = m.Key + ": " + s
	}
	if m.Place != "" {
		s = m.Place + ": " + s
	}
	return s
}

// Mistakes are all of them at once.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}

// loader gathers values, where they came from, and mistakes.
type loader struct {
	cfg      *Config
	file     string
	places   map[string]string // key path to place
	mistakes Mistakes
}

func (l *loader) mistake(place, key, format string, args ...any) {
	l.mistakes = append(l.mistakes, Mistake{place, key, fmt.Sprintf(format, args...)})
}

// wrong is a mistake in the value of a key, at the place it was set.
func (l *loader) wrong(key, format string, args ...any) {
	l.mistake(l.places[key], key, format, args...)
}

// Load reads the file, if its name is not empty, and then the environment
// (entries NAME=value), on top of Default. The error is Mistakes, unless the
// file cannot be read.
func Load(file string, environ []string) (*Config, error) {
	var text []byte
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return Parse(file, text, environ)
}

// Parse is Load for text at hand.
func Parse(file string, text []byte, environ []string) (*Config, error) {
	l := &loader{cfg: Default(), file: file, places: map[string]string{}}
	l.yaml(text)
	l.environ(environ)
	l.secretFiles()
	if len(l.mistakes) == 0 {
		l.validate()
	}
	if len(l.mistakes) > 0 {
		return nil, l.mistakes
	}
	return l.cfg, nil
}

// secretFiles reads the values that stand in files of their own.
func (l *loader) secretFiles() {
	for _, s := range []struct {
		key   string
		file  string
		value *string
	}{
		{"database.url", l.cfg.Database.URLFile, &l.cfg.Database.URL},
		{"registration.shared_secret", l.cfg.Registration.SharedSecretFile, &l.cfg.Registration.SharedSecret},
		{"mail.password", l.cfg.Mail.PasswordFile, &l.cfg.Mail.Password},
		{"turn.secret", l.cfg.TURN.SecretFile, &l.cfg.TURN.Secret},
	} {
		if s.file == "" {
			continue
		}
		if _, both := l.places[s.key]; both {
			l.wrong(s.key+"_file", "%s is set too; set only one", s.key)
			continue
		}
		text, err := os.ReadFile(s.file)
		if err != nil {
			l.wrong(s.key+"_file", "%v", unwrapPath(err))
			continue
		}
		if *s.value = strings.TrimSpace(string(text)); *s.value == "" {
			l.wrong(s.key+"_file", "%s is empty", s.file)
		}
	}
}

func unwrapPath(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// environ sets keys from VIADUC_SECTION_KEY. Unknown variables that begin like
// a section are mistakes; others are not ours.
func (l *loader) environ(environ []string) {
	keys := map[string]field{}
	sections := []string{}
	for _, f := range fieldsOf(l.cfg) {
		if f.section {
			sections = append(sections, envName(f.key)+"_")
		} else {
			keys[envName(f.key)] = f
		}
	}
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "VIADUC_") {
			continue
		}
		f, known := keys[name]
		if !known {
			if slices.ContainsFunc(sections, func(s string) bool { return strings.HasPrefix(name, s) }) {
				l.mistake(name, "", "no such setting%s", similar(name, keys))
			}
			continue
		}
		if err := setText(f.value, value); err != nil {
			l.mistake(name, f.key, "%v", err)
			continue
		}
		l.places[f.key] = name
	}
}

func envName(key string) string {
	return "VIADUC_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// similar suggests the nearest name.
func similar[V any](name string, known map[string]V) string {
	best, bestAt := "", 3
	for k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k), bestAt); d < bestAt || d == bestAt && (best == "" || k < best) {
			best, bestAt = k, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance counts the edits between two words; beyond limit it need not be exact.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
