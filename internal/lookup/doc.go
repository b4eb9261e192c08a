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
//	params:                         # {param.lang}, by --param lang=de
//	  lang: {default: en, description: language of the answers}  # no default: required
//
//	secrets:                        # never a value: where the value is
//	  key: {file: /run/secrets/key}
//	  token: {env: STAFF_TOKEN, optional: true}
//
//	request:
//	  url: "{base}/people?q={name}" # escaped for its place by itself; so is
//	                                # {column.X}, of the name's row in its file
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
//	    html: blocked               # such a status with a web page; or allow: it is the answer
//	    when: [{path: people, is: empty}]       # any of
//	  expect:                       # all of, or the answer is a bad one
//	    - {path: people.0.id, is: present}
//
//	# batch:                        # many names in one request: in the place of then and next
//	#   max: 50
//	#   separator: "|"                # stands between the names where {name} is
//	#   separator_in_name: alone      # such a name goes alone; or not_found: the service has none
//	#   records: people               # the list of records
//	#   name: login                   # of a record: which name it is about
//	#   renamed:                      # lists that say how names were read, followed in this order
//	#     - {list: normalized, from: from, to: to, encoded: fromencoded}
//	#   missing: bad_answer           # or not_found: a name that has no record
//	#   answer:                       # of one record; its error and not_found are that name's alone
//	#     expect: [{path: id, is: present}]
//
//	then:                           # a second request, where one is not enough
//	  path: people.0.id             # of the first answer; nothing there is no picture
//	  url: "{base}/people/{value}/photos"
//	  redirects: same_origin        # or anywhere, under the pictures' guard
//	  answer:                       # not_found here means: known, but no picture
//	    not_found: {status: [404]}
//	    expect: [{path: photos, is: present}]
//
//	next:                           # further pages, up to pictures.max or --max-pictures
//	  path: paging.next             # leads to the next page's URL, of this origin, or to {value} in url
//	  url: "{base}/people?q={name}&after={value}"
//	  until: [{path: paging.last, equals: true}]  # any of: this page is the last
//	  pages: 10                     # at most
//	  # or, in the place of path, count: people.# says how many a page had, and
//	  # {value} is how many there were so far
//
//	attributes:                     # kept in this order, 2 KB in all
//	  phone: people.0.phone
//
//	pictures:
//	  from:                         # each a path, or candidates, best first
//	    - [people.0.photo.large, people.0.photo.small]
//	    - people.0.more.#.url       # a list is several pictures
//	    - then.photos.#.url         # from the second answer
//	    - {path: people.0.mail, url: "https://faces.corp/{value|lower|md5}.jpg"}
//	  max: 10
//	  relative: refuse              # or resolve, against the answer's URL
//	  auth: none                    # or same_origin
//	  robots: honour                # or ignore: these are for API clients
//	  allow: [lookup-origin, "photos.corp:8443", 10.1.0.0/16]
//
//	licence: internal use only      # or {path: ..., otherwise: ...}
//	attribution: {path: people.0.by}
//	source: "https://intranet.corp/people?q={name}" # or {path: ..., url: "https://…/{value}"}
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
//	  - {name: Ada Lovelace, file: samples/staff.http, then: samples/staff-2.http, verdict: found}
//
// A condition says is: missing (nowhere, or null), is: empty (missing, "", []
// or {}), is: present (not empty), or equals: VALUE, which compares the text
// of a string, number or boolean. Filters of {name} and {value} are lower,
// underscore (a space becomes "_"), md5 (of what the former two left; md5:2 is
// its first two hexadecimal digits) and slashes (a slash stays one).
//
// In a definition with then, a path that begins with "then." looks into the
// second answer, all others into the first. The definition's headers go along
// where then.url is of the lookup's own origin. Both requests are one lookup to
// limits.lookup and to timeout: where both go to one host, its limits are half
// of what the service allows.
//
// In a definition with batch all paths but those of answer and batch itself
// look into the record of one name. A name finds its record by what the service
// calls it, whatever the order, and not by its place. An answer that is an error
// is every name's. The URL is kept below 6 KB, by taking fewer names. then and
// next cannot stand beside it.
//
// Each page of a lookup is a request to limits.lookup. Pages are asked for only
// where pictures.max is written or a Query says how many pictures there are to
// be. Everything but the pictures is the first page's. A record has one licence:
// the pictures of a page under another one are left out, and the attributions
// of several are joined by "; ".
//
// A definition with lookup: none has neither request nor answer. Its
// pictures.url is a template of {name} and {column.X}, or one of these alone,
// which is the URL then; all paths lead into an object with name and column.
//
// A param may stand in any URL, and in base_url as one label of the host. A
// URL that is one param and nothing else is the template that its value is.
//
// An error is asked about before not found, so that no rule for a missing
// field takes a service in trouble for one that knows no such name.
package lookup
