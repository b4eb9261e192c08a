// Package lookup asks a JSON HTTP API about a name and takes the record and
// the picture URLs from its answer. How to ask and where to look is data: a
// Definition, read from YAML. A new service needs a new file and no code.
//
// The package does not fetch pictures, does not judge their URLs (they are a
// stranger's, and whoever dials them must), does not wait, and does not try
// again: it says what an answer means, in the words of package failure.
//
// # Definitions
//
// These are all keys; any other is refused. Paths are gjson's
// (github.com/tidwall/gjson/blob/master/SYNTAX.md), @fromstr excepted.
//
//	name: staff                     # a-z 0-9 _ -, at most 32
//	description: Staff directory
//	homepage: https://intranet.corp/api
//	base_url: https://api.corp/v2   # {base}; an operator may set another
//	contact: required               # or optional, the default
//
//	secrets:                        # never a value: where the value is
//	  key: {file: /run/secrets/key}
//	  token: {env: STAFF_TOKEN, optional: true}
//
//	request:
//	  url: "{base}/people?q={name}" # escaped for its place by itself
//	  headers:
//	    X-Api-Key: ${key}
//	    Authorization: Bearer ${token}  # left out while token is empty
//
//	answer:                         # asked in this order:
//	  error:                        # the service reports an error
//	    when: [{path: error, is: present}]      # any of
//	    message: error.text         # its words, for a bad status as well
//	  not_found:
//	    status: [404]
//	    when: [{path: people, is: empty}]       # any of
//	  expect:                       # all of, or the answer is a bad one
//	    - {path: people.0.id, is: present}
//
//	attributes:                     # kept in this order, 2 KB in all
//	  phone: people.0.phone
//
//	pictures:
//	  from:                         # each a path, or candidates, best first
//	    - [people.0.photo.large, people.0.photo.small]
//	    - people.0.more.#.url       # a list is several pictures
//	  max: 10
//	  relative: refuse              # or resolve, against the answer's URL
//	  auth: none                    # or same_origin
//	  allow: [lookup-origin, "photos.corp:8443", 10.1.0.0/16]
//
//	licence: internal use only      # or {path: ..., otherwise: ...}
//	attribution: {path: people.0.by}
//	source: "https://intranet.corp/people?q={name}"
//
//	limits:
//	  lookup: {per_second: 10, per_minute: 100, per_hour: 1000, per_day: 5000, in_flight: 4}
//	  anonymous: {per_hour: 60}     # instead, while an optional secret is empty
//	  picture: {in_flight: 2}       # each picture host
//	tls: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem}
//	timeout: 10s
//	max_bytes: 1MiB
//
//	samples:                        # as curl -si writes them
//	  - {name: Ada Lovelace, file: samples/staff.http, verdict: found}
//
// A condition says is: missing (nowhere, or null), is: empty (missing, "", []
// or {}), is: present (not empty), or equals: VALUE, which compares the text
// of a string, number or boolean. Filters of {name} are lower, underscore (a
// space becomes "_") and slashes (a slash stays one).
//
// An error is asked about before not found, so that no rule for a missing
// field takes a service in trouble for one that knows no such name.
package lookup
