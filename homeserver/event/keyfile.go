package event

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The signing key file has one key in a line: algorithm, version, base64 of the seed. Other servers write the same form,
// so a key file moves with the server name.

// GenerateSigner makes a new key with a random version.
func GenerateSigner(server string) (Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Signer{}, fmt.Errorf("generating a signing key: %w", err)
	}
	return Signer{Server: server, KeyID: algorithm + "a_" + rand.Text()[:6], Key: key}, nil
}

// FormatSigner writes the line of a key.
func FormatSigner(s Signer) string {
	return "ed25519 " + strings.TrimPrefix(s.KeyID, algorithm) + " " + encode64(s.Key.Seed()) + "\n"
}

// ParseSigners reads a key file. The first key is the one to sign with.
func ParseSigners(server string, file []byte) ([]Signer, error) {
	if !ValidServerName(server) {
		return nil, fmt.Errorf("server name %q has no valid form", clip(server, 60))
	}
	var all []Signer
	for n, line := range strings.Split(string(file), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "ed25519" || !ValidKeyID(algorithm+fields[1]) {
			return nil, fmt.Errorf("signing key file, line %d: not of the form \"ed25519 version base64\"", n+1)
		}
		seed, ok := decode64(fields[2])
		if !ok || len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("signing key file, line %d: the key is not %d bytes in base64", n+1, ed25519.SeedSize)
		}
		all = append(all, Signer{server, algorithm + fields[1], ed25519.NewKeyFromSeed(seed)})
	}
	if len(all) == 0 {
		return nil, errors.New("signing key file has no key")
	}
	return all, nil
}

// LoadSigners reads the key file at path.
func LoadSigners(server, path string) ([]Signer, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	all, err := ParseSigners(server, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// SaveSigner writes a new key file that only its owner reads. It never overwrites one.
func SaveSigner(path string, s Signer) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing the signing key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the signing key: %w", err)
	}
	_, err = f.WriteString(FormatSigner(s))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing the signing key: %w", err)
	}
	return nil
}

// LoadOrCreateSigners reads the key file, and makes one if there is none.
func LoadOrCreateSigners(server, path string) ([]Signer, error) {
	all, err := LoadSigners(server, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return all, err
	}
	s, err := GenerateSigner(server)
	if err != nil {
		return nil, err
	}
	if err = SaveSigner(path, s); errors.Is(err, fs.ErrExist) {
		return LoadSigners(server, path) // another process was faster
	} else if err != nil {
		return nil, err
	}
	return []Signer{s}, nil
}
