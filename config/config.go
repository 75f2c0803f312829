package config

import "encoding/json"

// Config is everything that can be set. Every key may also be given in the
// environment, as VIADUC_ and the path of the key in capitals:
// `federation: {enabled: false}` is VIADUC_FEDERATION_ENABLED=false. Lists are
// separated by commas there. The environment wins over the file.
type Config struct {
	// The name of this server in user and room identifiers, such as
	// example.org. It can never be changed once there are users.
	ServerName string `yaml:"server_name"`
	// The address clients reach, such as https://matrix.example.org. Empty:
	// https:// and the server name.
	PublicBaseURL string `yaml:"public_base_url"`
	// The file of the Ed25519 key that signs events. Made at the first start.
	// Keep a copy of it: without it, the server name is worth nothing.
	SigningKeyFile string `yaml:"signing_key_file"`
	// Memory in MiB for caches of events, states and answers. The process needs
	// roughly twice that.
	MemoryMB int `yaml:"memory_mb"`

	// Where the server listens.
	Listen Listen `yaml:"listen"`
	// Certificate of the federation listener, and of the client listener if it
	// shall speak TLS itself. Behind a proxy that speaks TLS, leave it empty.
	TLS TLS `yaml:"tls"`
	// The database.
	Database Database `yaml:"database"`
	// Who may make an account.
	Registration Registration `yaml:"registration"`
	// Passwords of local accounts.
	Passwords Passwords `yaml:"passwords"`
	// Sessions of users.
	Sessions Sessions `yaml:"sessions"`
	// Rooms.
	Rooms Rooms `yaml:"rooms"`
	// Exchange with other servers.
	Federation Federation `yaml:"federation"`
	// Files, pictures and link previews.
	Media Media `yaml:"media"`
	// Who is online.
	Presence Presence `yaml:"presence"`
	// Notifications to phones.
	Push Push `yaml:"push"`
	// How often a user, or an address without a user, may ask. Each limit is a
	// bucket that holds `burst` requests and refills with `per_second`.
	// per_second 0 means no limit.
	Limits Limits `yaml:"limits"`
	// Bridges and bots that register as application services.
	AppServices AppServices `yaml:"appservices"`
	// Relays for calls (TURN).
	TURN TURN `yaml:"turn"`
	// Signing in through pages of this server, and through OpenID providers.
	OAuth OAuth `yaml:"oauth"`
	// The server that sends e-mail: validation of addresses, forgotten passwords, missed messages.
	Mail Mail `yaml:"mail"`
	// Messages of the operator to users, each in a room of its own.
	ServerNotices ServerNotices `yaml:"server_notices"`
	// What other programs find under /.well-known/matrix.
	WellKnown WellKnown `yaml:"well_known"`
	// The log, on standard error.
	Log Log `yaml:"log"`
	// Numbers for Prometheus, on the admin listener under /metrics.
	Metrics Metrics `yaml:"metrics"`
	// Parts of the protocol that are not in the specification yet.
	Experimental Experimental `yaml:"experimental"`

	// Set by `viaduc testserver`, never by a file.
	Test Test `yaml:"-"`
}

// Listen says where the server listens. An address is host:port.
type Listen struct {
	// Clients, plain HTTP unless tls.clients is set. Federation requests are
	// answered here too, so one proxy can serve both.
	Client string `yaml:"client"`
	// Other servers, HTTPS, usually :8448. Empty: only through the client
	// listener and a proxy.
	Federation string `yaml:"federation"`
	// Health, metrics and commands of the administrator. Never expose it.
	Admin string `yaml:"admin"`
	// Networks of proxies whose X-Forwarded-For is believed.
	TrustedProxies []Network `yaml:"trusted_proxies"`
	// Accept the access token in the address (?access_token=…), as older
	// clients send it. Deprecated by the specification.
	TokenInQuery bool `yaml:"token_in_query"`
	// Compress large answers. Usually the proxy does that.
	Gzip bool `yaml:"gzip"`
	// Largest JSON body of a client request.
	MaxBody Size `yaml:"max_body"`
	// How long requests that run at shutdown may take to end.
	ShutdownTimeout Duration `yaml:"shutdown_timeout"`
}

