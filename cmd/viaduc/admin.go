package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
)

type adminCmd struct {
	User struct {
		Add           userAddCmd        `cmd:"" help:"Make an account."`
		ResetPassword userPasswordCmd   `cmd:"" name:"reset-password" help:"Give an account another password and end its sessions."`
		Promote       userPromoteCmd    `cmd:"" help:"Make an account an administrator."`
		Demote        userDemoteCmd     `cmd:"" help:"Make an administrator a common account."`
		List          userListCmd       `cmd:"" help:"List the accounts."`
		Deactivate    userDeactivateCmd `cmd:"" help:"End an account for ever."`
	} `cmd:"" help:"Accounts."`
	Token struct {
		New tokenNewCmd `cmd:"" help:"Make a registration token."`
	} `cmd:"" help:"Registration tokens."`
}

// adminClient speaks with the admin listener of the running server.
type adminClient struct {
	cfg   *config.Config
	token string
}

func (e *env) adminClient() (*adminClient, error) {
	cfg, err := e.load()
	if err != nil {
		return nil, err
	}
	if cfg.Listen.Admin == "" {
		return nil, errors.New("listen.admin is empty: there is no admin listener to speak with")
	}
	text, err := os.ReadFile(adminTokenFile(cfg))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNotRunning
	}
	return &adminClient{cfg, strings.TrimSpace(string(text))}, err
}

