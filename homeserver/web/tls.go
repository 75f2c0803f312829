package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// certFiles is a certificate that is read again when its files change.
type certFiles struct {
	cert, key string

	mu      sync.Mutex
	now     *tls.Certificate
	stamp   time.Time
	checked time.Time
}

// CertFiles returns the TLS configuration of a listener. The files are looked
// at once a minute at most; if the new ones do not fit, the old stay in use.
func CertFiles(cert, key string) (*tls.Config, error) {
	f := &certFiles{cert: cert, key: key}
	if err := f.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if now := time.Now(); now.Sub(f.checked) > time.Minute {
				f.checked = now
				if f.newest().After(f.stamp) {
					_ = f.load()
				}
			}
			return f.now, nil
		},
	}, nil
}

func (f *certFiles) newest() (t time.Time) {
	for _, name := range []string{f.cert, f.key} {
		if st, err := os.Stat(name); err == nil && st.ModTime().After(t) {
			t = st.ModTime()
		}
	}
	return t
}

func (f *certFiles) load() error {
	stamp := f.newest()
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	f.now, f.stamp, f.checked = &c, stamp, time.Now()
	return nil
}

// CAFile reads certificate authorities for Outbound.CAs; no name gives those of
// the system.
func CAFile(name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", name)
	}
	return pool, nil
}
