package database

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

func (db *DB) openSQLite() error {
	path := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(db.opts.URL, "sqlite:"), "file:"), "//")
	if path == "" || path == ":memory:" || strings.Contains(path, "?") {
		return fmt.Errorf("%q is not the path of a file", db.opts.URL)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if db.lock, err = lockFile(path + ".lock"); err != nil {
		return err
	}
	if err = createPrivate(path); err != nil {
		return err
	}
	readers, cache := db.opts.ReadConns, db.opts.CacheMB
	if readers <= 0 {
		readers = 4
	}
	if cache <= 0 {
		cache = 64
	}
	writer, err := sql.Open("sqlite", db.sqliteDSN(path, cache*1024, false))
	if err != nil {
		return err
	}
	db.write = newPool(db, writer, 1)
	// WAL must be on before the read-only connections come.
	c, err := db.write.get(db.closing)
	if err != nil {
		return err
	}
	db.write.put(c)
	reader, err := sql.Open("sqlite", db.sqliteDSN(path, max(cache*1024/readers, 2048), true))
	if err != nil {
		return err
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	db.read = newReads(db, reader)
	snapshots, err := sql.Open("sqlite", db.sqliteDSN(path, max(cache*1024/readers, 2048), true))
	if err != nil {
		return err
	}
	db.snap = newPool(db, snapshots, readers)
	return nil
}

func (db *DB) sqliteDSN(path string, cacheKB int, readOnly bool) string {
	q := url.Values{}
	sync := "FULL"
	if db.opts.NoSync {
		sync = "OFF"
	}
	pragmas := []string{
		"busy_timeout(10000)", "foreign_keys(0)", "temp_store(MEMORY)", "synchronous(" + sync + ")",
		"cache_size(-" + strconv.Itoa(cacheKB) + ")",
	}
	if readOnly {
		pragmas = append(pragmas, "query_only(1)")
	} else {
		pragmas = append(pragmas, "journal_mode(WAL)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)")
		q.Set("_txlock", "immediate")
	}
	q["_pragma"] = pragmas
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// createPrivate makes the file readable for its owner only; SQLite gives its companions the same mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