// TLS is the certificate. The files are read again when they change.
type TLS struct {
	// PEM file of the certificate and its chain.
	CertFile string `yaml:"cert_file"`
	// PEM file of its key.
	KeyFile string `yaml:"key_file"`
	// Also speak TLS on the client listener.
	Clients bool `yaml:"clients"`
}

// Database says where everything is kept.
type Database struct {
	// A path (SQLite, for one server process), or postgres://user@host/name
	// (PostgreSQL, for one or several).
	URL string `yaml:"url"`
	// The same, in a file of its own, because it may hold a password.
	URLFile string `yaml:"url_file"`
	// Most connections to PostgreSQL from this process.
	MaxConnections int `yaml:"max_connections"`
	// Read-only connections to SQLite. 0: twice the number of processors.
	ReadConnections int `yaml:"read_connections"`
	// Page cache of SQLite in MiB, over all connections.
	CacheMB int `yaml:"cache_mb"`
	// How many server processes share the database. More than one needs
	// PostgreSQL.
	Replicas int `yaml:"replicas"`
}

// Registration says who may make an account.
type Registration struct {
	// Allow registration through clients.
	Enabled bool `yaml:"enabled"`
	// Ask for a registration token (`viaduc admin token new`).
	RequireToken bool `yaml:"require_token"`
	// Allow guests, accounts without a password and with few rights.
	Guests bool `yaml:"guests"`
	// A secret with which tools register users, even if registration is closed
	// (POST /_synapse/admin/v1/register). Empty: not possible.
	SharedSecret string `yaml:"shared_secret"`
	// The same, in a file of its own.
	SharedSecretFile string `yaml:"shared_secret_file"`
	// Ask for an e-mail address (needs mail.host).
	RequireEmail bool `yaml:"require_email"`
	// Domains whose addresses may register. Empty: all.
	EmailDomains []string `yaml:"email_domains"`
	// Rooms every new user joins, by alias.
	AutoJoinRooms []string `yaml:"auto_join_rooms"`
}

// Passwords are hashed with Argon2id.
type Passwords struct {
	// Allow signing in with a password.
	Enabled bool `yaml:"enabled"`
	// Memory of one hash in KiB.
	Argon2MemoryKB uint32 `yaml:"argon2_memory_kb"`
	// Passes of one hash.
	Argon2Time uint32 `yaml:"argon2_time"`
	// Threads of one hash.
	Argon2Parallel uint8 `yaml:"argon2_parallel"`
	// Fewest characters of a new password.
	MinLength int `yaml:"min_length"`
	// Ask for a digit, a symbol, a small letter, a capital letter.
	RequireDigit     bool `yaml:"require_digit"`
	RequireSymbol    bool `yaml:"require_symbol"`
	RequireLowercase bool `yaml:"require_lowercase"`
	RequireUppercase bool `yaml:"require_uppercase"`
}

// Sessions of users.
type Sessions struct {
	// Lifetime of an access token of a client that can refresh it.
	AccessTokenLifetime Duration `yaml:"access_token_lifetime"`
	// Lifetime of a refresh token that is not used. 0: for ever.
	RefreshTokenLifetime Duration `yaml:"refresh_token_lifetime"`
	// Lifetime of the token of a client that cannot refresh it. 0: for ever.
	PlainTokenLifetime Duration `yaml:"plain_token_lifetime"`
	// Lifetime of a token made by POST /login/get_token, for QR codes.
	LoginTokenLifetime Duration `yaml:"login_token_lifetime"`
	// Allow POST /login/get_token.
	LoginTokens bool `yaml:"login_tokens"`
}

// Rooms holds defaults of rooms.
type Rooms struct {
	// Version of new rooms.
	DefaultVersion string `yaml:"default_version"`
	// New private rooms are encrypted if their creator says nothing: none,
	// private (private rooms and direct chats) or all.
	EncryptByDefault string `yaml:"encrypt_by_default"`
	// Who may list a room in the public directory: everyone or admins.
	Publish string `yaml:"publish"`
	// Let anyone see the public rooms without an account, and other servers.
	PublicDirectory bool `yaml:"public_directory"`
	// The user directory finds all local users, not only those who share a room.
	FindAllUsers bool `yaml:"find_all_users"`
}

