package fetch

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"unicode"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/netguard"
)

// stage is how far an exchange had come.
type stage int

const (
	onConnection stage = iota // no whole header yet
	inBody
)

// failed names err, which ended the exchange at stage s. The result does not
// wrap err, since causes of net/http hold URLs and headers.
func (x *exchange) failed(err error, s stage) error {
	at := "get " + netguard.RedactURL(x.url.String())
	if e, ok := errors.AsType[*failure.Error](err); ok {
		return e
	}
	if errors.Is(x.caller.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", at, context.Canceled)
	}
	if x.conns > maxConns {
		return failure.Newf(failure.ReasonNetwork, failure.Temporary, "%s: the host closed %d connections without an answer", at, maxConns)
	}
	if x.ctx.Err() != nil {
		return failure.Newf(failure.ReasonTimeout, failure.Temporary, "%s: no whole answer in time (at most %v)", at, x.timeout)
	}
	reason, kind := classify(err, s)
	hint := ""
	if unreached(err) {
		hint = x.hint
	}
	e := failure.Newf(reason, kind, "%s: %s%s", at, words(err, s), hint)
	e.Unreached = unreached(err) && !x.sentOn
	return e
}

// unreached reports whether there never was a connection.
func unreached(err error) bool {
	_, dns := errors.AsType[*net.DNSError](err)
	op, ok := errors.AsType[*net.OpError](err)
	return dns || ok && op.Op == "dial"
}

func words(err error, s stage) string {
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return printable(err.Error())
	case s == inBody:
		return "the body ended early"
	default:
		return "the connection was closed before an answer"
	}
}

func classify(err error, s stage) (failure.Reason, failure.Kind) {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return failure.ReasonDNS, failure.Temporary
	}
	if timeout, ok := errors.AsType[net.Error](err); (ok && timeout.Timeout()) || errors.Is(err, os.ErrDeadlineExceeded) {
		return failure.ReasonTimeout, failure.Temporary
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return failure.ReasonTLS, failure.Final
	}
	if s == inBody {
		if garbled(err) {
			return failure.ReasonTruncated, failure.Temporary
		}
		return failure.ReasonNetwork, failure.Temporary
	}
	if inHandshake(err) {
		return failure.ReasonTLS, failure.Temporary
	}
	if headerTooLarge(err) {
		return failure.ReasonTooLarge, failure.Final
	}
	return failure.ReasonNetwork, failure.Temporary
}

// headerTooLarge reads texts, since net/http has no type for it. The tests
// hold them, for HTTP/1 and HTTP/2.
func headerTooLarge(err error) bool {
	text := err.Error()
	return strings.Contains(text, "response headers exceeded") ||
		strings.Contains(text, "header list larger") ||
		strings.Contains(text, "header list too large")
}

// garbled reports whether a body ended early or is not what it claims to be.
func garbled(err error) bool {
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	return corrupt ||
		errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) ||
		strings.Contains(err.Error(), "chunk")
}

// inHandshake reports whether TLS could not begin. Its alerts come as an
// *net.OpError, its other complaints as mere texts.
func inHandshake(err error) bool {
	_, record := errors.AsType[tls.RecordHeaderError](err)
	op, ok := errors.AsType[*net.OpError](err)
	alert := ok && (op.Op == "remote error" || op.Op == "local error")
	return record || alert || strings.HasPrefix(err.Error(), "tls: ")
}

// shownBytes is how much of a cause an error shows.
const shownBytes = 300

// printable makes text that strangers had a part in fit for logs.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > shownBytes {
		s = strings.ToValidUTF8(s[:shownBytes], "") + "…"
	}
	return s
}
