package check

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// variables stand in a dashboard's expressions for what Grafana puts there.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$job", ".+")

func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../grafana/harvest.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	taken := make(map[[2]int]string)
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(target.Expr)); err != nil {
				t.Errorf("panel %q: %v: %s", p.Title, err, target.Expr)
			}
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" || at[0] >= 24 {
					t.Fatalf("panel %q lies on %q or outside at %v", p.Title, other, at)
				}
				taken[at] = p.Title
			}
		}
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	for _, r := range groups.Groups[0].Rules {
		if time.Duration(r.For) > time.Hour {
			t.Errorf("%s waits for %v", r.Alert, time.Duration(r.For))
		}
	}
}