// Federation is the exchange with other servers.
type Federation struct {
	// Take part in federation at all.
	Enabled bool `yaml:"enabled"`
	// Servers we speak with, * as wildcard. Empty: all.
	AllowServers []string `yaml:"allow_servers"`
	// Servers we never speak with. Wins over allow_servers.
	DenyServers []string `yaml:"deny_servers"`
	// Networks never connected to, whatever a name resolves to. The word
	// "private" stands for all private, local and reserved ones.
	DenyNetworks []Network `yaml:"deny_networks"`
	// Exceptions from deny_networks.
	AllowNetworks []Network `yaml:"allow_networks"`
	// PEM file of certificate authorities trusted for other servers, instead
	// of those of the system.
	CAFile string `yaml:"ca_file"`
	// Servers asked for the keys of others that do not answer. Empty: none.
	TrustedKeyServers []string `yaml:"trusted_key_servers"`
	// Longest time for a request to another server.
	Timeout Duration `yaml:"timeout"`
	// Longest time for joining a room through another server.
	JoinTimeout Duration `yaml:"join_timeout"`
	// Longest pause before a server that does not answer is tried again.
	MaxBackoff Duration `yaml:"max_backoff"`
	// Let other servers see profiles, and ask for theirs.
	Profiles bool `yaml:"profiles"`
	// Tell other servers the names of devices.
	DeviceNames bool `yaml:"device_names"`
	// Largest body of a request from another server.
	MaxBody Size `yaml:"max_body"`
}

// Media are files, pictures and link previews.
type Media struct {
	// Folder of the files.
	Path string `yaml:"path"`
	// Largest upload.
	MaxUpload Size `yaml:"max_upload"`
	// Largest file fetched from another server.
	MaxRemote Size `yaml:"max_remote"`
	// Delete copies of files of other servers not used for this long. 0: never.
	RemoteLifetime Duration `yaml:"remote_lifetime"`
	// Uploads of one user that are announced but not yet sent.
	MaxPendingUploads int `yaml:"max_pending_uploads"`
	// Time between announcing and sending.
	PendingLifetime Duration `yaml:"pending_lifetime"`
	// Bytes one user may keep. 0: no limit.
	UserQuota Size `yaml:"user_quota"`
	// Serve the old paths without access token for files uploaded from now on.
	AllowUnauthenticated bool `yaml:"allow_unauthenticated"`
	// Small versions of pictures.
	Thumbnails Thumbnails `yaml:"thumbnails"`
	// Previews of links. The server fetches pages that users name.
	URLPreviews URLPreviews `yaml:"url_previews"`
}

// Thumbnails are small versions of pictures.
type Thumbnails struct {
	// Largest picture in pixels (width times height) that is decoded.
	MaxPixels int `yaml:"max_pixels"`
	// Pictures decoded at the same time. 0: the number of processors.
	Workers int `yaml:"workers"`
}

// URLPreviews are previews of links.
type URLPreviews struct {
	// Offer previews.
	Enabled bool `yaml:"enabled"`
	// Networks never connected to, as in federation.
	DenyNetworks []Network `yaml:"deny_networks"`
	// Exceptions from deny_networks.
	AllowNetworks []Network `yaml:"allow_networks"`
	// Hosts never previewed, * as wildcard.
	DenyHosts []string `yaml:"deny_hosts"`
	// Largest page.
	MaxSize Size `yaml:"max_size"`
	// Longest time for a page.
	Timeout Duration `yaml:"timeout"`
}

// Presence tells who is online.
type Presence struct {
	// Tell users who is online.
	Enabled bool `yaml:"enabled"`
	// Exchange it with other servers.
	Federate bool `yaml:"federate"`
	// Away after this long without a sign of life.
	IdleAfter Duration `yaml:"idle_after"`
}

// Push are notifications to phones through push gateways.
type Push struct {
	// Send notifications.
	Enabled bool `yaml:"enabled"`
	// Networks never connected to, as in federation.
	DenyNetworks []Network `yaml:"deny_networks"`
	// Exceptions from deny_networks.
	AllowNetworks []Network `yaml:"allow_networks"`
	// Leave the text of messages out, even if a client wants it.
	EventIDOnly bool `yaml:"event_id_only"`
	// Longest time for a request to a gateway.
	Timeout Duration `yaml:"timeout"`
}

