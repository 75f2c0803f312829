package homeserver

import (
	"slices"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/admin"
	"github.com/viaduc/viaduc/homeserver/calls"
	"github.com/viaduc/viaduc/homeserver/clientsync"
	"github.com/viaduc/viaduc/homeserver/directory"
	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/oauth"
	"github.com/viaduc/viaduc/homeserver/push"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/timeline"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Routes is the whole client-server API: method, path, who, limit, handler, anchor in the specification, and the
// largest body (0: the default, -1: the handler bounds it).
func (h *Homeserver) Routes() []web.Route {
	return slices.Concat(
		accountRoutes(h.Accounts), oauthRoutes(h.OAuth), roomRoutes(h.Rooms), timelineRoutes(h.Timelines), syncRoutes(h.Syncs), keyRoutes(h.Keys),
		ephemeralRoutes(h.Ephemeral), pushRoutes(h.Push), mediaRoutes(h.Media), directoryRoutes(h.Directory),
		callRoutes(h.Calls), adminRoutes(h.Admin), operatorRoutes(h.Admin),
	)
}

// oauthRoutes: signing in on pages, OAuth 2.0 and single sign-on.
func oauthRoutes(o *oauth.OAuth) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/v1/auth_metadata", web.None, web.LimitDefault, web.JSON(o.GetMetadata), "cs#get_matrixclientv1auth_metadata"),
		web.Row("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata", web.None, web.LimitDefault, web.JSON(o.GetMetadata), "msc#2965"),
		web.Row("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", web.None, web.LimitDefault, web.JSON(o.GetIssuer), "msc#2965"),
		web.Row("GET", "/.well-known/openid-configuration", web.None, web.LimitDefault, web.JSON(o.GetMetadata), "msc#2965"),
		web.Row("GET", "/_matrix/client/v3/login/sso/redirect", web.None, web.LimitLogin, web.Raw(o.GetSSO), "cs#get_matrixclientv3loginssoredirect"),
		web.Row("GET", "/_matrix/client/v3/login/sso/redirect/{idpId}", web.None, web.LimitLogin, web.Raw(o.GetSSO), "cs#get_matrixclientv3loginssoredirectidpid"),
		web.Row("GET", "/_matrix/client/v3/auth/m.login.sso/fallback/web", web.None, web.LimitLogin, web.Raw(o.GetStagePage), "cs#fallback"),
		web.Row("GET", "/oauth2/authorize", web.None, web.LimitLogin, web.Raw(o.GetAuthorize), "cs#oauth-20-api"),
		web.Row("POST", "/oauth2/token", web.None, web.LimitDefault, web.Raw(o.Endpoint(o.PostToken)), "cs#oauth-20-api"),
		web.Row("POST", "/oauth2/revoke", web.None, web.LimitDefault, web.Raw(o.Endpoint(o.PostRevoke)), "cs#token-revocation"),
		web.Row("POST", "/oauth2/registration", web.None, web.LimitRegister, web.Raw(o.Endpoint(o.PostRegistration)), "cs#dynamic-client-registration-flow"),
		web.Row("POST", "/oauth2/device", web.None, web.LimitLogin, web.Raw(o.Endpoint(o.PostDevice)), "cs#oauth-20-api"),
		web.Row("GET", "/oauth2/link", web.None, web.LimitLogin, web.Raw(o.GetLink), "cs#oauth-20-api"),
		web.Row("GET", "/oauth2/continue", web.None, web.LimitDefault, web.Raw(o.GetContinue), "cs#oauth-20-api"),
		web.Row("POST", "/oauth2/signin", web.None, web.LimitLogin, web.Raw(o.PostSignIn), "cs#oauth-20-api"),
		web.Row("POST", "/oauth2/create", web.None, web.LimitRegister, web.Raw(o.PostCreate), "cs#oauth-20-api"),
		web.Row("POST", "/oauth2/decide", web.None, web.LimitDefault, web.Raw(o.PostDecide), "cs#oauth-20-api"),
		web.Row("POST", "/oauth2/upstream", web.None, web.LimitLogin, web.Raw(o.PostUpstream), "cs#oauth-20-api"),
		web.Row("GET", "/oauth2/callback", web.None, web.LimitLogin, web.Raw(o.GetCallback), "cs#oauth-20-api"),
		web.Row("GET", "/account/", web.None, web.LimitDefault, web.Raw(o.GetAccount), "cs#oauth-20-account-management"),
		web.Row("POST", "/account/end", web.None, web.LimitSettings, web.Raw(o.PostEnd()), "cs#oauth-20-account-management"),
		web.Row("POST", "/account/reset", web.None, web.LimitSettings, web.Raw(o.PostReset()), "cs#oauth-20-account-management"),
		web.Row("POST", "/account/signout", web.None, web.LimitSettings, web.Raw(o.PostSignOut()), "cs#oauth-20-account-management"),
	}
}

