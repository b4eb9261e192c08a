package worker

import (
	"context"
	"net/http"

	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// known is what is known of a picture of a name that is asked again. The zero
// value is that of any other picture: nothing.
type known struct {
	// picture of the same rank in the last good record, nil where it has none.
	picture *results.Picture
	// there: its file is in the store, and as long as it should be.
	there bool
	// same: it came from the URL that is to be asked.
	same bool
	// taken are the keys of the last good record.
	taken map[string]bool
}

// known looks up what the last good record has in the place of the picture.
func (s *pictureStep) known(ctx context.Context, b results.Begun, rawURL string) known {
	if b.Good == nil {
		return known{}
	}
	k := known{taken: make(map[string]bool)}
	for _, o := range b.Good.Outcomes {
		if o.Picture != nil {
			k.taken[o.Picture.Key] = true
		}
	}
	k.picture = b.Good.Outcomes[s.rank].Picture
	if k.picture == nil {
		return k
	}
	info, err := s.store.Stat(ctx, k.picture.Key)
	k.there = err == nil && info.Size == k.picture.Bytes
	if l := b.Good.Lookup; l != nil && s.rank <= len(l.Pictures) && k.picture.Candidate < len(l.Pictures[s.rank-1]) {
		k.same = l.Pictures[s.rank-1][k.picture.Candidate] == rawURL
	}
	return k
}

// asks reports whether the request may be a conditional one. An answer that
// nothing has changed is no help where the file is missing.
func (k known) asks() bool { return k.there && k.same && k.picture.Validator != "" }

// condition makes r a conditional request if there is something to compare.
func (k known) condition(r *fetch.Request) {
	if !k.asks() {
		return
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	fetch.SetCondition(r.Header, k.picture.Validator)
}

// holds reports whether resp says that what is known is still right.
func (k known) holds(resp *fetch.Response) bool {
	return k.asks() && resp.Status == http.StatusNotModified
}

// key returns where bytes with that hash are stored, whose own key is plain:
// where they are already; or under a key of the generation's own rather than
// over a picture that is shown until the generation has ended well.
func (k known) key(sha256, plain string, generation int64) string {
	switch {
	case k.picture != nil && k.picture.SHA256 == sha256:
		return k.picture.Key
	case k.taken[plain]:
		return storage.RenewedKey(plain, generation)
	}
	return plain
}
