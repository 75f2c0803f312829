package federation

import "github.com/viaduc/viaduc/homeserver/web"

// Routes is the whole server-server API: method, path, who, limit, handler, anchor in the specification.
func (f *Federation) Routes() []web.Route {
	const fed, v2 = web.LimitFederation, "/_matrix/federation/v2"
	return []web.Route{
		web.Row("GET", v1+"/version", web.None, web.NoLimit, web.JSON(f.GetVersion), "ss#get_matrixfederationv1version"),
		web.Row("GET", "/_matrix/key/v2/server", web.None, web.NoLimit, web.JSON(f.GetServerKeys), "ss#get_matrixkeyv2server"),
		web.Row("GET", "/_matrix/key/v2/server/{keyId}", web.None, web.NoLimit, web.JSON(f.GetServerKeyOld), "ss#get_matrixkeyv2server"),
		web.Row("POST", "/_matrix/key/v2/query", web.None, fed, web.JSON(f.PostKeyQuery), "ss#post_matrixkeyv2query"),
		web.Row("GET", "/_matrix/key/v2/query/{serverName}", web.None, fed, web.JSON(f.GetKeyQuery), "ss#get_matrixkeyv2queryservername"),
		web.Row("GET", "/_matrix/key/v2/query/{serverName}/{keyId}", web.None, fed, web.JSON(f.GetKeyQueryOld), "ss#get_matrixkeyv2queryservername"),

		web.Row("PUT", v1+"/send/{txnId}", web.ServerOnly, fed, web.JSON(f.PutSend), "ss#put_matrixfederationv1sendtxnid").WithBody(sendBytes),

		web.Row("GET", v1+"/make_join/{roomId}/{userId}", web.ServerOnly, fed, web.JSON(f.GetMakeJoin), "ss#get_matrixfederationv1make_joinroomiduserid"),
		web.Row("PUT", v1+"/send_join/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutSendJoinV1), "ss#put_matrixfederationv1send_joinroomideventid"),
		web.Row("PUT", v2+"/send_join/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutSendJoin), "ss#put_matrixfederationv2send_joinroomideventid"),
		web.Row("GET", v1+"/make_knock/{roomId}/{userId}", web.ServerOnly, fed, web.JSON(f.GetMakeKnock), "ss#get_matrixfederationv1make_knockroomiduserid"),
		web.Row("PUT", v1+"/send_knock/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutSendKnock), "ss#put_matrixfederationv1send_knockroomideventid"),
		web.Row("GET", v1+"/make_leave/{roomId}/{userId}", web.ServerOnly, fed, web.JSON(f.GetMakeLeave), "ss#get_matrixfederationv1make_leaveroomiduserid"),
		web.Row("PUT", v1+"/send_leave/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutSendLeaveV1), "ss#put_matrixfederationv1send_leaveroomideventid"),
		web.Row("PUT", v2+"/send_leave/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutSendLeave), "ss#put_matrixfederationv2send_leaveroomideventid"),
		web.Row("PUT", v1+"/invite/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutInviteV1), "ss#put_matrixfederationv1inviteroomideventid"),
		web.Row("PUT", v2+"/invite/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.PutInvite), "ss#put_matrixfederationv2inviteroomideventid"),

		web.Row("GET", v1+"/event/{eventId}", web.ServerOnly, fed, web.JSON(f.GetEvent), "ss#get_matrixfederationv1eventeventid"),
		web.Row("GET", v1+"/state/{roomId}", web.ServerOnly, fed, web.JSON(f.GetState), "ss#get_matrixfederationv1stateroomid"),
		web.Row("GET", v1+"/state_ids/{roomId}", web.ServerOnly, fed, web.JSON(f.GetStateIDs), "ss#get_matrixfederationv1state_idsroomid"),
		web.Row("GET", v1+"/event_auth/{roomId}/{eventId}", web.ServerOnly, fed, web.JSON(f.GetEventAuth), "ss#get_matrixfederationv1event_authroomideventid"),
		web.Row("GET", v1+"/backfill/{roomId}", web.ServerOnly, fed, web.JSON(f.GetBackfill), "ss#get_matrixfederationv1backfillroomid"),
		web.Row("POST", v1+"/get_missing_events/{roomId}", web.ServerOnly, fed, web.JSON(f.PostMissingEvents), "ss#post_matrixfederationv1get_missing_eventsroomid"),
		web.Row("GET", v1+"/timestamp_to_event/{roomId}", web.ServerOnly, fed, web.JSON(f.GetTimestampToEvent), "ss#get_matrixfederationv1timestamp_to_eventroomid"),

		web.Row("GET", v1+"/query/profile", web.ServerOnly, fed, web.JSON(f.GetQueryProfile), "ss#get_matrixfederationv1queryprofile"),
		web.Row("GET", v1+"/query/directory", web.ServerOnly, fed, web.JSON(f.GetQueryDirectory), "ss#get_matrixfederationv1querydirectory"),
		web.Row("GET", v1+"/query/{queryType}", web.ServerOnly, fed, web.JSON(f.GetQuery), "ss#get_matrixfederationv1queryquerytype"),
		web.Row("GET", v1+"/user/devices/{userId}", web.ServerOnly, fed, web.JSON(f.GetUserDevices), "ss#get_matrixfederationv1userdevicesuserid"),
		web.Row("POST", v1+"/user/keys/query", web.ServerOnly, fed, web.JSON(f.PostKeysQuery), "ss#post_matrixfederationv1userkeysquery"),
		web.Row("POST", v1+"/user/keys/claim", web.ServerOnly, fed, web.JSON(f.PostKeysClaim), "ss#post_matrixfederationv1userkeysclaim"),
		web.Row("GET", v1+"/openid/userinfo", web.None, fed, web.JSON(f.GetOpenID), "ss#get_matrixfederationv1openiduserinfo"),
		web.Row("PUT", v1+"/3pid/onbind", web.None, fed, web.JSON(f.PutOnBind), "ss#put_matrixfederationv13pidonbind"),

		web.Row("GET", v1+"/publicRooms", web.ServerOnly, fed, web.JSON(f.Directory.GetFederationPublic), "ss#get_matrixfederationv1publicrooms"),
		web.Row("POST", v1+"/publicRooms", web.ServerOnly, fed, web.JSON(f.Directory.PostFederationPublic), "ss#post_matrixfederationv1publicrooms"),
		web.Row("GET", v1+"/hierarchy/{roomId}", web.ServerOnly, fed, web.JSON(f.Directory.GetFederationHierarchy), "ss#get_matrixfederationv1hierarchyroomid"),
		web.Row("GET", v1+"/media/download/{mediaId}", web.ServerOnly, fed, web.Raw(f.GetMedia), "ss#get_matrixfederationv1mediadownloadmediaid"),
		web.Row("GET", v1+"/media/thumbnail/{mediaId}", web.ServerOnly, fed, web.Raw(f.GetMediaThumbnail), "ss#get_matrixfederationv1mediathumbnailmediaid"),
	}
}

// sendBytes bounds a transaction: fifty events of the largest size, and the EDUs.
const sendBytes = 200 * 64 << 10
