// Package mail sends e-mail through one SMTP server.
//
// A message is first a row of outgoing_mails, then sent by the one replica that holds the lease "mail": what was accepted
// survives a crash. A message may come twice only if the process dies between the server's answer and the removal of the row.
// Passing failures are tried again with growing pauses for a day, refusals are given up at once.
//
// What a message says is its sender's matter; this package makes a plain and an HTML part of it. Addresses and texts never
// reach the log.
package mail
