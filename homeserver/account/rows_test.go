package account_test

import (
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

// rows are the endpoints of this package as the client API has them.
func rows(a *account.Accounts) []web.Route {
	return []web.Route{
		{Method: "GET", Path: "/_matrix/client/versions", Auth: web.Optional, Handler: web.JSON(a.GetVersions), Spec: "cs#get_matrixclientversions"},
		{Method: "POST", Path: "/_matrix/client/v3/register", Auth: web.Optional, Limit: web.LimitRegister, Handler: web.JSON(a.PostRegister), Spec: "cs#post_matrixclientv3register"},
		{Method: "GET", Path: "/_matrix/client/v3/register/available", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetRegisterAvailable), Spec: "cs#get_matrixclientv3registeravailable"},
		{Method: "GET", Path: "/_matrix/client/v1/register/m.login.registration_token/validity", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.GetRegistrationTokenValidity), Spec: "cs#get_matrixclientv1registermloginregistration_tokenvalidity"},
		{Method: "POST", Path: "/_matrix/client/v3/register/email/requestToken", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.PostRegisterEmail), Spec: "cs#post_matrixclientv3registeremailrequesttoken"},
		{Method: "POST", Path: "/_matrix/client/v3/register/msisdn/requestToken", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.PostMSISDN), Spec: "cs#post_matrixclientv3registermsisdnrequesttoken"},
		{Method: "GET", Path: "/_synapse/admin/v1/register", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.GetSharedSecretNonce), Spec: "synapse#register-api"},
		{Method: "POST", Path: "/_synapse/admin/v1/register", Auth: web.None, Handler: web.JSON(a.PostSharedSecretRegister), Spec: "synapse#register-api"},
		{Method: "GET", Path: "/_matrix/client/v3/password_policy", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetPasswordPolicy), Spec: "msc#2000"},
		{Method: "GET", Path: "/_matrix/client/v3/login", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetLogin), Spec: "cs#get_matrixclientv3login"},
		{Method: "POST", Path: "/_matrix/client/v3/login", Auth: web.Optional, Limit: web.LimitLogin, Handler: web.JSON(a.PostLogin), Spec: "cs#post_matrixclientv3login"},
		{Method: "POST", Path: "/_matrix/client/v1/login/get_token", Auth: web.User, Limit: web.LimitLogin, Handler: web.JSON(a.PostLoginGetToken), Spec: "cs#post_matrixclientv1loginget_token"},
		{Method: "POST", Path: "/_matrix/client/v3/refresh", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.PostRefresh), Spec: "cs#post_matrixclientv3refresh"},
		{Method: "POST", Path: "/_matrix/client/v3/logout", Auth: web.UserOrGuest, Handler: web.JSON(a.PostLogout), Spec: "cs#post_matrixclientv3logout"},
		{Method: "POST", Path: "/_matrix/client/v3/logout/all", Auth: web.UserOrGuest, Handler: web.JSON(a.PostLogoutAll), Spec: "cs#post_matrixclientv3logoutall"},
		{Method: "GET", Path: "/_matrix/client/v3/account/whoami", Auth: web.UserOrGuest, Limit: web.LimitDefault, Handler: web.JSON(a.GetWhoami), Spec: "cs#get_matrixclientv3accountwhoami"},
		{Method: "GET", Path: "/_matrix/client/v3/auth/{authType}/fallback/web", Auth: web.None, Limit: web.LimitLogin, Handler: web.Raw(a.GetFallback), Spec: "cs#fallback"},
		{Method: "POST", Path: "/_matrix/client/v3/auth/{authType}/fallback/web", Auth: web.None, Limit: web.LimitLogin, Handler: web.Raw(a.PostFallback), Spec: "cs#fallback"},
		{Method: "GET", Path: "/_matrix/static/client/login", Auth: web.None, Limit: web.LimitDefault, Handler: web.Raw(a.GetLoginPage), Spec: "cs#login-fallback"},

		{Method: "POST", Path: "/_matrix/client/v3/account/password", Auth: web.Optional, Limit: web.LimitLogin, Handler: web.JSON(a.PostPassword), Spec: "cs#post_matrixclientv3accountpassword"},
		{Method: "POST", Path: "/_matrix/client/v3/account/password/email/requestToken", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.PostPasswordEmail), Spec: "cs#post_matrixclientv3accountpasswordemailrequesttoken"},
		{Method: "POST", Path: "/_matrix/client/v3/account/password/msisdn/requestToken", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.PostMSISDN), Spec: "cs#post_matrixclientv3accountpasswordmsisdnrequesttoken"},
		{Method: "POST", Path: "/_matrix/client/v3/account/deactivate", Auth: web.Optional, Limit: web.LimitLogin, Handler: web.JSON(a.PostDeactivate), Spec: "cs#post_matrixclientv3accountdeactivate"},
		{Method: "GET", Path: "/_matrix/client/v3/account/3pid", Auth: web.User, Handler: web.JSON(a.GetThreepids), Spec: "cs#get_matrixclientv3account3pid"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.PostThreepidAdd), Spec: "cs#post_matrixclientv3account3pid"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid/add", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.PostThreepidAdd), Spec: "cs#post_matrixclientv3account3pidadd"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid/bind", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.PostThreepidBind), Spec: "cs#post_matrixclientv3account3pidbind"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid/delete", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.PostThreepidDelete), Spec: "cs#post_matrixclientv3account3piddelete"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid/unbind", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.PostThreepidUnbind), Spec: "cs#post_matrixclientv3account3pidunbind"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid/email/requestToken", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.PostThreepidEmail), Spec: "cs#post_matrixclientv3account3pidemailrequesttoken"},
		{Method: "POST", Path: "/_matrix/client/v3/account/3pid/msisdn/requestToken", Auth: web.None, Limit: web.LimitRegister, Handler: web.JSON(a.PostThreepidMSISDN), Spec: "cs#post_matrixclientv3account3pidmsisdnrequesttoken"},
		{Method: "GET", Path: "/_matrix/client/v3/capabilities", Auth: web.UserOrGuest, Limit: web.LimitDefault, Handler: web.JSON(a.GetCapabilities), Spec: "cs#get_matrixclientv3capabilities"},

		{Method: "GET", Path: "/_matrix/client/v3/devices", Auth: web.UserOrGuest, Handler: web.JSON(a.GetDevices), Spec: "cs#get_matrixclientv3devices"},
		{Method: "GET", Path: "/_matrix/client/v3/devices/{deviceId}", Auth: web.UserOrGuest, Handler: web.JSON(a.GetDeviceInfo), Spec: "cs#get_matrixclientv3devicesdeviceid"},
		{Method: "PUT", Path: "/_matrix/client/v3/devices/{deviceId}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.PutDeviceInfo), Spec: "cs#put_matrixclientv3devicesdeviceid"},
		{Method: "DELETE", Path: "/_matrix/client/v3/devices/{deviceId}", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.DeleteDeviceInfo), Spec: "cs#delete_matrixclientv3devicesdeviceid"},
		{Method: "POST", Path: "/_matrix/client/v3/delete_devices", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.PostDeleteDevices), Spec: "cs#post_matrixclientv3delete_devices"},

		{Method: "GET", Path: "/_matrix/client/v3/profile/{userId}", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetProfile), Spec: "cs#get_matrixclientv3profileuserid"},
		{Method: "GET", Path: "/_matrix/client/v3/profile/{userId}/{keyName}", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetProfileField), Spec: "cs#get_matrixclientv3profileuseridkeyname"},
		{Method: "PUT", Path: "/_matrix/client/v3/profile/{userId}/{keyName}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.PutProfileField), Spec: "cs#put_matrixclientv3profileuseridkeyname"},
		{Method: "DELETE", Path: "/_matrix/client/v3/profile/{userId}/{keyName}", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.DeleteProfileField), Spec: "cs#delete_matrixclientv3profileuseridkeyname"},
		{Method: "GET", Path: "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetProfile), Spec: "msc#4133"},
		{Method: "GET", Path: "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}", Auth: web.None, Limit: web.LimitDefault, Handler: web.JSON(a.GetProfileField), Spec: "msc#4133"},
		{Method: "PUT", Path: "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.PutProfileField), Spec: "msc#4133"},
		{Method: "DELETE", Path: "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}", Auth: web.User, Limit: web.LimitSettings, Handler: web.JSON(a.DeleteProfileField), Spec: "msc#4133"},

		{Method: "GET", Path: "/_matrix/client/v3/user/{userId}/account_data/{type}", Auth: web.UserOrGuest, Handler: web.JSON(a.GetAccountData), Spec: "cs#get_matrixclientv3useruseridaccount_datatype"},
		{Method: "PUT", Path: "/_matrix/client/v3/user/{userId}/account_data/{type}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.PutAccountData), Spec: "cs#put_matrixclientv3useruseridaccount_datatype"},
		{Method: "DELETE", Path: "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}/account_data/{type}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.DeleteGlobalAccountData), Spec: "msc#3391"},
		{Method: "GET", Path: "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", Auth: web.UserOrGuest, Handler: web.JSON(a.GetRoomAccountData), Spec: "cs#get_matrixclientv3useruseridroomsroomidaccount_datatype"},
		{Method: "PUT", Path: "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.PutRoomAccountData), Spec: "cs#put_matrixclientv3useruseridroomsroomidaccount_datatype"},
		{Method: "DELETE", Path: "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}/rooms/{roomId}/account_data/{type}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.DeleteRoomAccountData), Spec: "msc#3391"},
		{Method: "GET", Path: "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags", Auth: web.UserOrGuest, Handler: web.JSON(a.GetTags), Spec: "cs#get_matrixclientv3useruseridroomsroomidtags"},
		{Method: "PUT", Path: "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.PutTag), Spec: "cs#put_matrixclientv3useruseridroomsroomidtagstag"},
		{Method: "DELETE", Path: "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", Auth: web.UserOrGuest, Limit: web.LimitSettings, Handler: web.JSON(a.DeleteTag), Spec: "cs#delete_matrixclientv3useruseridroomsroomidtagstag"},
		{Method: "POST", Path: "/_matrix/client/v3/user/{userId}/filter", Auth: web.UserOrGuest, Limit: web.LimitDefault, Handler: web.JSON(a.PostFilter), Spec: "cs#post_matrixclientv3useruseridfilter"},
		{Method: "GET", Path: "/_matrix/client/v3/user/{userId}/filter/{filterId}", Auth: web.UserOrGuest, Handler: web.JSON(a.GetFilter), Spec: "cs#get_matrixclientv3useruseridfilterfilterid"},
		{Method: "POST", Path: "/_matrix/client/v3/user/{userId}/openid/request_token", Auth: web.UserOrGuest, Limit: web.LimitDefault, Handler: web.JSON(a.PostOpenIDToken), Spec: "cs#post_matrixclientv3useruseridopenidrequest_token"},
		{Method: "GET", Path: "/account/email", Auth: web.None, Handler: web.Raw(a.GetEmailPage), Spec: "cs#post_matrixclientv3account3pidemailrequesttoken"},
		{Method: "POST", Path: "/account/email", Auth: web.None, Handler: web.Raw(a.PostEmailPage), Spec: "cs#post_matrixclientv3account3pidemailrequesttoken"},
	}
}
