package configs

import (
	"reflect"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/nearest"
)

// definitionsKey holds provider definitions, which are not settings but
// documents of their own and can stand in a file only.
const definitionsKey = "providers.definitions"

// secretFiles are the keys that name a file with another key's value. They
// are resolved here and are no part of Settings; redis.password_file is, since
// it is read again for each connection.
var secretFiles = map[string]string{
	"redis.url_file":               "redis.url",
	"redis.sentinel.password_file": "redis.sentinel.password",
	"web.token_file":               "web.token",
}

// alternatives are keys of which a value in a higher layer makes that of the
// other in a lower layer void.
var alternatives = map[string]string{ //nolint:gosec // keys of secrets, not secrets
	"redis.url":                    "redis.url_file",
	"redis.url_file":               "redis.url",
	"redis.password":               "redis.password_file",
	"redis.password_file":          "redis.password",
	"redis.sentinel.password":      "redis.sentinel.password_file",
	"redis.sentinel.password_file": "redis.sentinel.password",
	"web.token":                    "web.token_file",
	"web.token_file":               "web.token",
}

// schema is what keys there are.
type schema struct {
	types    map[string]reflect.Type
	sections map[string]bool
}

// newSchema takes the keys from the tags of Settings.
func newSchema() schema {
	s := schema{types: map[string]reflect.Type{}, sections: map[string]bool{"": true}}
	s.add("", reflect.TypeFor[Settings]())
	for key := range secretFiles {
		s.types[key] = reflect.TypeFor[string]()
	}
	return s
}

func (s schema) add(prefix string, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch tag := f.Tag.Get("mapstructure"); {
		case tag == ",squash":
			s.add(prefix, f.Type)
		case tag == "-":
		case f.Type.Kind() == reflect.Struct:
			s.sections[prefix+tag] = true
			s.add(prefix+tag+".", f.Type)
		default:
			s.types[prefix+tag] = f.Type
		}
	}
}

// keys returns all keys in order, definitionsKey included.
func (s schema) keys() []string {
	keys := []string{definitionsKey}
	for key := range s.types {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// envName returns the environment variable for key.
func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// nearestKey returns the key or section that was most likely meant by key, or
// "". A key in the wrong section is nearer than another word.
func (s schema) nearestKey(key string) string {
	known := s.keys()
	for section := range s.sections {
		if section != "" {
			known = append(known, section)
		}
	}
	slices.Sort(known)
	if near := nearest.Word(key, known); near != "" {
		return near
	}
	word := key[strings.LastIndexByte(key, '.')+1:]
	for _, k := range known {
		if strings.HasSuffix(k, "."+word) {
			return k
		}
	}
	return ""
}
