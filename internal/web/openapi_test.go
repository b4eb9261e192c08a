package web

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/recordjson"
)

// openapi.yaml has every operation that there is with its query parameters,
// and no other.
func TestDescriptionHasEveryOperation(t *testing.T) {
	t.Parallel()
	data, err := openAPIJSON("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Info.Version != "1.2.3" {
		t.Errorf("version: got %q", doc.Info.Version)
	}
	want := make(map[string][]string)
	for _, e := range new(Server).endpoints() {
		want[e.method+" "+e.path] = sorted(e.params)
	}
	got := make(map[string][]string)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			params := []string{}
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.In == openapi3.ParameterInQuery {
					params = append(params, p.Value.Name)
				}
			}
			got[method+" "+path] = sorted(params)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations (-routes +openapi.yaml):\n%s", diff)
	}
}

// openapi.yaml has every key that the answers have, and requires those that are
// never left out.
func TestDescriptionHasEveryKey(t *testing.T) {
	t.Parallel()
	data, err := openAPIJSON("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	for schema, v := range map[string]any{
		"Batch": batchJSON{}, "Name": nameJSON{}, "Stale": recordjson.Stale{}, "Event": recordjson.Event{}, "Picture": pictureJSON{},
		"Change": changeJSON{}, "Problem": problem{}, "Preview": previewJSON{}, "Added": addedJSON{},
	} {
		want := keysOf(reflect.TypeOf(v))
		delete(want, "-")
		delete(want, "file") // the commands' alone
		got := make(map[string]bool)
		for key := range doc.Components.Schemas[schema].Value.Properties {
			got[key] = slices.Contains(doc.Components.Schemas[schema].Value.Required, key)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("schema %s (-code +openapi.yaml):\n%s", schema, diff)
		}
	}
}

// keysOf returns the JSON keys of a struct and whether each is always there.
func keysOf(t reflect.Type) map[string]bool {
	keys := make(map[string]bool)
	for f := range t.Fields() {
		if f.Anonymous {
			maps.Copy(keys, keysOf(f.Type))
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys[name] = !strings.Contains(opts, "omit")
	}
	return keys
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
