package fetch_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/netguard"
)

// BenchmarkDo compares an exchange with one of net/http alone; the difference
// is ours.
func BenchmarkDo(b *testing.B) {
	picture := make([]byte, 30_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(picture)
	}))
	b.Cleanup(server.Close)

	b.Run("fetch", func(b *testing.B) {
		guard, err := netguard.New([]string{server.Listener.Addr().String()})
		if err != nil {
			b.Fatal(err)
		}
		client, err := fetch.New(fetch.Config{UserAgent: "harvest/test", Timeout: time.Minute, MaxBytes: 1 << 20, MaxRedirects: 5, Guard: guard})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.CloseIdle)
		b.ReportAllocs()
		for b.Loop() {
			resp, err := client.Do(b.Context(), fetch.Request{URL: server.URL})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	b.Run("floor", func(b *testing.B) {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableCompression: true}}
		b.Cleanup(client.CloseIdleConnections)
		b.ReportAllocs()
		for b.Loop() {
			resp, err := client.Get(server.URL)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
}