// accountRoutes: accounts, sessions, devices, profiles, account data.
func accountRoutes(a *account.Accounts) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/versions", web.Optional, web.NoLimit, web.JSON(a.GetVersions), "cs#get_matrixclientversions"),
		web.Row("POST", "/_matrix/client/v3/register", web.Optional, web.LimitRegister, web.JSON(a.PostRegister), "cs#post_matrixclientv3register"),
		web.Row("GET", "/_matrix/client/v3/register/available", web.None, web.LimitDefault, web.JSON(a.GetRegisterAvailable), "cs#get_matrixclientv3registeravailable"),
		web.Row("GET", "/_matrix/client/v1/register/m.login.registration_token/validity", web.None, web.LimitRegister, web.JSON(a.GetRegistrationTokenValidity), "cs#get_matrixclientv1registermloginregistration_tokenvalidity"),
		web.Row("POST", "/_matrix/client/v3/register/email/requestToken", web.None, web.LimitRegister, web.JSON(a.PostRegisterEmail), "cs#post_matrixclientv3registeremailrequesttoken"),
		web.Row("POST", "/_matrix/client/v3/register/msisdn/requestToken", web.None, web.LimitRegister, web.JSON(a.PostMSISDN), "cs#post_matrixclientv3registermsisdnrequesttoken"),
		web.Row("GET", "/_synapse/admin/v1/register", web.None, web.LimitRegister, web.JSON(a.GetSharedSecretNonce), "synapse#register-api"),
		web.Row("POST", "/_synapse/admin/v1/register", web.None, web.NoLimit, web.JSON(a.PostSharedSecretRegister), "synapse#register-api"),
		web.Row("GET", "/_matrix/client/v3/password_policy", web.None, web.LimitDefault, web.JSON(a.GetPasswordPolicy), "msc#2000"),
		web.Row("GET", "/_matrix/client/v3/login", web.None, web.LimitDefault, web.JSON(a.GetLogin), "cs#get_matrixclientv3login"),
		web.Row("POST", "/_matrix/client/v3/login", web.Optional, web.LimitLogin, web.JSON(a.PostLogin), "cs#post_matrixclientv3login"),
		web.Row("POST", "/_matrix/client/v1/login/get_token", web.User, web.LimitLogin, web.JSON(a.PostLoginGetToken), "cs#post_matrixclientv1loginget_token"),
		web.Row("POST", "/_matrix/client/v3/refresh", web.None, web.LimitDefault, web.JSON(a.PostRefresh), "cs#post_matrixclientv3refresh"),
		web.Row("POST", "/_matrix/client/v3/logout", web.UserOrGuest, web.NoLimit, web.JSON(a.PostLogout), "cs#post_matrixclientv3logout"),
		web.Row("POST", "/_matrix/client/v3/logout/all", web.UserOrGuest, web.NoLimit, web.JSON(a.PostLogoutAll), "cs#post_matrixclientv3logoutall"),
		web.Row("GET", "/_matrix/client/v3/account/whoami", web.UserOrGuest, web.LimitDefault, web.JSON(a.GetWhoami), "cs#get_matrixclientv3accountwhoami"),
		web.Row("GET", "/_matrix/client/v3/auth/{authType}/fallback/web", web.None, web.LimitLogin, web.Raw(a.GetFallback), "cs#fallback"),
		web.Row("POST", "/_matrix/client/v3/auth/{authType}/fallback/web", web.None, web.LimitLogin, web.Raw(a.PostFallback), "cs#fallback"),
		web.Row("POST", "/_matrix/client/v3/account/password", web.Optional, web.LimitLogin, web.JSON(a.PostPassword), "cs#post_matrixclientv3accountpassword"),
		web.Row("POST", "/_matrix/client/v3/account/password/email/requestToken", web.None, web.LimitRegister, web.JSON(a.PostPasswordEmail), "cs#post_matrixclientv3accountpasswordemailrequesttoken"),
		web.Row("POST", "/_matrix/client/v3/account/password/msisdn/requestToken", web.None, web.LimitRegister, web.JSON(a.PostMSISDN), "cs#post_matrixclientv3accountpasswordmsisdnrequesttoken"),
		web.Row("POST", "/_matrix/client/v3/account/deactivate", web.Optional, web.LimitLogin, web.JSON(a.PostDeactivate), "cs#post_matrixclientv3accountdeactivate"),
		web.Row("GET", "/_matrix/client/v3/account/3pid", web.User, web.NoLimit, web.JSON(a.GetThreepids), "cs#get_matrixclientv3account3pid"),
		web.Row("POST", "/_matrix/client/v3/account/3pid", web.User, web.LimitSettings, web.JSON(a.PostThreepidAdd), "cs#post_matrixclientv3account3pid"),
		web.Row("POST", "/_matrix/client/v3/account/3pid/add", web.User, web.LimitSettings, web.JSON(a.PostThreepidAdd), "cs#post_matrixclientv3account3pidadd"),
		web.Row("POST", "/_matrix/client/v3/account/3pid/bind", web.User, web.LimitSettings, web.JSON(a.PostThreepidBind), "cs#post_matrixclientv3account3pidbind"),
		web.Row("POST", "/_matrix/client/v3/account/3pid/delete", web.User, web.LimitSettings, web.JSON(a.PostThreepidDelete), "cs#post_matrixclientv3account3piddelete"),
		web.Row("POST", "/_matrix/client/v3/account/3pid/unbind", web.User, web.LimitSettings, web.JSON(a.PostThreepidUnbind), "cs#post_matrixclientv3account3pidunbind"),
		web.Row("POST", "/_matrix/client/v3/account/3pid/email/requestToken", web.None, web.LimitRegister, web.JSON(a.PostThreepidEmail), "cs#post_matrixclientv3account3pidemailrequesttoken"),
		web.Row("POST", "/_matrix/client/v3/account/3pid/msisdn/requestToken", web.None, web.LimitRegister, web.JSON(a.PostThreepidMSISDN), "cs#post_matrixclientv3account3pidmsisdnrequesttoken"),
		web.Row("GET", "/account/email", web.None, web.LimitDefault, web.Raw(a.GetEmailPage), "cs#post_matrixclientv3account3pidemailrequesttoken"),
		web.Row("POST", "/account/email", web.None, web.LimitLogin, web.Raw(a.PostEmailPage), "cs#post_matrixclientv3account3pidemailrequesttoken"),
		web.Row("GET", "/_matrix/client/v3/capabilities", web.UserOrGuest, web.LimitDefault, web.JSON(a.GetCapabilities), "cs#get_matrixclientv3capabilities"),
		web.Row("GET", "/_matrix/client/v3/devices", web.UserOrGuest, web.NoLimit, web.JSON(a.GetDevices), "cs#get_matrixclientv3devices"),
		web.Row("GET", "/_matrix/client/v3/devices/{deviceId}", web.UserOrGuest, web.NoLimit, web.JSON(a.GetDeviceInfo), "cs#get_matrixclientv3devicesdeviceid"),
		web.Row("PUT", "/_matrix/client/v3/devices/{deviceId}", web.UserOrGuest, web.LimitSettings, web.JSON(a.PutDeviceInfo), "cs#put_matrixclientv3devicesdeviceid"),
		web.Row("DELETE", "/_matrix/client/v3/devices/{deviceId}", web.User, web.LimitSettings, web.JSON(a.DeleteDeviceInfo), "cs#delete_matrixclientv3devicesdeviceid"),
		web.Row("POST", "/_matrix/client/v3/delete_devices", web.User, web.LimitSettings, web.JSON(a.PostDeleteDevices), "cs#post_matrixclientv3delete_devices"),
		web.Row("GET", "/_matrix/client/v3/profile/{userId}", web.None, web.LimitDefault, web.JSON(a.GetProfile), "cs#get_matrixclientv3profileuserid"),
		web.Row("GET", "/_matrix/client/v3/profile/{userId}/{keyName}", web.None, web.LimitDefault, web.JSON(a.GetProfileField), "cs#get_matrixclientv3profileuseridkeyname"),
		web.Row("PUT", "/_matrix/client/v3/profile/{userId}/{keyName}", web.UserOrGuest, web.LimitSettings, web.JSON(a.PutProfileField), "cs#put_matrixclientv3profileuseridkeyname"),
		web.Row("DELETE", "/_matrix/client/v3/profile/{userId}/{keyName}", web.User, web.LimitSettings, web.JSON(a.DeleteProfileField), "cs#delete_matrixclientv3profileuseridkeyname"),
		web.Row("GET", "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}", web.None, web.LimitDefault, web.JSON(a.GetProfile), "msc#4133"),
		web.Row("GET", "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}", web.None, web.LimitDefault, web.JSON(a.GetProfileField), "msc#4133"),
		web.Row("PUT", "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}", web.UserOrGuest, web.LimitSettings, web.JSON(a.PutProfileField), "msc#4133"),
		web.Row("DELETE", "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}", web.User, web.LimitSettings, web.JSON(a.DeleteProfileField), "msc#4133"),
		web.Row("GET", "/_matrix/client/v3/user/{userId}/account_data/{type}", web.UserOrGuest, web.NoLimit, web.JSON(a.GetAccountData), "cs#get_matrixclientv3useruseridaccount_datatype"),
		web.Row("PUT", "/_matrix/client/v3/user/{userId}/account_data/{type}", web.UserOrGuest, web.LimitSettings, web.JSON(a.PutAccountData), "cs#put_matrixclientv3useruseridaccount_datatype"),
		web.Row("DELETE", "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}/account_data/{type}", web.UserOrGuest, web.LimitSettings, web.JSON(a.DeleteGlobalAccountData), "msc#3391"),
		web.Row("GET", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", web.UserOrGuest, web.NoLimit, web.JSON(a.GetRoomAccountData), "cs#get_matrixclientv3useruseridroomsroomidaccount_datatype"),
		web.Row("PUT", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", web.UserOrGuest, web.LimitSettings, web.JSON(a.PutRoomAccountData), "cs#put_matrixclientv3useruseridroomsroomidaccount_datatype"),
		web.Row("DELETE", "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}/rooms/{roomId}/account_data/{type}", web.UserOrGuest, web.LimitSettings, web.JSON(a.DeleteRoomAccountData), "msc#3391"),
		web.Row("GET", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags", web.UserOrGuest, web.NoLimit, web.JSON(a.GetTags), "cs#get_matrixclientv3useruseridroomsroomidtags"),
		web.Row("PUT", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", web.UserOrGuest, web.LimitSettings, web.JSON(a.PutTag), "cs#put_matrixclientv3useruseridroomsroomidtagstag"),
		web.Row("DELETE", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", web.UserOrGuest, web.LimitSettings, web.JSON(a.DeleteTag), "cs#delete_matrixclientv3useruseridroomsroomidtagstag"),
		web.Row("POST", "/_matrix/client/v3/user/{userId}/filter", web.UserOrGuest, web.LimitDefault, web.JSON(a.PostFilter), "cs#post_matrixclientv3useruseridfilter"),
		web.Row("GET", "/_matrix/client/v3/user/{userId}/filter/{filterId}", web.UserOrGuest, web.NoLimit, web.JSON(a.GetFilter), "cs#get_matrixclientv3useruseridfilterfilterid"),
		web.Row("POST", "/_matrix/client/v3/user/{userId}/openid/request_token", web.UserOrGuest, web.LimitDefault, web.JSON(a.PostOpenIDToken), "cs#post_matrixclientv3useruseridopenidrequest_token"),
	}
}

// roomRoutes: creating rooms, memberships, sending.
func roomRoutes(r *room.Rooms) []web.Route {
	return []web.Route{
		web.Row("POST", "/_matrix/client/v3/createRoom", web.User, web.LimitCreate, web.JSON(r.PostCreateRoom), "cs#post_matrixclientv3createroom"),
		web.Row("POST", "/_matrix/client/v3/join/{roomIdOrAlias}", web.UserOrGuest, web.LimitJoin, web.JSON(r.PostJoin), "cs#post_matrixclientv3joinroomidoralias"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/join", web.UserOrGuest, web.LimitJoin, web.JSON(r.PostRoomJoin), "cs#post_matrixclientv3roomsroomidjoin"),
		web.Row("POST", "/_matrix/client/v3/knock/{roomIdOrAlias}", web.User, web.LimitJoin, web.JSON(r.PostKnock), "cs#post_matrixclientv3knockroomidoralias"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/leave", web.UserOrGuest, web.LimitDefault, web.JSON(r.PostLeave), "cs#post_matrixclientv3roomsroomidleave"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/forget", web.UserOrGuest, web.LimitDefault, web.JSON(r.PostForget), "cs#post_matrixclientv3roomsroomidforget"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/invite", web.User, web.LimitInvite, web.JSON(r.PostInvite), "cs#post_matrixclientv3roomsroomidinvite"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/kick", web.User, web.LimitDefault, web.JSON(r.PostKick), "cs#post_matrixclientv3roomsroomidkick"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/ban", web.User, web.LimitDefault, web.JSON(r.PostBan), "cs#post_matrixclientv3roomsroomidban"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/unban", web.User, web.LimitDefault, web.JSON(r.PostUnban), "cs#post_matrixclientv3roomsroomidunban"),
		web.Row("GET", "/_matrix/client/v3/joined_rooms", web.UserOrGuest, web.NoLimit, web.JSON(r.GetJoinedRooms), "cs#get_matrixclientv3joined_rooms"),
		web.Row("PUT", "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}", web.UserOrGuest, web.LimitSend, web.JSON(r.PutEvent), "cs#put_matrixclientv3roomsroomidsendeventtypetxnid"),
		web.Row("PUT", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", web.UserOrGuest, web.LimitSend, web.JSON(r.PutState), "cs#put_matrixclientv3roomsroomidstateeventtypestatekey"),
		web.Row("PUT", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}", web.UserOrGuest, web.LimitSend, web.JSON(r.PutStateWithoutKey), "cs#put_matrixclientv3roomsroomidstateeventtypestatekey"),
		web.Row("PUT", "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}", web.UserOrGuest, web.LimitSend, web.JSON(r.PutRedact), "cs#put_matrixclientv3roomsroomidredacteventidtxnid"),
		web.Row("GET", "/_matrix/client/v3/directory/room/{roomAlias}", web.None, web.LimitDefault, web.JSON(r.GetAlias), "cs#get_matrixclientv3directoryroomroomalias"),
		web.Row("PUT", "/_matrix/client/v3/directory/room/{roomAlias}", web.User, web.LimitDefault, web.JSON(r.PutAlias), "cs#put_matrixclientv3directoryroomroomalias"),
		web.Row("DELETE", "/_matrix/client/v3/directory/room/{roomAlias}", web.User, web.LimitDefault, web.JSON(r.DeleteRoomAlias), "cs#delete_matrixclientv3directoryroomroomalias"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/aliases", web.User, web.LimitDefault, web.JSON(r.GetAliases), "cs#get_matrixclientv3roomsroomidaliases"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/upgrade", web.User, web.LimitCreate, web.JSON(r.PostUpgrade), "cs#post_matrixclientv3roomsroomidupgrade"),
	}
}

// timelineRoutes: reading rooms.
func timelineRoutes(t *timeline.Timelines) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/messages", web.UserOrGuest, web.NoLimit, web.JSON(t.GetMessages), "cs#get_matrixclientv3roomsroomidmessages"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/context/{eventId}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetContext), "cs#get_matrixclientv3roomsroomidcontexteventid"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/event/{eventId}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetEvent), "cs#get_matrixclientv3roomsroomideventeventid"),
		web.Row("GET", "/_matrix/client/v3/events/{eventId}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetAnyEvent), "cs#get_matrixclientv3eventseventid"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/state", web.UserOrGuest, web.NoLimit, web.JSON(t.GetState), "cs#get_matrixclientv3roomsroomidstate"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetStateEventEmptyKey), "cs#get_matrixclientv3roomsroomidstateeventtypestatekey"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetStateEvent), "cs#get_matrixclientv3roomsroomidstateeventtypestatekey"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/members", web.UserOrGuest, web.NoLimit, web.JSON(t.GetMembers), "cs#get_matrixclientv3roomsroomidmembers"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/joined_members", web.UserOrGuest, web.NoLimit, web.JSON(t.GetJoinedMembers), "cs#get_matrixclientv3roomsroomidjoined_members"),
		web.Row("GET", "/_matrix/client/v3/rooms/{roomId}/initialSync", web.UserOrGuest, web.NoLimit, web.JSON(t.GetInitialSync), "cs#get_matrixclientv3roomsroomidinitialsync"),
		web.Row("GET", "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetRelations), "cs#get_matrixclientv1roomsroomidrelationseventid"),
		web.Row("GET", "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetRelationsOfType), "cs#get_matrixclientv1roomsroomidrelationseventidreltype"),
		web.Row("GET", "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}", web.UserOrGuest, web.NoLimit, web.JSON(t.GetRelationsOfEventType), "cs#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype"),
		web.Row("GET", "/_matrix/client/v1/rooms/{roomId}/threads", web.UserOrGuest, web.NoLimit, web.JSON(t.GetThreads), "cs#get_matrixclientv1roomsroomidthreads"),
		web.Row("GET", "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event", web.UserOrGuest, web.NoLimit, web.JSON(t.GetTimestampToEvent), "cs#get_matrixclientv1roomsroomidtimestamp_to_event"),
		web.Row("POST", "/_matrix/client/v3/search", web.User, web.NoLimit, web.JSON(t.PostSearch), "cs#post_matrixclientv3search"),
	}
}

// syncRoutes: what is new.
func syncRoutes(s *clientsync.Syncs) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/v3/sync", web.UserOrGuest, web.NoLimit, web.JSON(s.GetSync), "cs#get_matrixclientv3sync"),
		web.Row("GET", "/_matrix/client/v3/initialSync", web.UserOrGuest, web.LimitSearch, web.JSON(s.GetInitialSync), "cs#get_matrixclientv3initialsync"),
		web.Row("GET", "/_matrix/client/v3/events", web.UserOrGuest, web.NoLimit, web.JSON(s.GetEvents), "cs#get_matrixclientv3events"),
		web.Row("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", web.User, web.NoLimit, web.JSON(s.PostSlidingSync), "msc: 4186"),
	}
}

// keyRoutes: end-to-end encryption.
func keyRoutes(k *e2ee.Keys) []web.Route {
	return []web.Route{
		web.Row("POST", "/_matrix/client/v3/keys/upload", web.UserOrGuest, web.LimitKeys, web.JSON(k.PostUpload), "cs#post_matrixclientv3keysupload"),
		web.Row("POST", "/_matrix/client/v3/keys/query", web.UserOrGuest, web.LimitKeys, web.JSON(k.PostQuery), "cs#post_matrixclientv3keysquery"),
		web.Row("POST", "/_matrix/client/v3/keys/claim", web.UserOrGuest, web.LimitKeys, web.JSON(k.PostClaim), "cs#post_matrixclientv3keysclaim"),
		web.Row("GET", "/_matrix/client/v3/keys/changes", web.UserOrGuest, web.LimitKeys, web.JSON(k.GetChanges), "cs#get_matrixclientv3keyschanges"),
		web.Row("POST", "/_matrix/client/v3/keys/device_signing/upload", web.User, web.LimitKeys, web.JSON(k.PostSigning), "cs#post_matrixclientv3keysdevice_signingupload"),
		web.Row("POST", "/_matrix/client/unstable/keys/device_signing/upload", web.User, web.LimitKeys, web.JSON(k.PostSigning), "cs#post_matrixclientv3keysdevice_signingupload"),
		web.Row("POST", "/_matrix/client/v3/keys/signatures/upload", web.User, web.LimitKeys, web.JSON(k.PostSignatures), "cs#post_matrixclientv3keyssignaturesupload"),
		web.Row("POST", "/_matrix/client/unstable/keys/signatures/upload", web.User, web.LimitKeys, web.JSON(k.PostSignatures), "cs#post_matrixclientv3keyssignaturesupload"),
		web.Row("PUT", "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}", web.UserOrGuest, web.LimitKeys, web.JSON(k.PutSendToDevice), "cs#put_matrixclientv3sendtodeviceeventtypetxnid"),
		web.Row("POST", "/_matrix/client/v3/room_keys/version", web.User, web.LimitSettings, web.JSON(k.PostBackup), "cs#post_matrixclientv3room_keysversion"),
		web.Row("GET", "/_matrix/client/v3/room_keys/version", web.User, web.LimitKeys, web.JSON(k.GetCurrentBackup), "cs#get_matrixclientv3room_keysversion"),
		web.Row("GET", "/_matrix/client/v3/room_keys/version/{version}", web.User, web.LimitKeys, web.JSON(k.GetBackupVersion), "cs#get_matrixclientv3room_keysversionversion"),
		web.Row("PUT", "/_matrix/client/v3/room_keys/version/{version}", web.User, web.LimitSettings, web.JSON(k.PutBackup), "cs#put_matrixclientv3room_keysversionversion"),
		web.Row("DELETE", "/_matrix/client/v3/room_keys/version/{version}", web.User, web.LimitSettings, web.JSON(k.DeleteBackupVersion), "cs#delete_matrixclientv3room_keysversionversion"),
		web.Row("PUT", "/_matrix/client/v3/room_keys/keys", web.User, web.LimitKeys, web.JSON(k.PutBackupAll), "cs#put_matrixclientv3room_keyskeys"),
		web.Row("GET", "/_matrix/client/v3/room_keys/keys", web.User, web.LimitKeys, web.JSON(k.GetBackupAll), "cs#get_matrixclientv3room_keyskeys"),
		web.Row("DELETE", "/_matrix/client/v3/room_keys/keys", web.User, web.LimitKeys, web.JSON(k.DeleteBackupAll), "cs#delete_matrixclientv3room_keyskeys"),
		web.Row("PUT", "/_matrix/client/v3/room_keys/keys/{roomId}", web.User, web.LimitKeys, web.JSON(k.PutBackupRoom), "cs#put_matrixclientv3room_keyskeysroomid"),
		web.Row("GET", "/_matrix/client/v3/room_keys/keys/{roomId}", web.User, web.LimitKeys, web.JSON(k.GetBackupRoom), "cs#get_matrixclientv3room_keyskeysroomid"),
		web.Row("DELETE", "/_matrix/client/v3/room_keys/keys/{roomId}", web.User, web.LimitKeys, web.JSON(k.DeleteBackupRoom), "cs#delete_matrixclientv3room_keyskeysroomid"),
		web.Row("PUT", "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", web.User, web.LimitKeys, web.JSON(k.PutBackupSession), "cs#put_matrixclientv3room_keyskeysroomidsessionid"),
		web.Row("GET", "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", web.User, web.LimitKeys, web.JSON(k.GetBackupSession), "cs#get_matrixclientv3room_keyskeysroomidsessionid"),
		web.Row("DELETE", "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", web.User, web.LimitKeys, web.JSON(k.DeleteBackupSession), "cs#delete_matrixclientv3room_keyskeysroomidsessionid"),
		web.Row("PUT", "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", web.User, web.LimitSettings, web.JSON(k.PutDehydratedDevice), "msc: 3814"),
		web.Row("GET", "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", web.User, web.LimitKeys, web.JSON(k.GetDehydratedDevice), "msc: 3814"),
		web.Row("DELETE", "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", web.User, web.LimitSettings, web.JSON(k.DeleteDehydratedDevice), "msc: 3814"),
		web.Row("POST", "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events", web.User, web.LimitKeys, web.JSON(k.PostDehydratedEvents), "msc: 3814"),
	}
}

// ephemeralRoutes: typing, receipts, presence.
func ephemeralRoutes(e *ephemeral.Ephemeral) []web.Route {
	return []web.Route{
		web.Row("PUT", "/_matrix/client/v3/rooms/{roomId}/typing/{userId}", web.UserOrGuest, web.LimitEphemeral, web.JSON(e.PutTyping), "cs#put_matrixclientv3roomsroomidtypinguserid"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}", web.UserOrGuest, web.LimitEphemeral, web.JSON(e.PostReceipt), "cs#post_matrixclientv3roomsroomidreceiptreceipttypeeventid"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/read_markers", web.UserOrGuest, web.LimitEphemeral, web.JSON(e.PostReadMarkers), "cs#post_matrixclientv3roomsroomidread_markers"),
		web.Row("GET", "/_matrix/client/v3/presence/{userId}/status", web.UserOrGuest, web.NoLimit, web.JSON(e.GetPresenceStatus), "cs#get_matrixclientv3presenceuseridstatus"),
		web.Row("PUT", "/_matrix/client/v3/presence/{userId}/status", web.UserOrGuest, web.LimitEphemeral, web.JSON(e.PutPresenceStatus), "cs#put_matrixclientv3presenceuseridstatus"),
	}
}

// pushRoutes: rules, unread counts, pushers.
func pushRoutes(p *push.Push) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/v3/pushrules/", web.User, web.LimitDefault, web.JSON(p.GetRules), "cs#get_matrixclientv3pushrules"),
		web.Row("GET", "/_matrix/client/v3/pushrules/global/", web.User, web.LimitDefault, web.JSON(p.GetGlobalRules), "cs#get_matrixclientv3pushrulesglobal"),
		web.Row("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", web.User, web.LimitDefault, web.JSON(p.GetRule), "cs#get_matrixclientv3pushrulesglobalkindruleid"),
		web.Row("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", web.User, web.LimitSettings, web.JSON(p.PutRule), "cs#put_matrixclientv3pushrulesglobalkindruleid"),
		web.Row("DELETE", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", web.User, web.LimitSettings, web.JSON(p.DeleteOwnRule), "cs#delete_matrixclientv3pushrulesglobalkindruleid"),
		web.Row("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", web.User, web.LimitDefault, web.JSON(p.GetRuleEnabled), "cs#get_matrixclientv3pushrulesglobalkindruleidenabled"),
		web.Row("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", web.User, web.LimitSettings, web.JSON(p.PutRuleEnabled), "cs#put_matrixclientv3pushrulesglobalkindruleidenabled"),
		web.Row("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", web.User, web.LimitDefault, web.JSON(p.GetRuleActions), "cs#get_matrixclientv3pushrulesglobalkindruleidactions"),
		web.Row("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", web.User, web.LimitSettings, web.JSON(p.PutRuleActions), "cs#put_matrixclientv3pushrulesglobalkindruleidactions"),
		web.Row("GET", "/_matrix/client/v3/pushers", web.User, web.LimitDefault, web.JSON(p.GetPushers), "cs#get_matrixclientv3pushers"),
		web.Row("POST", "/_matrix/client/v3/pushers/set", web.User, web.LimitSettings, web.JSON(p.PostPusher), "cs#post_matrixclientv3pushersset"),
		web.Row("GET", "/_matrix/client/v3/notifications", web.User, web.LimitDefault, web.JSON(p.GetNotifications), "cs#get_matrixclientv3notifications"),
	}
}

// mediaRoutes: the content repository.
func mediaRoutes(m *media.Media) []web.Route {
	return []web.Route{
		web.Row("POST", "/_matrix/media/v3/upload", web.User, web.LimitUpload, web.Raw(m.PostUpload), "cs#post_matrixmediav3upload").WithBody(-1),
		web.Row("PUT", "/_matrix/media/v3/upload/{serverName}/{mediaId}", web.User, web.LimitUpload, web.Raw(m.PutUpload), "cs#put_matrixmediav3uploadservernamemediaid").WithBody(-1),
		web.Row("POST", "/_matrix/media/v1/create", web.User, web.LimitUpload, web.JSON(m.PostCreate), "cs#post_matrixmediav1create"),
		web.Row("GET", "/_matrix/client/v1/media/config", web.UserOrGuest, web.LimitDefault, web.JSON(m.GetConfig), "cs#get_matrixclientv1mediaconfig"),
		web.Row("GET", "/_matrix/media/v3/config", web.UserOrGuest, web.LimitDefault, web.JSON(m.GetConfig), "cs#get_matrixmediav3config"),
		web.Row("GET", "/_matrix/client/v1/media/download/{serverName}/{mediaId}", web.UserOrGuest, web.LimitDownload, web.Raw(m.GetDownload), "cs#get_matrixclientv1mediadownloadservernamemediaid"),
		web.Row("GET", "/_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}", web.UserOrGuest, web.LimitDownload, web.Raw(m.GetDownload), "cs#get_matrixclientv1mediadownloadservernamemediaidfilename"),
		web.Row("GET", "/_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}", web.UserOrGuest, web.LimitDownload, web.Raw(m.GetThumbnail), "cs#get_matrixclientv1mediathumbnailservernamemediaid"),
		web.Row("GET", "/_matrix/client/v1/media/preview_url", web.User, web.LimitDownload, web.Raw(m.GetPreview), "cs#get_matrixclientv1mediapreview_url"),
		web.Row("GET", "/_matrix/media/v3/download/{serverName}/{mediaId}", web.None, web.LimitDownload, web.Raw(m.GetDownloadLegacy), "cs#get_matrixmediav3downloadservernamemediaid"),
		web.Row("GET", "/_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}", web.None, web.LimitDownload, web.Raw(m.GetDownloadLegacy), "cs#get_matrixmediav3downloadservernamemediaidfilename"),
		web.Row("GET", "/_matrix/media/v3/thumbnail/{serverName}/{mediaId}", web.None, web.LimitDownload, web.Raw(m.GetThumbnailLegacy), "cs#get_matrixmediav3thumbnailservernamemediaid"),
		web.Row("GET", "/_matrix/media/v3/preview_url", web.User, web.LimitDownload, web.Raw(m.GetPreview), "cs#get_matrixmediav3preview_url"),
	}
}

// directoryRoutes: finding rooms and people.
func directoryRoutes(d *directory.Directory) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/v3/directory/list/room/{roomId}", web.None, web.LimitDefault, web.JSON(d.GetVisibility), "cs#get_matrixclientv3directorylistroomroomid"),
		web.Row("PUT", "/_matrix/client/v3/directory/list/room/{roomId}", web.User, web.LimitDefault, web.JSON(d.PutVisibility), "cs#put_matrixclientv3directorylistroomroomid"),
		web.Row("PUT", "/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}", web.AppServiceOnly, web.NoLimit, web.JSON(d.PutNetworkVisibility), "as#put_matrixclientv3directorylistappservicenetworkidroomid"),
		web.Row("GET", "/_matrix/client/v3/publicRooms", web.Optional, web.LimitSearch, web.JSON(d.GetPublicRooms), "cs#get_matrixclientv3publicrooms"),
		web.Row("POST", "/_matrix/client/v3/publicRooms", web.UserOrGuest, web.LimitSearch, web.JSON(d.PostPublicRooms), "cs#post_matrixclientv3publicrooms"),
		web.Row("GET", "/_matrix/client/v1/rooms/{roomId}/hierarchy", web.UserOrGuest, web.LimitSearch, web.JSON(d.GetHierarchy), "cs#get_matrixclientv1roomsroomidhierarchy"),
		web.Row("GET", "/_matrix/client/v1/room_summary/{roomIdOrAlias}", web.Optional, web.LimitSearch, web.JSON(d.GetSummary), "cs#get_matrixclientv1room_summaryroomidoralias"),
		web.Row("GET", "/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary", web.Optional, web.LimitSearch, web.JSON(d.GetSummary), "msc#3266"),
		web.Row("GET", "/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}", web.Optional, web.LimitSearch, web.JSON(d.GetSummary), "msc#3266"),
		web.Row("POST", "/_matrix/client/v3/user_directory/search", web.User, web.LimitSearch, web.JSON(d.PostSearchUsers), "cs#post_matrixclientv3user_directorysearch"),
		web.Row("GET", "/_matrix/client/v1/mutual_rooms", web.User, web.LimitSearch, web.JSON(d.GetMutualRooms), "cs#get_matrixclientv1mutual_rooms"),
		web.Row("GET", "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms", web.User, web.LimitSearch, web.JSON(d.GetMutualRooms), "msc#2666"),
	}
}

// callRoutes: relays.
func callRoutes(c *calls.Calls) []web.Route {
	return []web.Route{
		web.Row("GET", "/_matrix/client/v3/voip/turnServer", web.UserOrGuest, web.LimitDefault, web.JSON(c.GetTurnServer), "cs#get_matrixclientv3voipturnserver"),
	}
}

// adminRoutes: reports of users, and what operators do.
func adminRoutes(a *admin.Admin) []web.Route {
	return []web.Route{
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/report", web.UserOrGuest, web.LimitReport, web.JSON(a.PostReportRoom), "cs#post_matrixclientv3roomsroomidreport"),
		web.Row("POST", "/_matrix/client/v3/rooms/{roomId}/report/{eventId}", web.UserOrGuest, web.LimitReport, web.JSON(a.PostReportEvent), "cs#post_matrixclientv3roomsroomidreporteventid"),
		web.Row("POST", "/_matrix/client/v3/users/{userId}/report", web.UserOrGuest, web.LimitReport, web.JSON(a.PostReportUser), "cs#post_matrixclientv3usersuseridreport"),
		web.Row("GET", "/_matrix/client/v3/admin/whois/{userId}", web.UserOrGuest, web.LimitDefault, web.JSON(a.GetWhois), "cs#get_matrixclientv3adminwhoisuserid"),
		web.Row("GET", "/_matrix/client/v1/admin/lock/{userId}", web.Admin, web.LimitDefault, web.JSON(a.GetLock), "cs#get_matrixclientv1adminlockuserid"),
		web.Row("PUT", "/_matrix/client/v1/admin/lock/{userId}", web.Admin, web.LimitDefault, web.JSON(a.PutLock), "cs#put_matrixclientv1adminlockuserid"),
		web.Row("GET", "/_matrix/client/v1/admin/suspend/{userId}", web.Admin, web.LimitDefault, web.JSON(a.GetSuspension), "cs#get_matrixclientv1adminsuspenduserid"),
		web.Row("PUT", "/_matrix/client/v1/admin/suspend/{userId}", web.Admin, web.LimitDefault, web.JSON(a.PutSuspension), "cs#put_matrixclientv1adminsuspenduserid"),
		web.Row("POST", "/_synapse/admin/v1/send_server_notice", web.Admin, web.NoLimit, web.JSON(a.PostNotice), "cs#server-notices"),
		web.Row("PUT", "/_synapse/admin/v1/send_server_notice/{txnId}", web.Admin, web.NoLimit, web.JSON(a.PutNotice), "cs#server-notices"),
	}
}

// operatorRoutes: the paths that existing administration tools call.
func operatorRoutes(a *admin.Admin) []web.Route {
	return []web.Route{
		web.Row("GET", "/_synapse/admin/v1/server_version", web.None, web.NoLimit, web.JSON(a.GetServerVersion), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v2/users", web.Admin, web.NoLimit, web.JSON(a.GetUsers), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v3/users", web.Admin, web.NoLimit, web.JSON(a.GetUsersV3), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v2/users/{userId}", web.Admin, web.NoLimit, web.JSON(a.GetUserInfo), "synapse#admin-api"),
		web.Row("PUT", "/_synapse/admin/v2/users/{userId}", web.Admin, web.NoLimit, web.JSON(a.PutUser), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/username_available", web.Admin, web.NoLimit, web.JSON(a.GetUsernameAvailable), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/threepid/{medium}/users/{address}", web.Admin, web.NoLimit, web.JSON(a.GetThreepidOwner), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/reset_password/{userId}", web.Admin, web.NoLimit, web.JSON(a.PostResetPassword), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/deactivate/{userId}", web.Admin, web.NoLimit, web.JSON(a.PostDeactivate), "synapse#admin-api"),
		web.Row("PUT", "/_synapse/admin/v1/suspend/{userId}", web.Admin, web.NoLimit, web.JSON(a.PutSuspendUser), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/users/{userId}/admin", web.Admin, web.NoLimit, web.JSON(a.GetUserAdmin), "synapse#admin-api"),
		web.Row("PUT", "/_synapse/admin/v1/users/{userId}/admin", web.Admin, web.NoLimit, web.JSON(a.PutUserAdmin), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/users/{userId}/shadow_ban", web.Admin, web.NoLimit, web.JSON(a.PostShadowBan), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v1/users/{userId}/shadow_ban", web.Admin, web.NoLimit, web.JSON(a.DeleteShadowBan), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/users/{userId}/login", web.Admin, web.NoLimit, web.JSON(a.PostUserLogin), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/users/{userId}/joined_rooms", web.Admin, web.NoLimit, web.JSON(a.GetUserRooms), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/users/{userId}/memberships", web.Admin, web.NoLimit, web.JSON(a.GetUserMemberships), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/users/{userId}/accountdata", web.Admin, web.NoLimit, web.JSON(a.GetUserAccountData), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/whois/{userId}", web.Admin, web.NoLimit, web.JSON(a.GetWhois), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v2/users/{userId}/devices", web.Admin, web.NoLimit, web.JSON(a.GetUserDevices), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v2/users/{userId}/devices", web.Admin, web.NoLimit, web.JSON(a.PostUserDevice), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v2/users/{userId}/delete_devices", web.Admin, web.NoLimit, web.JSON(a.PostDeleteDevices), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v2/users/{userId}/devices/{deviceId}", web.Admin, web.NoLimit, web.JSON(a.GetUserDevice), "synapse#admin-api"),
		web.Row("PUT", "/_synapse/admin/v2/users/{userId}/devices/{deviceId}", web.Admin, web.NoLimit, web.JSON(a.PutUserDevice), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v2/users/{userId}/devices/{deviceId}", web.Admin, web.NoLimit, web.JSON(a.DeleteUserDevice), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/registration_tokens", web.Admin, web.NoLimit, web.JSON(a.GetRegistrationTokens), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/registration_tokens/new", web.Admin, web.NoLimit, web.JSON(a.PostRegistrationToken), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/registration_tokens/{token}", web.Admin, web.NoLimit, web.JSON(a.GetRegistrationToken), "synapse#admin-api"),
		web.Row("PUT", "/_synapse/admin/v1/registration_tokens/{token}", web.Admin, web.NoLimit, web.JSON(a.PutRegistrationToken), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v1/registration_tokens/{token}", web.Admin, web.NoLimit, web.JSON(a.DeleteRegistrationToken), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/event_reports", web.Admin, web.NoLimit, web.JSON(a.GetEventReports), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/event_reports/{reportId}", web.Admin, web.NoLimit, web.JSON(a.GetEventReport), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v1/event_reports/{reportId}", web.Admin, web.NoLimit, web.JSON(a.DeleteEventReport), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/user_reports", web.Admin, web.NoLimit, web.JSON(a.GetUserReports), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/user_reports/{reportId}", web.Admin, web.NoLimit, web.JSON(a.GetUserReport), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v1/user_reports/{reportId}", web.Admin, web.NoLimit, web.JSON(a.DeleteUserReport), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/room_reports", web.Admin, web.NoLimit, web.JSON(a.GetRoomReports), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/room_reports/{reportId}", web.Admin, web.NoLimit, web.JSON(a.GetRoomReport), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v1/room_reports/{reportId}", web.Admin, web.NoLimit, web.JSON(a.DeleteRoomReport), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms", web.Admin, web.NoLimit, web.JSON(a.GetRooms), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}", web.Admin, web.NoLimit, web.JSON(a.GetRoom), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v1/rooms/{roomId}", web.Admin, web.NoLimit, web.JSON(a.DeleteRoomNow), "synapse#admin-api"),
		web.Row("DELETE", "/_synapse/admin/v2/rooms/{roomId}", web.Admin, web.NoLimit, web.JSON(a.DeleteRoomLater), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v2/rooms/{roomId}/delete_status", web.Admin, web.NoLimit, web.JSON(a.GetRoomDeletions), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v2/rooms/delete_status/{deleteId}", web.Admin, web.NoLimit, web.JSON(a.GetDeletion), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}/members", web.Admin, web.NoLimit, web.JSON(a.GetRoomMembers), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}/state", web.Admin, web.NoLimit, web.JSON(a.GetRoomState), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}/messages", web.Admin, web.NoLimit, web.JSON(a.GetRoomMessages), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}/context/{eventId}", web.Admin, web.NoLimit, web.JSON(a.GetRoomContext), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}/timestamp_to_event", web.Admin, web.NoLimit, web.JSON(a.GetRoomMoment), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/rooms/{roomId}/block", web.Admin, web.NoLimit, web.JSON(a.GetRoomBlock), "synapse#admin-api"),
		web.Row("PUT", "/_synapse/admin/v1/rooms/{roomId}/block", web.Admin, web.NoLimit, web.JSON(a.PutRoomBlock), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/rooms/{roomIdOrAlias}/make_room_admin", web.Admin, web.NoLimit, web.JSON(a.PostMakeRoomAdmin), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/join/{roomIdOrAlias}", web.Admin, web.NoLimit, web.JSON(a.PostJoin), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/purge_history/{roomId}", web.Admin, web.NoLimit, web.JSON(a.PostPurgeHistory), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/purge_history/{roomId}/{eventId}", web.Admin, web.NoLimit, web.JSON(a.PostPurgeHistoryUpTo), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/purge_history_status/{purgeId}", web.Admin, web.NoLimit, web.JSON(a.GetPurgeHistory), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/fetch_event/{eventId}", web.Admin, web.NoLimit, web.JSON(a.GetFetchEvent), "synapse#admin-api"),
		web.Row("POST", "/_synapse/admin/v1/user/{userId}/redact", web.Admin, web.NoLimit, web.JSON(a.PostRedactUser), "synapse#admin-api"),
		web.Row("GET", "/_synapse/admin/v1/user/redact_status/{redactId}", web.Admin, web.NoLimit, web.JSON(a.GetRedactStatus), "synapse#admin-api"),
	}
}
