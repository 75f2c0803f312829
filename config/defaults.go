package config

import "time"

// Default returns the configuration of a server whose file says nothing but
// its name: closed registration, SQLite, listening on this machine only, no
// connections to private networks, limits on.
func Default() *Config {
	private := func() []Network { return []Network{mustNetwork("private")} }
	const minute, hour, day = Duration(time.Minute), Duration(time.Hour), Duration(24 * time.Hour)
	const mib = 1 << 20
	return &Config{
		ServerName:     "localhost:8448",
		SigningKeyFile: "data/signing.key",
		MemoryMB:       256,
		Listen: Listen{
			Client: "127.0.0.1:8008", Admin: "127.0.0.1:9090",
			TrustedProxies: []Network{mustNetwork("127.0.0.0/8"), mustNetwork("::1")},
			TokenInQuery:   true, MaxBody: 10 * mib, ShutdownTimeout: Duration(20 * time.Second),
		},
		Database:     Database{URL: "data/viaduc.db", MaxConnections: 20, CacheMB: 64, Replicas: 1},
		Registration: Registration{RequireToken: true},
		Passwords:    Passwords{Enabled: true, Argon2MemoryKB: 19 * 1024, Argon2Time: 2, Argon2Parallel: 1, MinLength: 8},
		Sessions: Sessions{
			AccessTokenLifetime: 15 * minute, RefreshTokenLifetime: 0,
			LoginTokenLifetime: 2 * minute,
		},
		Rooms: Rooms{DefaultVersion: "11", EncryptByDefault: "none", Publish: "everyone", PublicDirectory: true},
		Federation: Federation{
			Enabled: true, DenyNetworks: private(),
			Timeout: minute, JoinTimeout: 3 * minute, MaxBackoff: day,
			Profiles: true, MaxBody: 200 * 64 << 10,
		},
		Media: Media{
			Path: "data/media", MaxUpload: 100 * mib, MaxRemote: 100 * mib,
			MaxPendingUploads: 10, PendingLifetime: day,
			Thumbnails: Thumbnails{MaxPixels: 64 << 20},
			URLPreviews: URLPreviews{
				DenyNetworks: private(), MaxSize: 10 * mib, Timeout: Duration(20 * time.Second),
			},
		},
		Presence:    Presence{Enabled: true, Federate: true, IdleAfter: 5 * minute},
		Push:        Push{Enabled: true, DenyNetworks: private(), Timeout: Duration(20 * time.Second)},
		Limits:      defaultLimits(),
		AppServices: AppServices{Timeout: minute},
		OAuth:       OAuth{Enabled: true},
		Mail:        Mail{Port: 587, Security: "starttls", FromName: "Viaduc"},
		TURN:        TURN{Lifetime: 24 * hour},
		ServerNotices: ServerNotices{
			Localpart: "_server", DisplayName: "Server notices", RoomName: "Server notices",
		},
		WellKnown: WellKnown{Enabled: true},
		Log:       Log{Level: "info", Format: "auto", Requests: true},
		Metrics:   Metrics{Enabled: true},
		Experimental: Experimental{
			MSC4186: true, MSC4140: true, MSC4143: true, MSC3814: true,
			MSC3890: true, MSC4115Unstable: true, MSC3202: true, ReportsUnstable: true,
		},
	}
}

func defaultLimits() Limits {
	return Limits{
		Enabled:    true,
		Default:    Bucket{50, 200},
		Send:       Bucket{5, 50},
		Login:      Bucket{0.2, 10},
		Register:   Bucket{0.1, 5},
		Create:     Bucket{0.5, 10},
		Join:       Bucket{0.5, 20},
		Invite:     Bucket{0.5, 30},
		Upload:     Bucket{2, 30},
		Download:   Bucket{20, 300},
		Search:     Bucket{1, 20},
		Keys:       Bucket{10, 100},
		Settings:   Bucket{5, 100},
		Ephemeral:  Bucket{10, 100},
		Report:     Bucket{0.1, 10},
		Federation: Bucket{50, 500},
	}
}

func mustNetwork(s string) Network {
	n, err := ParseNetwork(s)
	if err != nil {
		panic(err)
	}
	return n
}
