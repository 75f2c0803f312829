// Package e2e tests the built binary from outside: servers are processes, clients
// are real Matrix clients, servers speak with each other over TLS.
//
// It has no code of its own but tests. Servers run as `viaduc testserver`, each with
// a folder and a database of its own, on loopback addresses; a world of servers has
// one certificate authority. No DNS is needed: server names carry their port.
//
//	TestEncryptedConversation   two servers, mautrix-go clients, all of what an encrypted talk is made of
//	TestAppserviceBot           an application service in a process of its own, in encrypted and plain rooms
//	TestJavaScriptConversation  the same talk with matrix-js-sdk in Node.js
//	TestKill                    the server is killed under load; nothing acknowledged is lost or doubled
//	TestKillFederation          two servers are killed in turn; in the end both have all, once
//	TestLandingPage             the page at / in a real browser
//
// Environment:
//
//	VIADUC_BIN                   the binary under test; otherwise it is built once
//	VIADUC_KILLS                 how often the kill tests kill, on each engine (5)
//	VIADUC_TEST_REQUIRE_NODE=1   no Node.js is a failure
//	VIADUC_E2E_LOGS              folder where the servers' logs and pictures are kept
//	VIADUC_LOG_LEVEL             log level of the servers (warn)
//	VIADUC_TEST_POSTGRES, VIADUC_TEST_REQUIRE_POSTGRES   as in package dbtest
//
// Deliberately absent: fakes of servers or clients. hs-start, beside this file, is
// how other suites start a server.
package e2e
