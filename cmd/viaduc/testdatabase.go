package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// testDatabase returns the database of a data folder on a PostgreSQL server. A
// file in the folder holds its name, so that an emptied folder is a new server.
// Databases of folders that are gone are dropped.
func testDatabase(ctx context.Context, serverURL, dataDir string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", fmt.Errorf("VIADUC_DATABASE: %w", err)
	}
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return "", err
	}
	name, fresh, err := databaseName(dir)
	if err != nil {
		return "", err
	}
	db, err := sql.Open("postgres", serverURL)
	if err != nil {
		return "", err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if fresh {
		if err := createDatabase(ctx, db, name, dir); err != nil {
			return "", err
		}
		dropOrphans(ctx, db)
	}
	u.Path = "/" + name
	return u.String(), nil
}

func databaseName(dir string) (name string, fresh bool, err error) {
	file := filepath.Join(dir, "database.name")
	text, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(text)), false, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", false, err
	}
	sum := sha256.Sum256([]byte(dir + rand.Text()))
	return "viaduc_test_" + hex.EncodeToString(sum[:8]), true, nil
}

const orphanMark = "viaduc testserver "

func createDatabase(ctx context.Context, db *sql.DB, name, dir string) error {
	_, err := db.ExecContext(ctx, "CREATE DATABASE "+quoteIdent(name)+
		" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
	if err != nil {
		return fmt.Errorf("creating the test database: %w", err)
	}
	_, err = db.ExecContext(ctx, "COMMENT ON DATABASE "+quoteIdent(name)+" IS "+quoteText(orphanMark+dir))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "database.name"), []byte(name+"\n"), 0o600)
}

// dropOrphans drops a few databases whose folder is gone. It is a courtesy to
// the server: what goes wrong is left for the next time.
func dropOrphans(ctx context.Context, db *sql.DB) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rows, err := db.QueryContext(ctx, `SELECT d.datname, s.description FROM pg_database d
		JOIN pg_shdescription s ON s.objoid = d.oid AND s.classoid = 'pg_database'::regclass
		WHERE s.description LIKE $1`, orphanMark+"%")
	if err != nil {
		return
	}
	var gone []string
	for rows.Next() {
		var name, mark string
		if rows.Scan(&name, &mark) != nil {
			break
		}
		if _, err := os.Stat(strings.TrimPrefix(mark, orphanMark)); errors.Is(err, os.ErrNotExist) {
			gone = append(gone, name)
		}
	}
	rows.Close()
	for _, name := range gone[:min(len(gone), 3)] {
		_, _ = db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+quoteIdent(name)+" WITH (FORCE)")
	}
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quoteText(s string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
