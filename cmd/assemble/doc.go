// Package assemble puts a server together: it is the only package that knows all others, and the only long list of
// constructor calls.
//
// The order has no circle: keys and configuration make the federation client; the homeserver's slices take it as their
// plug to other servers; federation and appservices take the finished slices.
package assemble
