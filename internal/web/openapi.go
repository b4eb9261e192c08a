package web

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"go.yaml.in/yaml/v3"
)

// openAPIText describes the API (OpenAPI 3.1).
//
//go:embed openapi.yaml
var openAPIText []byte

// openAPIJSON returns the description as JSON, with the version of the program.
func openAPIJSON(version string) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openAPIText, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	if info, ok := doc["info"].(map[string]any); ok {
		info["version"] = version
	}
	return json.Marshal(doc)
}

func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) error {
	data, err := openAPIJSON(s.deps.Version)
	if err != nil {
		return err
	}
	writeTagged(w, r, "application/json", append(data, '\n'))
	return nil
}
