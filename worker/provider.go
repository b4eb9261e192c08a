package worker

import (
	"context"

	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
)

// Fetcher makes exchanges. [*fetch.Client] is one.
type Fetcher interface {
	Do(ctx context.Context, r fetch.Request) (*fetch.Response, error)
}

// Provider is one lookup service as the worker sees it.
type Provider struct {
	// Host of the lookup, for records of failures. Empty: nobody is asked, and
	// Service answers by itself.
	Host string
	// Service asks about names. [*lookup.Client] is one.
	Service interface {
		// Revalidate asks about one name, or whether an answer with that
		// validator still holds.
		Revalidate(ctx context.Context, q lookup.Query, validator string) (a lookup.Answer, unchanged bool, err error)
		// PictureRequest returns the request for a picture at url, with the
		// credentials that the provider's own origin may see.
		PictureRequest(url string) (fetch.Request, error)
	}
	// Together, if set, asks about several names in one request.
	Together Together
	// Pictures fetches what the service's answers point to, under the guard
	// and the exceptions of this provider.
	Pictures Fetcher
	// Robots fetches the robots.txt of picture hosts, under the same guard.
	// Nil: they are not asked for.
	Robots Fetcher
	// LookupRobots fetches that of the lookup's host, and LookupURL tells what
	// a lookup asks for. Nil: it is not asked for.
	LookupRobots Fetcher
	LookupURL    func(q lookup.Query) (string, error)
	// With returns the provider with params that are not its defaults, nil
	// where it takes none. Missing says which it cannot do without.
	With    func(params results.Params) (*Provider, error)
	Missing error
	// Version, if set, returns a word without spaces that changes with the
	// service's definition and secrets, so that a service which refused them
	// is asked anew.
	Version func() string
	// LookupLimits and PictureLimits are what the service allows.
	LookupLimits, PictureLimits lookup.Limits
}