// do sends a request and decodes the answer into out.
func (c *adminClient) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+dialAddr(c.cfg.Listen.Admin)+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return errNotRunning
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		var e struct{ Error, Errcode string }
		if json.Unmarshal(raw, &e) == nil && e.Error != "" {
			return fmt.Errorf("%s (%s)", e.Error, e.Errcode)
		}
		return fmt.Errorf("the server answered %s", res.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// dialAddr makes an address to connect to from one to listen on.
func dialAddr(listen string) string {
	for _, any := range []string{"0.0.0.0:", "[::]:", ":"} {
		if port, ok := strings.CutPrefix(listen, any); ok {
			return "127.0.0.1:" + port
		}
	}
	return listen
}

// fullID makes a user ID of what an administrator types.
func (c *adminClient) fullID(s string) id.UserID {
	if strings.HasPrefix(s, "@") && strings.Contains(s, ":") {
		return id.UserID(s)
	}
	return id.UserID("@" + strings.TrimPrefix(s, "@") + ":" + c.cfg.ServerName)
}

// password asks for one on a terminal or takes a line from a pipe; an empty one
// is made up, and said.
func (e *env) password() (pw string, made bool, err error) {
	if isTerminal(os.Stdin) {
		fmt.Fprint(e.out, "Password (empty: make one up; it is shown while you type): ")
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	if line = strings.TrimRight(line, "\r\n"); line != "" {
		return line, false, nil
	}
	return rand.Text(), true, nil
}

type userAddCmd struct {
	Name  string `arg:"" help:"Local part of the user ID."`
	Admin bool   `help:"Make it an administrator."`
}

// Run adds an account; the password comes from standard input.
func (cmd userAddCmd) Run(e *env) error {
	c, err := e.adminClient()
	if err != nil {
		return err
	}
	pw, made, err := e.password()
	if err != nil {
		return err
	}
	var out userOut
	local, _, _ := strings.Cut(strings.TrimPrefix(cmd.Name, "@"), ":")
	if err := c.do(e.ctx, http.MethodPost, "/operator/v1/add_user", userIn{User: local, Password: pw, Admin: cmd.Admin}, &out); err != nil {
		return err
	}
	fmt.Fprintln(e.out, out.UserID)
	if made {
		fmt.Fprintln(e.out, "Password:", pw)
	}
	return nil
}

type userPasswordCmd struct {
	User         string `arg:"" help:"User ID or local part."`
	KeepSessions bool   `help:"Do not end the sessions."`
}

// Run sets a password from standard input.
func (cmd userPasswordCmd) Run(e *env) error {
	c, err := e.adminClient()
	if err != nil {
		return err
	}
	pw, made, err := e.password()
	if err != nil {
		return err
	}
	in := userIn{User: string(c.fullID(cmd.User)), Password: pw, Logout: !cmd.KeepSessions}
	if err := c.do(e.ctx, http.MethodPost, "/operator/v1/set_password", in, nil); err != nil {
		return err
	}
	if made {
		fmt.Fprintln(e.out, "Password:", pw)
	}
	return nil
}

type userPromoteCmd struct {
	User string `arg:"" help:"User ID or local part."`
}

// Run makes an administrator.
func (cmd userPromoteCmd) Run(e *env) error { return e.setAdmin(cmd.User, true) }

type userDemoteCmd struct {
	User string `arg:"" help:"User ID or local part."`
}

// Run takes the rights of an administrator away.
func (cmd userDemoteCmd) Run(e *env) error { return e.setAdmin(cmd.User, false) }

func (e *env) setAdmin(user string, admin bool) error {
	c, err := e.adminClient()
	if err != nil {
		return err
	}
	return c.do(e.ctx, http.MethodPost, "/operator/v1/set_admin", userIn{User: string(c.fullID(user)), Admin: admin}, nil)
}

type userDeactivateCmd struct {
	User  string `arg:"" help:"User ID or local part."`
	Erase bool   `help:"Hide what it wrote from those who join later."`
}

// Run deactivates an account.
func (cmd userDeactivateCmd) Run(e *env) error {
	c, err := e.adminClient()
	if err != nil {
		return err
	}
	return c.do(e.ctx, http.MethodPost, "/operator/v1/deactivate", userIn{User: string(c.fullID(cmd.User)), Erase: cmd.Erase}, nil)
}

type userListCmd struct {
	JSON bool `help:"One JSON object a line."`
}

// Run lists all accounts, page by page.
func (cmd userListCmd) Run(e *env) error {
	c, err := e.adminClient()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	enc := json.NewEncoder(e.out)
	for after := id.UserID(""); ; {
		var page listOut
		path := "/operator/v1/users?limit=1000&after=" + url.QueryEscape(string(after))
		if err := c.do(e.ctx, http.MethodGet, path, nil, &page); err != nil {
			return err
		}
		for _, u := range page.Users {
			if cmd.JSON {
				if err := enc.Encode(u); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.UserID, u.DisplayName, time.UnixMilli(u.Created).Format(time.DateOnly), u.kind())
		}
		if len(page.Users) < 1000 {
			return w.Flush()
		}
		after = page.Users[len(page.Users)-1].UserID
	}
}

func (u account) kind() string {
	switch {
	case u.Deactivated:
		return "deactivated"
	case u.Admin:
		return "administrator"
	case u.Guest:
		return "guest"
	}
	return ""
}

type tokenNewCmd struct {
	Token  string        `help:"The token itself; made up if empty."`
	Uses   int           `help:"How often it works; 0 is without limit." default:"1"`
	Expire time.Duration `help:"After what time it ends; 0 is never." default:"0"`
}

// Run makes a registration token.
func (cmd tokenNewCmd) Run(e *env) error {
	c, err := e.adminClient()
	if err != nil {
		return err
	}
	in := tokenIn{Token: cmd.Token, Uses: cmd.Uses}
	if cmd.Expire > 0 {
		in.Expires = time.Now().Add(cmd.Expire).UnixMilli()
	}
	var out tokenOut
	if err := c.do(e.ctx, http.MethodPost, "/operator/v1/new_token", in, &out); err != nil {
		return err
	}
	fmt.Fprintln(e.out, out.Token)
	return nil
}

type healthCmd struct{}

// Run asks for /health.
func (healthCmd) Run(e *env) error {
	cfg, err := e.load()
	if err != nil {
		return err
	}
	c := &adminClient{cfg: cfg}
	var out healthOut
	if err := c.do(e.ctx, http.MethodGet, "/health", nil, &out); err != nil {
		return err
	}
	fmt.Fprintln(e.out, out.Status)
	return nil
}
