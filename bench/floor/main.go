// Command floor is the least that any program must do for a file of names:
// two GETs and one atomic file each, concurrency bounded, nothing checked,
// nothing kept but the file, nothing tried again. It is what the benchmark
// measures everything else against, and of no other use.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

func main() {
	var f floor
	file := flag.String("file", "", "file of names")
	concurrency := flag.Int("concurrency", 100, "names in flight")
	flag.StringVar(&f.base, "url", "", "where to ask")
	flag.StringVar(&f.out, "out", "", "folder for the pictures")
	flag.BoolVar(&f.sync, "fsync", false, "sync each file and its folder")
	flag.Parse()
	// As many idle connections as requests: else each is dialled anew.
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *concurrency, DisableCompression: true}}
	if err := f.run(*file, *concurrency); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

type floor struct {
	client    *http.Client
	base, out string
	sync      bool
}

func (f *floor) run(file string, concurrency int) error {
	names, err := os.Open(file)
	if err != nil {
		return err
	}
	defer names.Close()
	var g errgroup.Group
	g.SetLimit(concurrency)
	lines := bufio.NewScanner(names)
	for lines.Scan() {
		name := lines.Text()
		g.Go(func() error { return f.harvest(name) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return lines.Err()
}

func (f *floor) harvest(name string) error {
	var answer struct {
		Result struct {
			Picture string `json:"picture"`
		} `json:"result"`
	}
	err := f.get(f.base+"/?name="+url.QueryEscape(name), func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&answer)
	})
	if err != nil {
		return err
	}
	return f.get(answer.Result.Picture, func(body io.Reader) error {
		return f.write(path.Base(answer.Result.Picture), body)
	})
}

func (f *floor) get(url string, use func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return use(resp.Body)
}

func (f *floor) write(name string, body io.Reader) error {
	temp := filepath.Join(f.out, name+".tmp")
	w, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(w, body); err != nil {
		return err
	}
	if f.sync {
		if err := w.Sync(); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(f.out, name)); err != nil || !f.sync {
		return err
	}
	folder, err := os.Open(f.out)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
