package appservices

import "github.com/viaduc/viaduc/homeserver/web"

// Routes is what application services call, and what clients ask about them.
func (a *AppServices) Routes() []web.Route {
	return []web.Route{
		web.Row("POST", "/_matrix/client/v1/appservice/{appserviceId}/ping", web.AppServiceOnly, web.NoLimit, web.JSON(a.PostPing), "as#post_matrixclientv1appserviceappserviceidping"),
		web.Row("GET", "/_matrix/client/v3/thirdparty/protocols", web.UserOrGuest, web.LimitDefault, web.JSON(a.GetProtocols), "cs#get_matrixclientv3thirdpartyprotocols"),
		web.Row("GET", "/_matrix/client/v3/thirdparty/protocol/{protocol}", web.UserOrGuest, web.LimitDefault, web.JSON(a.GetProtocol), "cs#get_matrixclientv3thirdpartyprotocolprotocol"),
		web.Row("GET", "/_matrix/client/v3/thirdparty/location", web.UserOrGuest, web.LimitDefault, web.Raw(a.GetLocations), "cs#get_matrixclientv3thirdpartylocation"),
		web.Row("GET", "/_matrix/client/v3/thirdparty/location/{protocol}", web.UserOrGuest, web.LimitDefault, web.Raw(a.GetLocations), "cs#get_matrixclientv3thirdpartylocationprotocol"),
		web.Row("GET", "/_matrix/client/v3/thirdparty/user", web.UserOrGuest, web.LimitDefault, web.Raw(a.GetUsers), "cs#get_matrixclientv3thirdpartyuser"),
		web.Row("GET", "/_matrix/client/v3/thirdparty/user/{protocol}", web.UserOrGuest, web.LimitDefault, web.Raw(a.GetUsers), "cs#get_matrixclientv3thirdpartyuserprotocol"),
	}
}
