package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"

	"github.com/minio/minio-go/v7"

	"github.com/picharvest/picharvest/internal/failure"
)

// action is what was asked of the service, and the right that it takes.
type action struct{ doing, right string }

var (
	reading  = action{"read", "s3:GetObject"}
	writing  = action{"put", "s3:PutObject"}
	removing = action{"remove", "s3:DeleteObject"}
	listing  = action{"list", "s3:ListBucket"}
)

// refusal is an answer of the service that is no success.
type refusal struct {
	code   string
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// fail turns an error about key into words with place and cure. Whatever is
// wrong with a bucket no name is to blame for. What the service's answer holds
// beside its code and message is left out.
func (b *bucket) fail(ctx context.Context, a action, key string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*failure.Error](err); ok {
		return err
	}
	cure, cause := b.diagnose(a, err)
	if errors.Is(cause, fs.ErrNotExist) {
		return fmt.Errorf("no object %s/%s: %w", b.place, key, fs.ErrNotExist)
	}
	return failure.New(failure.ReasonStore, failure.Hold, fmt.Errorf("picture store: %s %s/%s: %w; %s", a.doing, b.place, key, cause, cure))
}

// diagnose returns what helps, and the cause, free of the request's URL and
// headers.
func (b *bucket) diagnose(a action, err error) (cure string, cause error) {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return "is the service at its endpoint up, and reached from here? It goes on by itself", err
	}
	text := answer.Code
	if answer.Message != "" && answer.Message != answer.Code {
		text += ": " + answer.Message
	}
	cause = &refusal{answer.Code, answer.StatusCode, text}
	is := func(codes ...string) bool { return slices.Contains(codes, answer.Code) }
	switch {
	case is("NoSuchKey"):
		return "", fs.ErrNotExist
	case is("NoSuchBucket"):
		return "make the bucket " + b.name + ", or give the right region and endpoint", cause
	case is("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed", "InvalidSecurity"):
		return "look at the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials) and at region=…", cause
	case is("RequestTimeTooSkewed"):
		return "set this machine's clock by NTP", cause
	case is("AccessDenied", "AllAccessDisabled", "AccountProblem") || answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return "the credentials in use lack the right " + b.right(a), cause
	case is("XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "StorageFull", "InsufficientStorage") || answer.StatusCode == http.StatusInsufficientStorage:
		return "make room, or raise the quota; it goes on by itself", cause
	case is("PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException", "Moved") || answer.StatusCode/100 == 3:
		return "give the bucket's region=… and endpoint=…", cause
	case is("ObjectLocked", "InvalidObjectState"):
		return "the bucket locks its objects: give one without", cause
	case answer.StatusCode >= 500 || is("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"):
		return "the service asks for time; it goes on by itself", cause
	}
	return "look at the bucket and the service's own words", cause
}

// right names the right that a takes, as a policy does.
func (b *bucket) right(a action) string {
	on := "arn:aws:s3:::" + b.name
	if a == listing {
		return a.right + " on " + on
	}
	return a.right + " on " + on + "/" + b.prefix + "*"
}

func refused(err error, codes ...string) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && slices.Contains(codes, r.code)
}

// isTaken reports that there is an object already that was to be put only
// where there is none, or that another process is putting it.
func isTaken(err error) bool {
	return refused(err, "PreconditionFailed", "ConditionalRequestConflict")
}

// notForTwo reports that the service knows no such condition.
func notForTwo(err error) bool { return refused(err, "NotImplemented") }

// isGarbled reports that the service got other bytes than were sent: another
// upload helps.
func isGarbled(err error) bool {
	return refused(err, "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "RequestTimeout")
}

func isDenied(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && (r.status == http.StatusForbidden || r.code == "AccessDenied")
}
