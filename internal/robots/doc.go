// Package robots knows what hosts ask of automatic clients: the rules of
// robots.txt (RFC 9309) and the X-Robots-Tag of an answer. It parses and
// matches rules, remembers them by origin, and says when an answer refuses.
//
// It makes no request by itself and waits for no host: who calls
// [Cache.Check] fetches the file. Crawl-delay, which RFC 9309 does not know,
// is not read: how often a host is asked is the gate's business.
//
// The rules are read by our own code. What there is for Go either decides
// otherwise than the RFC (a tie between Allow and Disallow, product tokens
// that are only the beginning of ours, percent-encoding), gives a whole file
// up for one bad line, or takes seconds to match a hostile one.
package robots
