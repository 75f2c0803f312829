package event

import (
	"bytes"
	"math"
	"strconv"
)

// maxSafe is the greatest integer that canonical JSON allows.
const maxSafe = 1<<53 - 1

// number checks a number. A scanner that is not strict accepts any that JSON allows.
func (s *scanner) number() error {
	b, i := s.b, s.i
	negative := b[i] == '-'
	if negative {
		i++
	}
	first := i
	var n uint64
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		if i-first < 18 {
			n = n*10 + uint64(b[i]-'0')
		}
	}
	digits := i - first
	if digits == 0 || digits > 1 && b[first] == '0' {
		return errSyntax
	}
	plainInt := true
	if i < len(b) && b[i] == '.' {
		plainInt = false
		from := i + 1
		for i++; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		}
		if i == from {
			return errSyntax
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		plainInt = false
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		}
		if i == from {
			return errSyntax
		}
	}
	zero := negative && digits == 1 && b[first] == '0'
	if s.strict && (!plainInt || zero || digits > 16 || n > maxSafe) {
		return errNumber
	}
	if !plainInt || zero {
		s.canon = false
	}
	s.i = i
	return nil
}

// appendNumber writes a valid number in its canonical form: see the package comment.
func appendNumber(dst, num []byte) ([]byte, error) {
	exponent := bytes.ContainsAny(num, "eE")
	if !exponent && bytes.IndexByte(num, '.') < 0 {
		if string(num) == "-0" {
			num = num[1:]
		}
		return append(dst, num...), nil
	}
	f, err := strconv.ParseFloat(string(num), 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, errNumber
	}
	if exponent && f == math.Trunc(f) && math.Abs(f) <= maxSafe {
		return strconv.AppendInt(dst, int64(f), 10), nil
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64), nil
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if bytes.IndexByte(dst[at:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst, nil
}

// parseInt reads a canonical integer.
func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || b[0] != '-' && (b[0] < '0' || b[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}
