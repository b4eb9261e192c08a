package demo

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/url"
)

// maxShown is how many names the page offers to click.
const maxShown = 100

//go:embed home
var homeFiles embed.FS

// newHome returns the page for people, written once, and its parts by file
// name.
func newHome(s *Server) (page asset, parts map[string]asset, err error) {
	parts = make(map[string]asset)
	for _, f := range []struct{ name, mime string }{
		{"home.css", "text/css; charset=utf-8"},
		{"home.js", "text/javascript; charset=utf-8"},
	} {
		data, err := homeFiles.ReadFile("home/" + f.name)
		if err != nil {
			return asset{}, nil, err
		}
		parts[f.name] = newAsset(data, f.mime)
	}

	icon, err := newTemplate(style{hair: hairShort, glasses: true}, 0)
	if err != nil {
		return asset{}, nil, fmt.Errorf("draw the icon: %w", err)
	}
	parts["icon.png"] = newAsset(icon.appendTo(nil, 0), kindPNG.mime)

	type link struct{ Name, Path string }
	var view struct {
		Names []link
		More  bool
	}
	for name := range s.Names() {
		if len(view.Names) == maxShown {
			view.More = true
			break
		}
		view.Names = append(view.Names, link{name, "/" + url.PathEscape(name)})
	}
	t, err := template.ParseFS(homeFiles, "home/home.html")
	if err != nil {
		return asset{}, nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, view); err != nil {
		return asset{}, nil, fmt.Errorf("home page: %w", err)
	}
	return newAsset(b.Bytes(), "text/html; charset=utf-8"), parts, nil
}
