package worker

import (
	"context"

	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
)

// Provider is one lookup service as the worker sees it.
type Provider struct {
	// Host of the lookup, for records of failures.
	Host string
	// Service asks about names. [*lookup.Client] is one.
	Service interface {
		Lookup(ctx context.Context, name string) (lookup.Answer, error)
		// PictureRequest returns the request for a picture at url, with the
		// credentials that the provider's own origin may see.
		PictureRequest(url string) (fetch.Request, error)
	}
	// Pictures fetches what the service's answers point to, under the guard
	// and the exceptions of this provider. [*fetch.Client] is one.
	Pictures interface {
		Do(ctx context.Context, r fetch.Request) (*fetch.Response, error)
	}
	// Version, if set, returns a word without spaces that changes with the
	// service's definition and secrets, so that a service which refused them
	// is asked anew.
	Version func() string
	// LookupLimits and PictureLimits are what the service allows.
	LookupLimits, PictureLimits lookup.Limits
}
