package lookup

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxSecretBytes bounds what is read of a secret's file.
const maxSecretBytes = 16 << 10

// Secret says where one secret comes from. Its value is never part of a
// definition.
type Secret struct {
	// Name is the word that headers use it by: ${name}.
	Name string
	// Env is the environment variable that holds it, File the file. Where
	// both are named and set, Env wins.
	Env, File string
	// Optional leaves out the headers that use it while it is empty.
	Optional bool
}

// SecretFunc returns the value of a secret, "" where it is not set. It is
// called for every lookup, so that a changed secret is used at once. Its
// errors never hold a value.
type SecretFunc func(Secret) (string, error)

// SystemSecrets is the SecretFunc that reads the environment and files. White
// space around the value is dropped; a file that is not there is a secret
// that is not set.
func SystemSecrets(s Secret) (string, error) {
	if s.Env != "" {
		if v := strings.TrimSpace(os.Getenv(s.Env)); v != "" {
			return v, nil
		}
	}
	if s.File == "" {
		return "", nil
	}
	f, err := os.Open(s.File)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecretBytes {
		return "", fmt.Errorf("%s holds more than %d bytes: no secret is that long", s.File, maxSecretBytes)
	}
	return strings.TrimSpace(string(b)), nil
}

// cure says how to set s.
func (s Secret) cure() string {
	switch {
	case s.Env == "":
		return "write it to " + s.File
	case s.File == "":
		return "set " + s.Env
	}
	return fmt.Sprintf("set %s or write it to %s", s.Env, s.File)
}

// header is one request header: literal text around at most one secret.
type header struct {
	name          string
	before, after string
	secret        string // the name of the secret, "" where there is none
}

// fill adds d's headers to plain and secret: those that hold a secret to the
// latter. It returns the values it used.
func (d *Definition) fill(plain, secret http.Header, secrets SecretFunc) ([]string, error) {
	var used []string
	for _, h := range d.headers {
		if h.secret == "" {
			plain.Set(h.name, h.before)
			continue
		}
		s := d.secret(h.secret)
		v, err := secrets(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("secret %s: %w", s.Name, err)
		case v == "" && s.Optional:
			continue
		case v == "":
			return nil, fmt.Errorf("secret %s is not set: %s", s.Name, s.cure())
		case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return nil, fmt.Errorf("secret %s holds a line break or another control character: %s", s.Name, s.cure())
		}
		used = append(used, v)
		secret.Set(h.name, h.before+v+h.after)
	}
	return used, nil
}

func (d *Definition) secret(name string) Secret {
	for _, s := range d.Secrets {
		if s.Name == name {
			return s
		}
	}
	return Secret{Name: name}
}
