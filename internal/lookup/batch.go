package lookup

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/picharvest/picharvest/internal/failure"
)

const (
	// maxTogether bounds the names in one request, whatever a definition says.
	maxTogether = 500
	// maxTogetherBytes bounds the URL of a request for several names, below
	// what common servers take: a name that finds no room goes in the next.
	maxTogetherBytes = 6 << 10
	// maxRenames is how often a service may say that it read a name otherwise.
	maxRenames = 10
)

// batch says how one request asks about many names, and how each of them finds
// its record in the answer.
type batch struct {
	max       int
	separator string
	// barred: the service has no name with the separator in it. Otherwise
	// such a name goes alone.
	barred bool
	// records is the path of the list of records, name that of the name in each.
	records, name string
	renamed       []renaming
	// missing: a name without a record is not found. Otherwise its answer is
	// a bad one.
	missing bool
	answer  answerRules
}

// renaming is a list in an answer that says how names were read: from became to.
// Where encoded leads to true, from is percent-encoded.
type renaming struct{ list, from, to, encoded string }

// Result is what became of one name of several.
type Result struct {
	Answer Answer
	// Err is a failure of this name alone.
	Err error
}

// Together is how many names one request may ask about, 1 where the service
// takes one.
func (d *Definition) Together() int {
	if d.batch == nil {
		return 1
	}
	return d.batch.max
}

// Together is the definition's.
func (c *Client) Together() int { return c.def.Together() }

// Fit reports whether one request may ask about all of qs.
func (c *Client) Fit(qs []Query) bool {
	if len(qs) > c.def.Together() {
		return false
	}
	u, err := c.def.urlOf(c.def.askable(qs))
	return err == nil && len(u) <= maxTogetherBytes
}

// LookupMany asks about all of qs, which must fit, in one request, and returns
// what became of each, in their order. Its error is every name's: those of
// [Client.Lookup].
func (c *Client) LookupMany(ctx context.Context, qs []Query) ([]Result, error) {
	d := c.def
	if d.batch == nil {
		return nil, fmt.Errorf("provider %s takes one name a request", d.Name)
	}
	some := d.askable(qs)
	if len(some) == 0 {
		return notFound(len(qs)), nil
	}
	req, used, err := d.requestFor(some, c.secrets)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	reply, err := c.exchange(bounded, c.ex, req)
	if err != nil {
		return nil, c.exchangeError(ctx, err)
	}
	return d.extractMany(qs, reply, used)
}

// askable returns those of qs that the service can have, each name once.
func (d *Definition) askable(qs []Query) []Query {
	some := make([]Query, 0, len(qs))
	for _, q := range qs {
		same := func(o Query) bool { return o.Name == q.Name }
		if !d.batch.bars(q.Name) && !slices.ContainsFunc(some, same) {
			some = append(some, q)
		}
	}
	return some
}

func (b *batch) bars(name string) bool {
	return b != nil && b.barred && strings.Contains(name, b.separator)
}

// urlOf returns the URL that asks about all of qs. One whose name has the
// separator in it stands alone.
func (d *Definition) urlOf(qs []Query) (string, error) {
	if len(qs) == 1 {
		t, err := d.url.forQuery(qs[0])
		if err != nil {
			return "", err
		}
		return t.expand(d.BaseURL, qs[0].Name)
	}
	var parts []string
	for i, q := range qs {
		if strings.Contains(q.Name, d.batch.separator) {
			return "", fmt.Errorf("the name %q holds %q and goes alone", printable(q.Name, 60), d.batch.separator)
		}
		// Each is held to what holds for one.
		if _, err := d.url.expand(d.BaseURL, q.Name); err != nil {
			return "", err
		}
		if i > 0 {
			parts = append(parts, d.batch.separator)
		}
		parts = append(parts, q.Name)
	}
	return d.url.expandAll(d.BaseURL, parts), nil
}

// expandAll is expand for what stands side by side in the place of one name:
// each part is escaped for itself.
func (t urlTemplate) expandAll(base string, parts []string) string {
	var b strings.Builder
	if t.base {
		b.WriteString(base)
	}
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if !p.hole {
			continue
		}
		for _, part := range parts {
			b.WriteString(p.escape(part))
		}
	}
	return b.String()
}

// extractMany takes the record of each of qs from reply.
func (d *Definition) extractMany(qs []Query, reply Reply, secrets []string) ([]Result, error) {
	all := notFound(len(qs))
	root, known, err := d.understand(d.answer, reply, secrets)
	if err != nil || !known {
		return all, err
	}
	records := make(map[string]gjson.Result)
	root.Get(d.batch.records).ForEach(func(_, item gjson.Result) bool {
		if name, ok := plain(item.Get(d.batch.name)); ok {
			if _, twice := records[name]; !twice {
				records[name] = item
			}
		}
		return true
	})
	names := d.batch.renames(root)
	for i, q := range qs {
		if d.batch.bars(q.Name) {
			continue
		}
		item, ok := records[names.of(q.Name)]
		if !ok {
			if !d.batch.missing {
				all[i] = Result{Err: failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
					"the answer of %s has no record of %q: if that means that it does not know the name, write batch.missing: not_found",
					d.Name, printable(names.of(q.Name), 60))}
			}
			continue
		}
		all[i].Answer, all[i].Err = d.one(q, reply, item, secrets)
	}
	return all, nil
}

func notFound(n int) []Result {
	return slices.Repeat([]Result{{Answer: Answer{Verdict: NotFound}}}, n)
}

// one judges the record of one name and takes from it.
func (d *Definition) one(q Query, reply Reply, item gjson.Result, secrets []string) (Answer, error) {
	known, err := d.judge(d.batch.answer, reply, item, secrets)
	if err != nil {
		return Answer{}, err
	}
	if !known {
		return Answer{Verdict: NotFound}, nil
	}
	return d.take(q, answers{first: item, firstURL: reply.URL})
}

// renames are the lists of renamed names, in the order in which they are
// followed.
type renames []map[string]string

func (b *batch) renames(root gjson.Result) renames {
	all := make(renames, len(b.renamed))
	for i, r := range b.renamed {
		all[i] = make(map[string]string)
		root.Get(r.list).ForEach(func(_, item gjson.Result) bool {
			from, ok := plain(item.Get(r.from))
			to, too := plain(item.Get(r.to))
			if !ok || !too {
				return true
			}
			if r.encoded != "" && item.Get(r.encoded).Bool() {
				if decoded, err := url.PathUnescape(from); err == nil {
					from = decoded
				}
			}
			all[i][from] = to
			return true
		})
	}
	return all
}

// of returns what the service calls name.
func (r renames) of(name string) string {
	for _, list := range r {
		for range maxRenames {
			to, ok := list[name]
			if !ok || to == name {
				break
			}
			name = to
		}
	}
	return name
}
