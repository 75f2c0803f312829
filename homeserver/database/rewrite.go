package database

import (
	"regexp"
	"strings"
)

var (
	notInList = regexp.MustCompile(`(?i)\bNOT\s+IN\s+LIST\((\$\d+)\)`)
	inList    = regexp.MustCompile(`(?i)\bIN\s+LIST\((\$\d+)\)`)
	texts     = regexp.MustCompile(`\bTEXTS\((\$\d+)\)\s+(?:AS\s+)?(\w+)`)
	forUpdate = regexp.MustCompile(`\bFOR UPDATE(\s+SKIP\s+LOCKED)?\s*$`)
	ints      = regexp.MustCompile(`\bINTS\((\$\d+)\)\s+(?:AS\s+)?(\w+)`)
)

// rewrite turns our SQL into the engine's.
func (e engine) rewrite(q string) string {
	if strings.Contains(q, "LIST(") {
		if e == postgres {
			q = notInList.ReplaceAllString(q, `<> ALL($1)`)
			q = inList.ReplaceAllString(q, `= ANY($1)`)
		} else {
			q = notInList.ReplaceAllString(q, `NOT IN (SELECT value FROM json_each($1))`)
			q = inList.ReplaceAllString(q, `IN (SELECT value FROM json_each($1))`)
		}
	}
	if e == sqlite && strings.Contains(q, "FOR UPDATE") {
		q = forUpdate.ReplaceAllString(q, "") // the one writer has locked everything
	}
	if strings.Contains(q, "TEXTS(") {
		if e == postgres {
			q = texts.ReplaceAllString(q, `unnest($1::text[]) AS $2(value)`)
		} else {
			q = texts.ReplaceAllString(q, `json_each($1) AS $2`)
		}
	}
	if strings.Contains(q, "INTS(") {
		if e == postgres {
			q = ints.ReplaceAllString(q, `unnest($1::bigint[]) AS $2(value)`)
		} else {
			q = ints.ReplaceAllString(q, `json_each($1) AS $2`)
		}
	}
	return q
}

// writes says whether a query that returns rows also changes something.
func writes(q string) bool {
	q = strings.TrimLeft(q, " \t\r\n(")
	if len(q) < 6 {
		return false
	}
	switch strings.ToUpper(q[:6]) {
	case "INSERT", "UPDATE", "DELETE":
		return true
	case "SELECT", "VALUES":
		return false
	}
	return strings.Contains(q, "RETURNING")
}
