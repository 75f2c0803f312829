package appservices

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"github.com/goccy/go-yaml"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Registration is a registration file (spec: as#registration).
type Registration struct {
	ID              string     `yaml:"id"`
	URL             *string    `yaml:"url"` // nil or empty: nothing is sent
	ASToken         string     `yaml:"as_token"`
	HSToken         string     `yaml:"hs_token"`
	SenderLocalpart string     `yaml:"sender_localpart"`
	Namespaces      Namespaces `yaml:"namespaces"`
	RateLimited     *bool      `yaml:"rate_limited"`
	Protocols       []string   `yaml:"protocols"`

	// Ephemeral asks for typing, receipts, presence and to-device messages; SoruEphemeral is its older name (msc: 2409).
	Ephemeral     bool `yaml:"receive_ephemeral"`
	SoruEphemeral bool `yaml:"de.sorunome.msc2409.push_ephemeral"`
	// Encryption asks for device list changes and key counts (msc: 3202).
	Encryption bool `yaml:"org.matrix.msc3202"`
	// DeviceManagement lets the service make devices without logging in (msc: 4190, spec v1.17).
	DeviceManagement bool `yaml:"io.element.msc4190"`
}

// Namespaces are what a service is interested in.
type Namespaces struct {
	Users   []Namespace `yaml:"users"`
	Aliases []Namespace `yaml:"aliases"`
	Rooms   []Namespace `yaml:"rooms"`
}

// Namespace is a regular expression over identifiers.
type Namespace struct {
	Exclusive bool   `yaml:"exclusive"`
	Regex     string `yaml:"regex"`

	re *regexp.Regexp
}

// Service is a registration made ready.
type Service struct {
	Registration
	Sender id.UserID

	hash   [32]byte // of as_token
	server string
	call   caller
	// what handlers are told of the service: when it acts as its users, and as itself.
	asUser, asSelf *web.AppService
}

// maxRegistration bounds a registration file.
const maxRegistration = 1 << 20

// Parse reads a registration file. Keys that are not known are passed over.
func Parse(raw []byte) (r Registration, err error) {
	if len(raw) > maxRegistration {
		return r, errors.New("the file is too large")
	}
	return r, yaml.Unmarshal(raw, &r)
}

// Load reads registration files, all *.yaml of the folder included. Every mistake is listed.
func Load(server string, files []string, folder string) ([]*Service, error) {
	if folder != "" {
		more, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil {
			return nil, fmt.Errorf("registrations: %w", err)
		}
		sort.Strings(more)
		files = append(append([]string{}, files...), more...)
	}
	var services []*Service
	var errs []error
	for _, f := range files {
		s, err := loadFile(server, f)
		if err != nil {
			errs = append(errs, fmt.Errorf("registration %s: %w", f, err))
			continue
		}
		services = append(services, s)
	}
	return services, errors.Join(append(errs, unique(services)...)...)
}

func loadFile(server, file string) (*Service, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return NewService(server, r)
}

// unique finds services that cannot be told apart.
func unique(services []*Service) []error {
	var errs []error
	ids, tokens, senders := map[string]bool{}, map[[32]byte]bool{}, map[id.UserID]bool{}
	for _, s := range services {
		if senders[s.Sender] {
			errs = append(errs, fmt.Errorf("registration %s has the sender_localpart of another", s.ID))
		}
		senders[s.Sender] = true
		if ids[s.ID] {
			errs = append(errs, fmt.Errorf("two registrations have the ID %s", s.ID))
		}
		if tokens[s.hash] {
			errs = append(errs, fmt.Errorf("registration %s has the as_token of another", s.ID))
		}
		ids[s.ID], tokens[s.hash] = true, true
	}
	return errs
}

// NewService checks a registration.
func NewService(server string, r Registration) (*Service, error) {
	s := &Service{Registration: r, server: server, hash: sha256.Sum256([]byte(r.ASToken))}
	var errs []error
	for _, f := range [][2]string{{"id", r.ID}, {"as_token", r.ASToken}, {"hs_token", r.HSToken}, {"sender_localpart", r.SenderLocalpart}} {
		if f[1] == "" {
			errs = append(errs, fmt.Errorf("%s is missing", f[0]))
		}
	}
	if u := s.URLText(); u != "" {
		if p, err := url.Parse(u); err != nil || (p.Scheme != "http" && p.Scheme != "https") || p.Host == "" {
			errs = append(errs, errors.New("url is no http address"))
		}
	}
	s.Sender = id.NewUserID(r.SenderLocalpart, server)
	if r.SenderLocalpart != "" && !event.ValidUserID(string(s.Sender)) {
		errs = append(errs, errors.New("sender_localpart is not part of a user ID"))
	}
	for _, list := range [][]Namespace{s.Namespaces.Users, s.Namespaces.Aliases, s.Namespaces.Rooms} {
		for i := range list {
			re, err := regexp.Compile("^(?:" + list[i].Regex + ")")
			if err != nil {
				errs = append(errs, fmt.Errorf("namespace %q: %w", list[i].Regex, err))
				continue
			}
			list[i].re = re
		}
	}
	limited := r.RateLimited == nil || *r.RateLimited
	s.asUser = &web.AppService{ID: s.ID, Sender: s.Sender, RateLimited: limited, Owns: s.OwnsUser, OwnsAlias: s.OwnsAlias}
	self := *s.asUser
	self.RateLimited = false // rate_limited is about the users that it acts as
	s.asSelf = &self
	return s, errors.Join(errs...)
}

// URLText is the address without a slash at its end; empty when nothing is sent.
func (s *Service) URLText() string {
	if s.URL == nil {
		return ""
	}
	u := *s.URL
	for len(u) > 0 && u[len(u)-1] == '/' {
		u = u[:len(u)-1]
	}
	return u
}

func (s *Service) wantsEphemeral() bool { return s.Ephemeral || s.SoruEphemeral }

func matches(list []Namespace, v string, exclusive bool) bool {
	for _, n := range list {
		if (!exclusive || n.Exclusive) && n.re.MatchString(v) {
			return true
		}
	}
	return false
}

// OwnsUser says whether a user is the service's own or in one of its user namespaces. Only users of this server are.
func (s *Service) OwnsUser(u id.UserID) bool {
	return u == s.Sender || (u.Homeserver() == s.server && matches(s.Namespaces.Users, string(u), false))
}

// reserves says whether a user belongs to the service alone.
func (s *Service) reserves(u id.UserID) bool {
	return u == s.Sender || (u.Homeserver() == s.server && matches(s.Namespaces.Users, string(u), true))
}

// OwnsAlias says whether an alias is in one of the service's namespaces.
func (s *Service) OwnsAlias(a id.RoomAlias) bool {
	return matches(s.Namespaces.Aliases, string(a), false)
}

// Services is all of them. It does not change after the start.
type Services struct {
	all    []*Service
	byHash map[[32]byte]*Service
}

// NewServices indexes services.
func NewServices(all []*Service) *Services {
	l := &Services{all: all, byHash: map[[32]byte]*Service{}}
	for _, s := range all {
		l.byHash[s.hash] = s
	}
	return l
}

// All lists the services.
func (l *Services) All() []*Service { return l.all }

// ExclusiveUser says whether a user ID is reserved by a service other than the one named.
func (l *Services) ExclusiveUser(u id.UserID, except string) bool {
	for _, s := range l.all {
		if s.ID != except && s.reserves(u) {
			return true
		}
	}
	return false
}

// ExclusiveAlias says whether an alias is reserved by a service other than the one named.
func (l *Services) ExclusiveAlias(a id.RoomAlias, except string) bool {
	for _, s := range l.all {
		if s.ID != except && matches(s.Namespaces.Aliases, string(a), true) {
			return true
		}
	}
	return false
}