// Limits are the buckets, by the name of web.Limit.
type Limits struct {
	// Limit at all.
	Enabled bool `yaml:"enabled"`
	// Everything that has no limit of its own.
	Default Bucket `yaml:"default"`
	// Sending messages, state and redactions.
	Send Bucket `yaml:"send"`
	// Signing in, by address and by account.
	Login Bucket `yaml:"login"`
	// Making an account, by address.
	Register Bucket `yaml:"register"`
	// Making rooms.
	Create Bucket `yaml:"create"`
	// Joining and knocking.
	Join Bucket `yaml:"join"`
	// Inviting.
	Invite Bucket `yaml:"invite"`
	// Uploading files.
	Upload Bucket `yaml:"upload"`
	// Downloading files, thumbnails and previews.
	Download Bucket `yaml:"download"`
	// Searching messages, users and rooms.
	Search Bucket `yaml:"search"`
	// Uploading, asking for and claiming keys.
	Keys Bucket `yaml:"keys"`
	// Changing profiles, settings and devices.
	Settings Bucket `yaml:"settings"`
	// Receipts, typing and presence.
	Ephemeral Bucket `yaml:"ephemeral"`
	// Reporting rooms, users and messages.
	Report Bucket `yaml:"report"`
	// Requests of one other server.
	Federation Bucket `yaml:"federation"`
}

// Bucket is one limit.
type Bucket struct {
	// Requests a second in the long run. 0: no limit.
	PerSecond float64 `yaml:"per_second"`
	// Requests at once.
	Burst int `yaml:"burst"`
}

// AppServices are bridges and bots.
type AppServices struct {
	// Registration files (YAML).
	Files []string `yaml:"files"`
	// A folder: every *.yaml file in it is a registration.
	Folder string `yaml:"folder"`
	// Networks never connected to. Empty: all allowed, since the registration
	// files are written by the operator.
	DenyNetworks []Network `yaml:"deny_networks"`
	// Longest time for a transaction.
	Timeout Duration `yaml:"timeout"`
}

// OAuth is how people sign in on pages.
type OAuth struct {
	// Serve the OAuth 2.0 API, which Element X and Element prefer, with pages for signing in, for allowing clients and for one's
	// own sessions. Older clients get single sign-on through the same pages.
	Enabled bool `yaml:"enabled"`
	// OpenID providers at which people sign in, such as ProConnect or Keycloak.
	Providers []OpenIDProvider `yaml:"providers"`
	// Networks that providers may not be in. Empty: all allowed, since the operator writes their addresses.
	DenyNetworks []Network `yaml:"deny_networks"`
}

// OpenIDProvider is one of them. Its redirect address is /oauth2/callback of this server.
type OpenIDProvider struct {
	// A short name for addresses, such as proconnect.
	ID string `yaml:"id"`
	// What the button says.
	Name string `yaml:"name"`
	// A picture (mxc://) and a brand, for clients that show them.
	Icon  string `yaml:"icon"`
	Brand string `yaml:"brand"`
	// Address of the provider, as in its metadata.
	Issuer string `yaml:"issuer"`
	// What the provider gave this server.
	ClientID         string `yaml:"client_id"`
	ClientSecret     string `yaml:"client_secret"`
	ClientSecretFile string `yaml:"client_secret_file"`
	// Empty: openid, profile, email.
	Scopes []string `yaml:"scopes"`
	// Level of authentication to ask for (ProConnect: eidas1).
	ACRValues string `yaml:"acr_values"`
	// Claims to take the user name, display name and e-mail address from. Empty: preferred_username or e-mail, name, email.
	LocalpartClaim   string `yaml:"localpart_claim"`
	DisplayNameClaim string `yaml:"display_name_claim"`
	EmailClaim       string `yaml:"email_claim"`
	// Take e-mail addresses over that the provider does not call verified.
	TrustEmail bool `yaml:"trust_email"`
	// Make an account for whoever has none.
	Register bool `yaml:"register"`
	// Link an account that exists with the same user name. Only for providers that alone decide who has which name.
	LinkExisting bool `yaml:"link_existing"`
}

