package configs

import (
	"net/url"
	"strings"

	"github.com/picharvest/picharvest/internal/storage"
)

const redacted = "[redacted]"

// secretKeys are secrets as a whole.
var secretKeys = map[string]bool{"redis.password": true, "redis.sentinel.password": true, "web.token": true}

// urlKeys are URLs that may hold a password.
var urlKeys = map[string]bool{"redis.url": true, "picture.proxy": true, "storage.url": true, "providers.base_urls": true}

func mayHoldSecret(key string) bool { return secretKeys[key] || urlKeys[key] }

// redact returns the text of key fit to be shown.
func redact(key, text string) string {
	switch {
	case text == "":
		return ""
	case secretKeys[key]:
		return redacted
	case urlKeys[key] && strings.ContainsAny(text, "@?"):
		// The options of a Redis URL, and of a store's, are known ones, none
		// of them secret.
		return redactURL(text, key == "redis.url" || key == "storage.url" && isPlace(text))
	}
	return text
}

// isPlace reports whether text is a store's place, which has no secret in it.
func isPlace(text string) bool {
	_, err := storage.ParseLocation(text)
	return err == nil
}

// redactURL returns raw without password and, unless it is to be kept, query. A
// user without password may be a password in the wrong place and goes as well.
// Where it cannot be told where a password ends, nothing is left.
func redactURL(raw string, keepQuery bool) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Host == "" && u.Scheme != "unix" ||
		strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return redacted
	}
	userinfo, query := "", ""
	if u.User != nil {
		userinfo = redacted + "@"
		if _, ok := u.User.Password(); ok {
			userinfo = url.User(u.User.Username()).String() + ":" + userinfo
		}
	}
	if u.RawQuery != "" {
		query = "?" + redacted
		if keepQuery {
			query = "?" + u.RawQuery
		}
	}
	return u.Scheme + "://" + userinfo + u.Host + u.EscapedPath() + query
}
