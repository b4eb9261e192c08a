package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"github.com/picharvest/picharvest/internal/demo"
)

// want is what must be on the disk for one name.
type want struct {
	name string
	file string // last element of the picture's URL
	ext  string // of file, without a dot
	sum  [sha256.Size]byte
}

// wanted asks the load server's own code for n names and their pictures.
func wanted(n, pictureBytes int) ([]want, error) {
	s, err := demo.New(demo.Config{People: n, PictureBytes: pictureBytes})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all := make([]want, 0, n)
	for name := range s.Names() {
		if len(all) == n {
			break
		}
		record, err := ask(s, "/?name="+url.QueryEscape(name))
		if err != nil {
			return nil, err
		}
		var answer struct{ Result struct{ Picture string } }
		if err := json.Unmarshal(record, &answer); err != nil {
			return nil, err
		}
		u, err := url.Parse(answer.Result.Picture)
		if err != nil {
			return nil, err
		}
		picture, err := ask(s, u.Path)
		if err != nil {
			return nil, err
		}
		all = append(all, want{name, path.Base(u.Path), path.Ext(u.Path)[1:], sha256.Sum256(picture)})
	}
	return all, nil
}

// ask asks a handler without a network.
func ask(h http.Handler, target string) ([]byte, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://localhost"+target, http.NoBody)
	if err != nil {
		return nil, err
	}
	a := answer{header: make(http.Header), status: http.StatusOK}
	h.ServeHTTP(&a, r)
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", target, a.status)
	}
	return a.body.Bytes(), nil
}

type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// checkFiles compares what lies in dir with what was served: every picture
// byte for byte, and nothing besides but what is hidden. at says where a name's picture is.
func checkFiles(dir string, all []want, at func(want) string) error {
	var errs []error
	problem := func(err error) { errs = append(errs, err) }
	known := make(map[string]bool, len(all))
	for _, w := range all {
		file := filepath.Join(dir, filepath.FromSlash(at(w)))
		known[file] = true
		b, err := os.ReadFile(file)
		switch {
		case err != nil:
			problem(err)
		case sha256.Sum256(b) != w.sum:
			problem(fmt.Errorf("%s: not the picture of %q that was served", file, w.name))
		}
	}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !known[file] && d.Name()[0] != '.' {
			problem(fmt.Errorf("%s: nobody asked for this file", file))
		}
		return err
	})
	return errors.Join(few(errs), err)
}

// askCounts asks the load server what it was asked.
func askCounts(ctx context.Context, base string) (counts demo.Counts, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/-/counts", http.NoBody)
	if err != nil {
		return counts, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return counts, err
	}
	defer resp.Body.Close()
	return counts, json.NewDecoder(resp.Body).Decode(&counts)
}

// checkCounts makes sure that each name's record and picture were asked once,
// or, where answers put us off, not again after a good one.
func checkCounts(counts demo.Counts, all []want, busy bool) error {
	var errs []error
	for _, w := range all {
		c := counts.Names[w.name]
		well := c.Lookups == 1 && c.Pictures == 1
		if busy {
			well = c.Lookups >= 1 && c.Pictures >= 1 && c.Repeats == 0
		}
		if !well {
			errs = append(errs, fmt.Errorf("%q: asked %d times for the record and %d for the picture", w.name, c.Lookups, c.Pictures))
		}
	}
	if n := len(counts.Names); n != len(all) {
		errs = append(errs, fmt.Errorf("asked about %d names, not %d", n, len(all)))
	}
	return few(errs)
}

// few joins the first errors and counts the rest.
func few(errs []error) error {
	const show = 5
	if len(errs) > show {
		errs = append(errs[:show:show], fmt.Errorf("and %d more", len(errs)-show))
	}
	return errors.Join(errs...)
}
