// Command naive does the work as a tutorial on asynq would: one client, one
// server, two task types, a shared http.Client, whole bodies in memory, plain
// files, and the results in a Redis hash. The benchmark measures against it
// what care is worth; it keeps none of the promises that harvest makes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	typeLookup  = "lookup"
	typePicture = "picture"
	// resultsKey is the hash of name to file.
	resultsKey = "results"
)

func main() {
	redisAddr := flag.String("redis", "127.0.0.1:6379", "host:port of Redis")
	file := flag.String("enqueue", "", "enqueue the names of this file and end; else work until a signal")
	concurrency := flag.Int("concurrency", 100, "tasks in flight")
	baseURL := flag.String("url", "", "where to ask")
	out := flag.String("out", "", "folder for the pictures")
	flag.Parse()

	opt := asynq.RedisClientOpt{Addr: *redisAddr}
	client := asynq.NewClient(opt)
	defer client.Close()
	var err error
	if *file != "" {
		err = enqueue(client, *file)
	} else {
		n := naive{
			queue: client, redis: redis.NewClient(&redis.Options{Addr: *redisAddr}),
			http: &http.Client{Timeout: 30 * time.Second}, base: *baseURL, out: *out,
		}
		err = n.work(opt, *concurrency)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "naive:", err)
		os.Exit(1)
	}
}

type lookupPayload struct {
	Name string `json:"name"`
}

type picturePayload struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

func enqueue(client *asynq.Client, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := push(client, typeLookup, lookupPayload{lines.Text()}); err != nil {
			return err
		}
	}
	return lines.Err()
}

func push(client *asynq.Client, kind string, payload any) error {
	b, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	_, err = client.Enqueue(asynq.NewTask(kind, b))
	return err
}

type naive struct {
	queue     *asynq.Client
	redis     *redis.Client
	http      *http.Client
	base, out string
}

func (n *naive) work(opt asynq.RedisClientOpt, concurrency int) error {
	mux := asynq.NewServeMux()
	mux.HandleFunc(typeLookup, n.lookup)
	mux.HandleFunc(typePicture, n.picture)
	return asynq.NewServer(opt, asynq.Config{Concurrency: concurrency, LogLevel: asynq.WarnLevel}).Run(mux)
}

func (n *naive) lookup(ctx context.Context, t *asynq.Task) error {
	var p lookupPayload
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return err
	}
	body, err := n.get(ctx, n.base+"/?name="+url.QueryEscape(p.Name))
	if err != nil {
		return err
	}
	var answer struct {
		Result struct {
			Picture string `json:"picture"`
		} `json:"result"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if answer.Result.Picture == "" {
		return errors.New("no picture")
	}
	return push(n.queue, typePicture, picturePayload{p.Name, answer.Result.Picture})
}

func (n *naive) picture(ctx context.Context, t *asynq.Task) error {
	var p picturePayload
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return err
	}
	body, err := n.get(ctx, p.URL)
	if err != nil {
		return err
	}
	file := filepath.Join(n.out, path.Base(p.URL))
	if err := os.WriteFile(file, body, 0o644); err != nil { //nolint:gosec // as the tutorial has it
		return err
	}
	return n.redis.HSet(ctx, resultsKey, p.Name, file).Err()
}

func (n *naive) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
