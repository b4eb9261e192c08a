package lookup

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/picharvest/picharvest/internal/failure"
)

// Bounds of the pages of one lookup.
const (
	defaultPages = 10
	maxPages     = 100
	// MaxPictures bounds Query.MaxPictures and pictures.max.
	MaxPictures = 1000
)

// nextRule says how further pages of one lookup are asked for.
type nextRule struct {
	// path of the next page's URL or, with a url, of the value in it. Empty:
	// the value is how many there were so far, of which each page had count.
	path, count string
	url         *urlTemplate // of {name} and {value}
	// until: a page of which one of these holds is the last.
	until []condition
	// pages bounds them, the first included.
	pages int
}

// pages reports whether q is to be asked over several pages: only where
// somebody said how many pictures there shall be, since each page is a
// request.
func (d *Definition) pages(q Query) bool {
	return d.next != nil && (q.MaxPictures > 0 || d.Pictures.maxWritten)
}

// mostPictures bounds the pictures of q's answer.
func (d *Definition) mostPictures(q Query) int {
	if q.MaxPictures > 0 {
		return min(q.MaxPictures, MaxPictures)
	}
	return d.Pictures.Max
}

// turnPages takes the answer to q from its first page and from as many more as
// it takes to have the pictures that are wanted.
func (c *Client) turnPages(ctx context.Context, q Query, reply Reply, secrets []string) (Answer, error) {
	d := c.def
	book := booklet{def: d, q: q, asked: []string{reply.URL}}
	for {
		bounded, cancel := context.WithTimeout(ctx, d.Timeout)
		root, known, err := d.read(reply, secrets, c.second(ctx, bounded))
		cancel()
		if err != nil {
			return Answer{}, err
		}
		more, err := book.add(root, known)
		if err != nil || more == "" {
			return book.answer, err
		}
		if reply, err = c.page(ctx, q, more); err != nil {
			return Answer{}, err
		}
	}
}

// page asks for one more page when its turn has come.
func (c *Client) page(ctx context.Context, q Query, pageURL string) (Reply, error) {
	if q.Turn != nil {
		if err := q.Turn(ctx); err != nil {
			return Reply{}, err
		}
	}
	req, _, err := c.def.requestTo(pageURL, c.secrets)
	if err != nil {
		return Reply{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, c.def.Timeout)
	defer cancel()
	reply, err := c.exchange(bounded, c.ex, req)
	if err != nil {
		return Reply{}, c.exchangeError(ctx, err)
	}
	return reply, nil
}

// booklet puts the pages of one lookup together.
type booklet struct {
	def    *Definition
	q      Query
	answer Answer
	asked  []string
	count  int64
}

// add takes in one page, and returns the URL of the next or "".
func (b *booklet) add(root answers, known bool) (more string, err error) {
	first := len(b.asked) == 1
	if !known {
		if first {
			b.answer.Verdict = NotFound
		}
		return "", nil
	}
	page, err := b.def.take(b.q, root)
	if err != nil {
		return "", err
	}
	if first {
		b.answer = page
	} else {
		b.join(page)
	}
	if len(b.answer.Pictures) >= b.def.mostPictures(b.q) || len(b.asked) >= b.def.next.pages {
		return "", nil
	}
	more, err = b.next(root.first)
	if more == "" || err != nil || slices.Contains(b.asked, more) {
		return "", err
	}
	b.asked = append(b.asked, more)
	b.answer.Next = append(b.answer.Next, more)
	return more, nil
}

// join adds the pictures of a further page. A record has one licence, so a
// page under another one is left out; who made the pictures is told of all.
func (b *booklet) join(page Answer) {
	a := &b.answer
	if page.Verdict != Found {
		return
	}
	if a.Verdict != Found {
		a.Verdict, a.Licence, a.Attribution = Found, page.Licence, page.Attribution
	}
	if page.Licence != a.Licence {
		return
	}
	some := false
	for _, p := range page.Pictures {
		same := func(o Picture) bool { return o.Candidates[0] == p.Candidates[0] }
		if len(a.Pictures) >= b.def.mostPictures(b.q) || slices.ContainsFunc(a.Pictures, same) {
			continue
		}
		a.Pictures, some = append(a.Pictures, p), true
	}
	if !some || page.Attribution == "" || slices.Contains(strings.Split(a.Attribution, "; "), page.Attribution) {
		return
	}
	all := page.Attribution
	if a.Attribution != "" {
		all = a.Attribution + "; " + page.Attribution
	}
	a.Attribution = cut(all, maxCreditBytes)
	a.Truncated = a.Truncated || len(all) > maxCreditBytes
}

// next returns the URL of the page after one, "" where that is the last.
func (b *booklet) next(page gjson.Result) (string, error) {
	d, rule := b.def, b.def.next
	if anyHolds(rule.until, page) {
		return "", nil
	}
	var value string
	if rule.count != "" {
		n := page.Get(rule.count).Int()
		if n <= 0 {
			return "", nil
		}
		b.count += n
		value = strconv.FormatInt(b.count, 10)
	} else {
		v := page.Get(rule.path)
		if isEmpty(v) || v.Type == gjson.False {
			return "", nil
		}
		var ok bool
		if value, ok = plain(v); !ok {
			return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
				"the answer of %s has %s at %s, where the next page was due", d.Name, kindOf(v), rule.path)
		}
	}
	if rule.url != nil {
		u, err := rule.url.expand(d.BaseURL, b.q.Name, value)
		if err != nil {
			return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary, "the next page of %s: %w", d.Name, err)
		}
		return u, nil
	}
	return b.follow(value)
}

// follow returns the URL that an answer names, if it is of the lookup's origin.
func (b *booklet) follow(ref string) (string, error) {
	u := resolve(b.asked[len(b.asked)-1], ref)
	to, err := url.Parse(u)
	if err != nil || to.User != nil || to.Scheme+"://"+strings.ToLower(to.Host) != b.def.Origin() || len(u) > maxURLBytes {
		return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
			"the answer of %s leads to a next page that is not at %s", b.def.Name, b.def.Origin())
	}
	return u, nil
}
