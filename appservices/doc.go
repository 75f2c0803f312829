// Package appservices connects application services: bridges and bots that see the events of their namespaces and act
// as the users in them.
//
// Specification: application service API.
//
// A registration is a YAML file (registration.go). auth.go turns an as_token into a requester, masquerading included.
// outbound.go follows the stream for each service, matches events with its namespaces (interest.go) and delivers
// transactions (transaction.go) in order: one that failed is sent again, word for word with the same ID, until the service
// takes it; it is written down before it is sent (table_pending.go), so this is so after a crash too. Services in the same
// process are called through loopback.go, without a connection.
//
// To-device messages and key counts go to a service only for users that are reserved for it: the devices of others read
// theirs by themselves.
//
// Locks: interests.mu, held for memory only.
//
// Deliberately absent: any knowledge of what bridges do.
package appservices
