// Package web is the only place that knows HTTP: routes as rows, typed
// handlers, who is asking, errors, limits, CORS, the access line, and the way
// out to other machines (outbound.go).
//
// A Route is method, path, who may ask, limit, handler and the anchor of the
// specification. Handlers are func(ctx, Requester, In) (Out, error); In is
// filled from path, query, headers and body by tags, through a plan made once
// when the route is added, where also every mistake in tags panics. Raw
// handlers get the request itself.
//
// Specification: cs#api-standards, cs#web-browser-clients, cs#rate-limiting.
//
// Invariants
//   - Errors reach people only through errors.go. What is not a RespError
//     becomes 500 M_UNKNOWN with a request ID and is logged once.
//   - Paths are matched segment by segment in their escaped form, then decoded,
//     so %2F never splits a segment. Decoded values are valid UTF-8 without NUL.
//   - Bodies are bounded, valid UTF-8, one JSON object, nested at most
//     maxDepth deep; bodies of other servers also have no key twice.
//   - Nothing in the request is logged but its method, route, status, size,
//     time, address and user or server name.
//
// Locks: limit.go has one per shard, never held while anything else happens.
//
// Deliberately absent: sessions, cookies, templates beyond the landing page,
// middleware chains. What happens to every request is in serve.go, in order.
package web
