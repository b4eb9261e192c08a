package results_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// typical is a name of 22 bytes, and typicalLookup and typicalPicture are what
// becomes of it: three attributes, a URL of 120 bytes, licence and attribution.
func typical(i int) string { return fmt.Sprintf("Gamma Velorum No %05d", i) }

func typicalLookup(i int) results.Lookup {
	url := fmt.Sprintf("https://upload.pictures.test/%05d/", i)
	return results.Lookup{
		Attributes: []results.Attribute{
			{Name: "born", Value: "1940-11-27"}, {Name: "country", Value: "United States"}, {Name: "field", Value: "martial arts"},
		},
		Pictures: [][]string{{url + strings.Repeat("x", 120-len(url))}},
		Licence:  "CC-BY-SA-4.0", Attribution: "Photo by A. Photographer", Source: "https://wiki.test/Q16397",
	}
}

func typicalPicture(i int) results.Picture {
	return results.Picture{
		Kind: "jpeg", Bytes: 31234, Width: 640, Height: 480, SHA256: strings.Repeat("A", 43),
		Key: fmt.Sprintf("names/%s.jpg", strings.ReplaceAll(typical(i), " ", "_")),
	}
}

func usedMemory(t *testing.T, rdb *redis.Client) int64 {
	t.Helper()
	_, rest, _ := strings.Cut(rdb.Info(t.Context(), "memory").Val(), "used_memory:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	noError(t, err)
	return n
}

// finishAll takes n names, i to i+n-1, through all their steps.
func finishAll(ctx context.Context, db *results.DB, e *results.Enqueuing, first, n int) error {
	for i := first; i < first+n; i++ {
		name := typical(i)
		added, err := e.Add(ctx, tasks.Shard(name, e.Shards()), []results.Line{{Number: int64(i + 1), Name: name}})
		if err != nil {
			return err
		}
		if err := finishOne(ctx, db, added[0].Ref, i); err != nil {
			return err
		}
	}
	return nil
}

func finishOne(ctx context.Context, db *results.DB, ref tasks.Ref, i int) error {
	if _, err := db.Begin(ctx, ref, results.LookupRank); err != nil {
		return err
	}
	if ok, err := db.CommitLookup(ctx, ref, results.Found, typicalLookup(i)); err != nil || !ok {
		return fmt.Errorf("commit lookup: %v, %w", ok, err)
	}
	if _, err := db.Begin(ctx, ref, 1); err != nil {
		return err
	}
	if ok, err := db.CommitPicture(ctx, ref, 1, typicalPicture(i)); err != nil || !ok {
		return fmt.Errorf("commit picture: %v, %w", ok, err)
	}
	return nil
}

func TestAFinishedNameIsSmall(t *testing.T) {
	t.Parallel()
	const names, workers, most, aim = 10_000, 8, 1024, 600
	rdb := redistest.Start(t, "--appendonly", "no").Client()
	db := results.New(rdb, "")
	e, err := db.Open(t.Context(), "names", "people", "names.txt", 1)
	noError(t, err)
	noError(t, finishAll(t.Context(), db, e, names, 100)) // scripts and buffers
	before := usedMemory(t, rdb)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			if err := finishAll(t.Context(), db, e, w*names/workers, names/workers); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	size := (usedMemory(t, rdb) - before) / names
	t.Logf("a finished name takes %d bytes; the aim of %d is met: %v", size, aim, size <= aim)
	if size > most {
		t.Errorf("a finished name takes %d bytes; want at most %d", size, most)
	}
}

// finishAtOnce is finishOne where the lookup's run has the picture too.
func finishAtOnce(ctx context.Context, db *results.DB, ref tasks.Ref, i int) error {
	if _, err := db.Begin(ctx, ref, results.LookupRank); err != nil {
		return err
	}
	ok, err := db.CommitLookup(ctx, ref, results.Found, typicalLookup(i), results.Stored{Rank: 1, Picture: typicalPicture(i)})
	if err != nil || !ok {
		return fmt.Errorf("commit: %v, %w", ok, err)
	}
	return nil
}

// BenchmarkName is what one name costs between its tasks: the begins and the
// commits, in one run or in a task for each step. redis-ns/op is the time that the scripts
// themselves hold Redis up, the only cost that no further worker can share.
func BenchmarkName(b *testing.B) {
	for _, tc := range []struct {
		name     string
		parallel int
		finish   func(context.Context, *results.DB, tasks.Ref, int) error
	}{
		{"one run, parallel 1", 1, finishAtOnce},
		{"one run, parallel 64", 64, finishAtOnce},
		{"two tasks, parallel 64", 64, finishOne},
	} {
		b.Run(tc.name, func(b *testing.B) {
			rdb := redistest.Start(b, "--appendonly", "no").Client()
			db := results.New(rdb, "")
			e, err := db.Open(b.Context(), "names", "people", "names.txt", 1)
			if err != nil {
				b.Fatal(err)
			}
			lines := make([]results.Line, 0, 500)
			var refs []tasks.Ref
			for i := range b.N {
				if lines = append(lines, results.Line{Number: int64(i + 1), Name: typical(i)}); len(lines) == cap(lines) || i == b.N-1 {
					added, err := e.Add(b.Context(), 0, lines)
					if err != nil {
						b.Fatal(err)
					}
					for _, a := range added {
						refs = append(refs, a.Ref)
					}
					lines = lines[:0]
				}
			}
			var next atomic.Int64
			b.SetParallelism(tc.parallel)
			b.ReportAllocs()
			if err := rdb.ConfigResetStat(b.Context()).Err(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(next.Add(1)) - 1
					if err := tc.finish(b.Context(), db, refs[i], i); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(scriptTime(b, rdb)/float64(b.N), "redis-ns/op")
		})
	}
}

// scriptTime is how long the scripts have run, in ns, by Redis's own count.
func scriptTime(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	stats := rdb.Info(b.Context(), "commandstats").Val()
	_, rest, _ := strings.Cut(stats, "cmdstat_evalsha:")
	_, rest, _ = strings.Cut(rest, "usec=")
	usec, _, _ := strings.Cut(rest, ",")
	n, err := strconv.ParseFloat(usec, 64)
	if err != nil {
		b.Fatalf("no time of scripts in %q: %v", stats, err)
	}
	return n * 1000
}
