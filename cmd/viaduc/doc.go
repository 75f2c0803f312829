// Command viaduc is the homeserver, its bridges and its tools in one binary.
//
//	viaduc serve               the homeserver
//	viaduc bridge NAME         one bridge alone, against any homeserver
//	viaduc testserver …        a homeserver for test suites: open, no limits
//	viaduc migrate             bring the database to this version and stop
//	viaduc doctor              what is wrong with this installation, and what to do
//	viaduc admin …             accounts and registration tokens of a running server
//	viaduc health              whether a running server is well (for containers)
//	viaduc print …             config, routes, metrics, spec
//	viaduc version
//
// wire.go is the only file that knows how the server is put together. The admin
// listener (admin_listener.go) belongs to this command: health, metrics,
// profiles, and the requests of `viaduc admin`, which prove themselves with a
// token in a file beside the signing key that only the server's user may read.
//
// Deliberately absent: daemonising, pid files, log files; the service manager
// does that.
package main