// Mail is how e-mail is sent.
type Mail struct {
	// Name of the SMTP server. Empty: no e-mail is sent.
	Host string `yaml:"host"`
	Port int    `yaml:"port"`
	// starttls (port 587), tls (port 465) or none (a server on this machine).
	Security string `yaml:"security"`
	Username string `yaml:"username"`
	Password string `yaml:"password"`
	// The same, in a file of its own.
	PasswordFile string `yaml:"password_file"`
	// Who it comes from.
	From     string `yaml:"from"`
	FromName string `yaml:"from_name"`
}

// TURN are relays for calls.
type TURN struct {
	// Addresses, such as turn:turn.example.org:3478?transport=udp.
	URIs []string `yaml:"uris"`
	// Secret shared with the relay, for passwords that end.
	Secret string `yaml:"secret"`
	// The same, in a file of its own.
	SecretFile string `yaml:"secret_file"`
	// Or a fixed user and password.
	Username string `yaml:"username"`
	Password string `yaml:"password"`
	// Lifetime of a password.
	Lifetime Duration `yaml:"lifetime"`
	// Give passwords to guests.
	Guests bool `yaml:"guests"`
}

// ServerNotices are messages of the operator to users. Each user has one room
// for them, made when the first is sent.
type ServerNotices struct {
	// The part before the colon of the user who sends them. It belongs to the
	// server: nobody can register it. Empty: no notices.
	Localpart string `yaml:"localpart"`
	// The name and picture (mxc://…) this user shows.
	DisplayName string `yaml:"display_name"`
	AvatarURL   string `yaml:"avatar_url"`
	// Name, topic and picture of the rooms.
	RoomName      string `yaml:"room_name"`
	RoomTopic     string `yaml:"room_topic"`
	RoomAvatarURL string `yaml:"room_avatar_url"`
}

// WellKnown is what others find under /.well-known/matrix.
type WellKnown struct {
	// Answer these paths. The name in server_name must lead here for it.
	Enabled bool `yaml:"enabled"`
	// Where other servers connect to, host:port. Empty: no delegation.
	Server string `yaml:"server"`
	// More members of /.well-known/matrix/client, as JSON or YAML, such as
	// io.element.e2ee.
	Client map[string]any `yaml:"client"`
	// The public Ed25519 key (base64 without padding) of the policy server that
	// rooms may name by the name of this server. Empty: there is none.
	PolicyServerKey string `yaml:"policy_server_key"`
	// People to ask for help.
	Support Support `yaml:"support"`
}

// Support says whom to ask.
type Support struct {
	// People with their role (m.role.admin or m.role.security).
	Contacts []Contact `yaml:"contacts"`
	// A page with help.
	Page string `yaml:"page"`
}

// Contact is a person.
type Contact struct {
	// m.role.admin or m.role.security.
	Role string `yaml:"role"`
	// Matrix ID.
	MatrixID string `yaml:"matrix_id"`
	// E-mail address.
	Email string `yaml:"email"`
}

// Log is the log.
type Log struct {
	// trace, debug, info, warn or error.
	Level string `yaml:"level"`
	// json, text for people, or auto: text on a terminal.
	Format string `yaml:"format"`
	// A line for each request.
	Requests bool `yaml:"requests"`
}

// Metrics are numbers for Prometheus.
type Metrics struct {
	// Serve them.
	Enabled bool `yaml:"enabled"`
}

// Test holds switches of `viaduc testserver`.
type Test struct {
	// Anyone registers with m.login.dummy, without a token.
	OpenRegistration bool
}

// ClientWellKnown returns the extra members of /.well-known/matrix/client.
func (w WellKnown) ClientWellKnown() (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(w.Client))
	for k, v := range w.Client {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out[k] = raw
	}
	return out, nil
}

// BaseURL returns the address clients reach, without a final slash.
func (c *Config) BaseURL() string {
	if c.PublicBaseURL != "" {
		return trimSlash(c.PublicBaseURL)
	}
	return "https://" + c.ServerName
}

func trimSlash(s string) string {
	for len(s) > 0 && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s
}
