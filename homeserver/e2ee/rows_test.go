package e2ee

import "github.com/viaduc/viaduc/homeserver/web"

// rows are the endpoints of this package, as they stand in routes.go.
func rows(keys *Keys) []web.Route {
	return []web.Route{
		// End-to-end encryption (keys is *e2ee.Keys).
		{Method: "POST", Path: "/_matrix/client/v3/keys/upload", Auth: web.UserOrGuest, Limit: web.LimitKeys, Handler: web.JSON(keys.PostUpload), Spec: "cs#post_matrixclientv3keysupload"},
		{Method: "POST", Path: "/_matrix/client/v3/keys/query", Auth: web.UserOrGuest, Limit: web.LimitKeys, Handler: web.JSON(keys.PostQuery), Spec: "cs#post_matrixclientv3keysquery"},
		{Method: "POST", Path: "/_matrix/client/v3/keys/claim", Auth: web.UserOrGuest, Limit: web.LimitKeys, Handler: web.JSON(keys.PostClaim), Spec: "cs#post_matrixclientv3keysclaim"},
		{Method: "GET", Path: "/_matrix/client/v3/keys/changes", Auth: web.UserOrGuest, Limit: web.LimitKeys, Handler: web.JSON(keys.GetChanges), Spec: "cs#get_matrixclientv3keyschanges"},
		{Method: "POST", Path: "/_matrix/client/v3/keys/device_signing/upload", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PostSigning), Spec: "cs#post_matrixclientv3keysdevice_signingupload"},
		{Method: "POST", Path: "/_matrix/client/unstable/keys/device_signing/upload", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PostSigning), Spec: "cs#post_matrixclientv3keysdevice_signingupload"},
		{Method: "POST", Path: "/_matrix/client/v3/keys/signatures/upload", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PostSignatures), Spec: "cs#post_matrixclientv3keyssignaturesupload"},
		{Method: "POST", Path: "/_matrix/client/unstable/keys/signatures/upload", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PostSignatures), Spec: "cs#post_matrixclientv3keyssignaturesupload"},
		{Method: "PUT", Path: "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}", Auth: web.UserOrGuest, Limit: web.LimitKeys, Handler: web.JSON(keys.PutSendToDevice), Spec: "cs#put_matrixclientv3sendtodeviceeventtypetxnid"},

		// Key backup.
		{Method: "POST", Path: "/_matrix/client/v3/room_keys/version", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(keys.PostBackup), Spec: "cs#post_matrixclientv3room_keysversion"},
		{Method: "GET", Path: "/_matrix/client/v3/room_keys/version", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.GetCurrentBackup), Spec: "cs#get_matrixclientv3room_keysversion"},
		{Method: "GET", Path: "/_matrix/client/v3/room_keys/version/{version}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.GetBackupVersion), Spec: "cs#get_matrixclientv3room_keysversionversion"},
		{Method: "PUT", Path: "/_matrix/client/v3/room_keys/version/{version}", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(keys.PutBackup), Spec: "cs#put_matrixclientv3room_keysversionversion"},
		{Method: "DELETE", Path: "/_matrix/client/v3/room_keys/version/{version}", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(keys.DeleteBackupVersion), Spec: "cs#delete_matrixclientv3room_keysversionversion"},
		{Method: "PUT", Path: "/_matrix/client/v3/room_keys/keys", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PutBackupAll), Spec: "cs#put_matrixclientv3room_keyskeys"},
		{Method: "GET", Path: "/_matrix/client/v3/room_keys/keys", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.GetBackupAll), Spec: "cs#get_matrixclientv3room_keyskeys"},
		{Method: "DELETE", Path: "/_matrix/client/v3/room_keys/keys", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.DeleteBackupAll), Spec: "cs#delete_matrixclientv3room_keyskeys"},
		{Method: "PUT", Path: "/_matrix/client/v3/room_keys/keys/{roomId}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PutBackupRoom), Spec: "cs#put_matrixclientv3room_keyskeysroomid"},
		{Method: "GET", Path: "/_matrix/client/v3/room_keys/keys/{roomId}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.GetBackupRoom), Spec: "cs#get_matrixclientv3room_keyskeysroomid"},
		{Method: "DELETE", Path: "/_matrix/client/v3/room_keys/keys/{roomId}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.DeleteBackupRoom), Spec: "cs#delete_matrixclientv3room_keyskeysroomid"},
		{Method: "PUT", Path: "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PutBackupSession), Spec: "cs#put_matrixclientv3room_keyskeysroomidsessionid"},
		{Method: "GET", Path: "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.GetBackupSession), Spec: "cs#get_matrixclientv3room_keyskeysroomidsessionid"},
		{Method: "DELETE", Path: "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.DeleteBackupSession), Spec: "cs#delete_matrixclientv3room_keyskeysroomidsessionid"},

		// Dehydrated devices (MSC3814).
		{Method: "PUT", Path: "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(keys.PutDehydratedDevice), Spec: "msc: 3814"},
		{Method: "GET", Path: "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.GetDehydratedDevice), Spec: "msc: 3814"},
		{Method: "DELETE", Path: "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(keys.DeleteDehydratedDevice), Spec: "msc: 3814"},
		{Method: "POST", Path: "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events", Auth: web.User, Limit: web.LimitKeys, Handler: web.JSON(keys.PostDehydratedEvents), Spec: "msc: 3814"},
	}
}
