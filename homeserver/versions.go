package homeserver

import (
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/event"
)

// accountDeps tells what /versions and /capabilities say.
func accountDeps(o Options) account.Deps {
	versions := map[string]string{}
	for _, v := range event.Versions() {
		versions[v] = "stable"
	}
	if o.Config.Experimental.MSC3757 {
		for _, v := range event.Unstable() {
			versions[v] = "unstable"
		}
	}
	return account.Deps{
		Remote: orNil[account.Remote](o.Remote), DefaultRoomVersion: o.Config.Rooms.DefaultVersion, RoomVersions: versions,
		SpecVersions: specVersions(), UnstableFeatures: unstableFeatures(o), Mail: o.Mail,
	}
}

// specVersions are the versions of the specification that clients may expect to find here.
func specVersions() []string {
	return []string{"r0.5.0", "r0.6.0", "r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
		"v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19"}
}

// unstableFeatures are flags that clients look for although the specification has the feature, or for want of it.
func unstableFeatures(o Options) map[string]bool {
	return map[string]bool{
		"org.matrix.label_based_filtering": true, "org.matrix.e2e_cross_signing": true, "org.matrix.msc2285.stable": true,
		"org.matrix.msc3030.stable": true, "org.matrix.msc3440.stable": true, "org.matrix.msc3771": true, "org.matrix.msc3773": true,
		"org.matrix.msc3827.stable": true, "org.matrix.msc3856.stable": true, "org.matrix.msc3916.stable": true, "org.matrix.msc3952_intentional_mentions": true,
		"org.matrix.msc3981": true, "org.matrix.msc4155": true, "org.matrix.msc4222": true, "org.matrix.msc3391": true, "org.matrix.msc3266": true,
		"uk.half-shot.msc2666.query_mutual_rooms.stable": true, "uk.tcpip.msc4133": true, "uk.tcpip.msc4133.stable": true,
		"org.matrix.simplified_msc3575": true, "org.matrix.msc3881": true,
		"org.matrix.msc3026.busy_presence": o.Config.Presence.Enabled,
	}
}
