package web

import "net/http"

// The same slices serve all requests; nobody changes them.
// spec: cs#web-browser-clients
var (
	corsOrigin  = []string{"*"}
	corsMethods = []string{"GET, POST, PUT, DELETE, OPTIONS, HEAD, PATCH"}
	corsHeaders = []string{"X-Requested-With, Content-Type, Authorization, Date, If-Match, If-None-Match"}
	corsExpose  = []string{"Retry-After, X-Request-Id, ETag"}
	corsMaxAge  = []string{"86400"}
)

// setCORS sets what every answer needs. Keys are in their canonical form.
func setCORS(h http.Header, id string) {
	h["Access-Control-Allow-Origin"] = corsOrigin
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
	h["Access-Control-Expose-Headers"] = corsExpose
	h["X-Request-Id"] = []string{id}
}

// preflight answers OPTIONS; browsers keep it for a day.
func preflight(w http.ResponseWriter) {
	w.Header()["Access-Control-Max-Age"] = corsMaxAge
	w.WriteHeader(http.StatusNoContent)
}
