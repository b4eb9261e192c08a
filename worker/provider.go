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
	// Lookup asks the service. [*lookup.Client] is one.
	Lookup interface {
		Lookup(ctx context.Context, name string) (lookup.Answer, error)
	}
	// Pictures fetches what the service's answers point to, under the guard
	// and the exceptions of this provider. [*fetch.Client] is one.
	Pictures interface {
		Do(ctx context.Context, r fetch.Request) (*fetch.Response, error)
	}
	// Credentials, if set, returns the headers that go with a picture's
	// request to the lookup's own origin, and that origin.
	Credentials func() (fetch.Request, error)
	// LookupLimits and PictureLimits are what the service allows.
	LookupLimits, PictureLimits lookup.Limits
}
