package worker

import (
	"fmt"
	"sync"

	"github.com/picharvest/picharvest/internal/results"
)

// maxChosen bounds the providers with params that are kept.
const maxChosen = 256

// roster has the providers, and those that batches made of them by params.
type roster struct {
	all map[string]*Provider

	mu     sync.Mutex
	chosen map[[2]string]*Provider
}

func newRoster(all map[string]*Provider) *roster {
	return &roster{all: all, chosen: make(map[[2]string]*Provider)}
}

// of returns the provider of the batch that a step belongs to.
func (r *roster) of(b results.Begun) (*Provider, error) {
	p := r.all[b.Provider]
	if p == nil {
		return nil, fmt.Errorf("no definition of provider %q", b.Provider)
	}
	if b.Params == "" {
		if p.Missing != nil {
			return nil, p.Missing
		}
		return p, nil
	}
	if p.With == nil {
		return nil, fmt.Errorf("provider %q takes no params here, and its batch has %s", b.Provider, b.Params)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{b.Provider, b.Params}
	if chosen := r.chosen[key]; chosen != nil {
		return chosen, nil
	}
	chosen, err := p.With(results.DecodeParams(b.Params))
	if err != nil {
		return nil, err
	}
	if len(r.chosen) >= maxChosen {
		clear(r.chosen)
	}
	r.chosen[key] = chosen
	return chosen, nil
}

// must is of for a step that is due, whose provider was there.
func (r *roster) must(b results.Begun) *Provider {
	p, err := r.of(b)
	if err != nil {
		return r.all[b.Provider]
	}
	return p
}
