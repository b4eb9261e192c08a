package cli

import (
	"net/url"
	"path/filepath"
	"strings"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/redisconn"
)

// defaultData is where commands look by themselves.
const defaultData = "harvest-data"

// next is a command line to type after this one: harvest with words, and the
// flags that lead a command to where a looks.
func next(a *app.App, words ...string) string {
	line := append([]string{"harvest"}, words...)
	s := a.Settings
	switch {
	case a.Embedded != nil:
		if filepath.Clean(s.Data) != defaultData {
			line = append(line, "--data", s.Data)
		}
	case !s.Redis.IsSet():
		line = append(line, "--redis", redisconn.DefaultURL)
	default:
		// Secrets are never shown, and sentinels or a cluster are no flags:
		// such settings come from a file or the environment, as they will then.
		if u, err := url.Parse(s.Redis.URL); err == nil && u.Scheme != "" && u.User == nil && u.RawQuery == "" {
			line = append(line, "--redis", s.Redis.URL)
		}
	}
	if s.Redis.Namespace != "" {
		line = append(line, "--namespace", s.Redis.Namespace)
	}
	for i, word := range line {
		line[i] = quoteArg(word)
	}
	return strings.Join(line, " ")
}
