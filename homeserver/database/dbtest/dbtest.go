// Package dbtest gives tests real databases: a fresh one for each test, on both engines.
//
// PostgreSQL is looked for at VIADUC_TEST_POSTGRES, the URL of a server where databases may be created, or else on this
// machine. Without a server those tests are skipped, unless VIADUC_TEST_REQUIRE_POSTGRES=1 makes that a failure.
//
// Deliberately absent: fakes. A database that only looks like one hides what matters.
package dbtest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
)

// Each runs a test on SQLite and on PostgreSQL.
func Each(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, Postgres(t)) })
}

// Both runs a benchmark or test on both engines with databases whose commits wait for the disk.
func Both(tb testing.TB, run func(name string, db *database.DB)) {
	tb.Helper()
	run("SQLite", open(tb, database.Options{URL: filepath.Join(tb.TempDir(), "test.db")}))
	if server() != "" {
		run("PostgreSQL", open(tb, database.Options{URL: PostgresURL(tb)}))
	}
}

// SQLite opens a fresh SQLite database.
func SQLite(tb testing.TB) *database.DB {
	tb.Helper()
	return open(tb, SQLiteOptions(tb))
}

// Postgres opens a fresh PostgreSQL database, or skips the test.
func Postgres(tb testing.TB) *database.DB {
	tb.Helper()
	return open(tb, PostgresOptions(tb))
}

// SQLiteOptions makes a fresh SQLite file with the schema and gives what opens it, perhaps again and again.
func SQLiteOptions(tb testing.TB) database.Options {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "test.db")
	template, err := sqliteTemplate()
	if err == nil {
		err = os.WriteFile(path, template, 0o600)
	}
	if err != nil {
		tb.Fatalf("making an SQLite database: %v", err)
	}
	return database.Options{URL: path, ReadConns: 2, CacheMB: 8, NoSync: true, Strict: true}
}

// PostgresOptions makes a fresh PostgreSQL database with the schema and gives what opens it; opened twice, it is two replicas.
func PostgresOptions(tb testing.TB) database.Options {
	tb.Helper()
	return database.Options{URL: PostgresURL(tb), MaxConns: 6, NoSync: true, Strict: true}
}

func open(tb testing.TB, opts database.Options) *database.DB {
	tb.Helper()
	db, err := database.Open(context.Background(), opts)
	if err != nil {
		tb.Fatalf("opening the database: %v", err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("closing the database: %v", err)
		}
	})
	return db
}

// sqliteTemplate is the content of an empty database with the schema, made once in a process.
var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "viaduc-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	db, err := database.Open(context.Background(), database.Options{URL: path, NoSync: true})
	if err != nil {
		return nil, err
	}
	if err = db.Close(); err != nil { // the last connection empties the log into the file
		return nil, err
	}
	return os.ReadFile(path)
})

// server is the URL of the PostgreSQL server, "" if there is none.
var server = sync.OnceValue(func() string {
	tries := []string{
		"postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable&connect_timeout=2",
		"postgres://root@127.0.0.1:5432/postgres?sslmode=disable&connect_timeout=2",
	}
	if u := os.Getenv("VIADUC_TEST_POSTGRES"); u != "" {
		tries = []string{u}
	}
	for _, u := range tries {
		db, err := sql.Open("postgres", u)
		if err != nil {
			continue
		}
		err = db.Ping()
		_ = db.Close()
		if err == nil {
			return u
		}
	}
	return ""
})

// PostgresURL makes a fresh database with the schema on the PostgreSQL server; it is dropped when the test ends.
func PostgresURL(tb testing.TB) string {
	tb.Helper()
	if server() == "" {
		if os.Getenv("VIADUC_TEST_REQUIRE_POSTGRES") == "1" {
			tb.Fatal("there is no PostgreSQL server")
		}
		tb.Skip("there is no PostgreSQL server (VIADUC_TEST_POSTGRES)")
	}
	template, err := postgresTemplate()
	if err != nil {
		tb.Fatalf("making the PostgreSQL template: %v", err)
	}
	name := "viaduc_test_" + unique()
	if err = onServer(fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s`, name, template)); err != nil {
		tb.Fatalf("making a PostgreSQL database: %v", err)
	}
	tb.Cleanup(func() {
		if err := onServer(fmt.Sprintf(`DROP DATABASE IF EXISTS %s WITH (FORCE)`, name)); err != nil {
			tb.Errorf("dropping the database: %v", err)
		}
	})
	return urlOf(name)
}

// postgresTemplate makes a database with the schema that new ones are copied from. Its name says which schema it has, so
// that all test programs share it.
var postgresTemplate = sync.OnceValues(func() (string, error) {
	hash := sha256.Sum256([]byte(database.Schema()))
	name := "viaduc_template_" + hex.EncodeToString(hash[:6])
	db, err := sql.Open("postgres", server())
	if err != nil {
		return "", err
	}
	defer db.Close()
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err = conn.ExecContext(ctx, `SELECT pg_advisory_lock(814002772)`); err != nil {
		return "", err
	}
	defer func() { _, _ = conn.ExecContext(ctx, `SELECT pg_advisory_unlock(814002772)`) }()
	var ready bool
	if err = conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&ready); err != nil || ready {
		return name, err
	}
	work := "viaduc_making_" + unique()
	if _, err = conn.ExecContext(ctx, `CREATE DATABASE `+work); err != nil {
		return "", err
	}
	made, err := database.Open(ctx, database.Options{URL: urlOf(work), MaxConns: 4, NoSync: true})
	if err == nil {
		err = made.Close()
	}
	if err == nil {
		err = rename(ctx, conn, work, name)
	}
	if err != nil {
		_, _ = conn.ExecContext(ctx, `DROP DATABASE IF EXISTS `+work+` WITH (FORCE)`)
	}
	return name, err
})

// rename waits until the server has noticed that nobody uses the database any more.
func rename(ctx context.Context, conn *sql.Conn, from, to string) (err error) {
	for range 50 {
		if _, err = conn.ExecContext(ctx, `ALTER DATABASE `+from+` RENAME TO `+to); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// onServer runs a statement on the server. Copying a template fails while somebody else copies it: then it tries again.
func onServer(q string) error {
	db, err := sql.Open("postgres", server())
	if err != nil {
		return err
	}
	defer db.Close()
	for range 100 {
		if _, err = db.Exec(q); err == nil || !strings.Contains(err.Error(), "being accessed by other users") && !strings.Contains(err.Error(), "too many clients") {
			return err
		}
		time.Sleep(30 * time.Millisecond)
	}
	return err
}

func urlOf(name string) string {
	u, err := url.Parse(server())
	if err != nil {
		return ""
	}
	u.Path = "/" + name
	return u.String()
}
