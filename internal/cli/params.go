package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

// paramFlag is --param, as often as it is given.
type paramFlag []string

// values reads NAME=VALUE.
func (p paramFlag) values() (map[string]string, error) {
	values := make(map[string]string)
	for _, s := range p {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usagef("--param %s: give a name and a value, such as --param lang=de", quoteArg(s))
		}
		if _, twice := values[name]; twice {
			return nil, usagef("--param %s is given twice: leave one of them out", name)
		}
		values[name] = value
	}
	return values, nil
}

// check refuses what def does not take, before it is known which params the
// batch has.
func (p paramFlag) check(def *lookup.Definition) error {
	values, err := p.values()
	if err != nil {
		return err
	}
	_, err = def.WithParams(values)
	if _, missing := errors.AsType[*lookup.MissingParamError](err); missing {
		return nil
	}
	return usageOf(err)
}

// choose returns def with the params of the batch, which are those that were
// given where it is new. Others than it has are refused.
func (p paramFlag) choose(ctx context.Context, a *app.App, def *lookup.Definition, batch string) (*lookup.Definition, error) {
	given, err := p.values()
	if err != nil {
		return nil, err
	}
	b, err := a.DB.Batch(ctx, batch)
	known := err == nil && b.Provider == def.Name
	if ignoreNoBatch(err) != nil {
		return nil, err
	}
	values := maps.Clone(given)
	if known {
		values = maps.Clone(map[string]string(b.Params))
		if values == nil {
			values = make(map[string]string)
		}
		maps.Copy(values, given)
	}
	chosen, err := def.WithParams(values)
	if err != nil {
		return nil, usage(err)
	}
	if known && !maps.Equal(chosen.Given(), b.Params) {
		return nil, &results.ParamsError{Batch: batch, Has: b.Params, Wanted: chosen.Given()}
	}
	return chosen, nil
}

// checkColumns refuses a file without a column that def asks with. Objects may
// have it further on: of these it is only said.
func checkColumns(env *Env, in *namesFile, def *lookup.Definition) error {
	if in.isKnown() {
		return nil
	}
	t := in.file.Table
	for _, column := range def.Columns() {
		switch {
		case t == nil:
			return usagef("provider %s takes the column %q, and %s is a list of lines: give a file with columns (--format csv or jsonl)",
				def.Name, column, in.path)
		case slices.Contains(t.Columns, column) && column != t.Name:
		case column == t.Name:
			return usagef("provider %s takes the column %q, which has the names: write {name} for it, or choose another by --column", def.Name, column)
		case t.Format == names.JSONL:
			fmt.Fprintf(env.Err, "%s: its first object has no %q, which provider %s takes; names without it have no picture, or fail\n", in.path, printable(column), def.Name)
		default:
			return usagef("provider %s takes the column %q, and %s has none of that name%s", def.Name, column, in.path, columnHint(column, t.Columns))
		}
	}
	return nil
}

func columnHint(column string, known []string) string {
	return hint(column, slices.DeleteFunc(slices.Clone(known), func(c string) bool { return c == "" }))
}
