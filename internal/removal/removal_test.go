package removal_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/tasks"
)

// rig is a Redis, a store and what removes from both.
type rig struct {
	t      *testing.T
	rdb    *redis.Client
	db     *results.DB
	store  *file.Store
	remove *removal.Remover
	tasks  *memoryTasks
	shown  results.Picture
}

func setup(t *testing.T) *rig {
	t.Helper()
	store, err := file.New(t.TempDir(), "test")
	noError(t, err)
	t.Cleanup(func() { store.Close() })
	rdb := redistest.Start(t, "--appendonly", "no").Client()
	r := &rig{t: t, rdb: rdb, db: results.New(rdb, ""), store: store, tasks: &memoryTasks{ids: make(map[string]bool)}}
	r.remove = removal.New(removal.Deps{DB: r.db, Store: store, Tasks: r.tasks})
	return r
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memoryTasks holds IDs of tasks that wait.
type memoryTasks struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (m *memoryTasks) Delete(_ context.Context, queue string, ids []string) (n int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if m.ids[queue+" "+id] {
			n++
		}
		delete(m.ids, queue+" "+id)
	}
	return n, nil
}

func (m *memoryTasks) DeleteBatch(context.Context, string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.ids)
	clear(m.ids)
	return int64(n), nil
}

// add adds names to a batch and returns their tasks' references.
func (r *rig) add(batch string, names ...string) map[string]tasks.Ref {
	r.t.Helper()
	e, err := r.db.Open(r.t.Context(), batch, "people", batch+".txt", 2)
	noError(r.t, err)
	refs := make(map[string]tasks.Ref)
	for i, n := range names {
		added, err := e.Add(r.t.Context(), tasks.Shard(n, e.Shards()), []results.Line{{Number: int64(i + 1), Name: n}})
		noError(r.t, err)
		refs[n] = added[0].Ref
	}
	noError(r.t, e.Close(r.t.Context(), true))
	return refs
}

func (r *rig) batch(name string) results.Batch {
	r.t.Helper()
	b, err := r.db.Batch(r.t.Context(), name)
	noError(r.t, err)
	return b
}

// answer records a lookup with one picture.
func (r *rig) answer(ref tasks.Ref) {
	r.t.Helper()
	ok, err := r.db.CommitLookup(r.t.Context(), ref, results.Found, results.Lookup{Pictures: [][]string{{"http://a.test/1.png"}}})
	if err != nil || !ok {
		r.t.Fatalf("commit lookup of %s: %v %v", ref.Name, ok, err)
	}
}

func (r *rig) put(ctx context.Context, key string, data []byte) error {
	w, err := r.store.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit(ctx, key)
}

// picture is what a record has of data; key "" is one by content.
func picture(key string, data []byte) results.Picture {
	sum := sha256.Sum256(data)
	if key == "" {
		key = storage.ContentKey(sum, "png")
	}
	return results.Picture{
		Kind: "png", Bytes: int64(len(data)), Width: 1, Height: 1, Key: key,
		SHA256: base64.RawURLEncoding.EncodeToString(sum[:]),
	}
}

// finish takes a name through both steps; key "" stores by content.
func (r *rig) finish(ref tasks.Ref, key string, data []byte) results.Picture {
	r.t.Helper()
	r.answer(ref)
	p := picture(key, data)
	noError(r.t, r.put(r.t.Context(), p.Key, data))
	ok, err := r.db.CommitPicture(r.t.Context(), ref, 1, p)
	if err != nil || !ok {
		r.t.Fatalf("commit picture of %s: %v %v", ref.Name, ok, err)
	}
	return p
}

func (r *rig) has(key string) bool {
	r.t.Helper()
	_, err := r.store.Stat(r.t.Context(), key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return err == nil
}

func (r *rig) check(what string, got removal.Report, err error, want removal.Report) {
	r.t.Helper()
	noError(r.t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s: report differs (-want +got):\n%s", what, diff)
	}
}

// mentions returns the keys of Redis in which the word stands.
func (r *rig) mentions(word string) []string {
	r.t.Helper()
	var keys []string
	for it := r.rdb.Scan(r.t.Context(), 0, "*", 1000).Iterator(); it.Next(r.t.Context()); {
		k := it.Val()
		var all string
		switch r.rdb.Type(r.t.Context(), k).Val() {
		case "hash":
			all = fmt.Sprint(r.rdb.HGetAll(r.t.Context(), k).Val())
		case "zset":
			all = fmt.Sprint(r.rdb.ZRange(r.t.Context(), k, 0, -1).Val())
		case "set":
			all = fmt.Sprint(r.rdb.SMembers(r.t.Context(), k).Val())
		}
		if strings.Contains(all, word) {
			keys = append(keys, k)
		}
	}
	return keys
}

func TestNothingIsLeftOfAForgottenName(t *testing.T) {
	t.Parallel()
	r := setup(t)
	refs := r.add("staff", "Ada", "Bob")
	ada := r.finish(refs["Ada"], "staff/Ada.png", []byte("ada"))
	bob := r.finish(refs["Bob"], "staff/Bob.png", []byte("bob"))
	archived := "picture-express"
	if s := refs["Ada"].Shard; s > 0 {
		archived += fmt.Sprint("-", s)
	}
	r.tasks.ids[archived+" "+tasks.ID(refs["Ada"], tasks.Pictures, 1)] = true
	b := r.batch("staff")

	got, err := r.remove.Name(t.Context(), b, "Ada")
	r.check("forget", got, err, removal.Report{Names: 1, Pictures: 1, Bytes: 3, Tasks: 1})
	if r.has(ada.Key) || !r.has(bob.Key) {
		t.Errorf("file of Ada is there: %v, of Bob: %v; want only Bob's", r.has(ada.Key), r.has(bob.Key))
	}
	if keys := r.mentions("Ada"); len(keys) > 0 {
		t.Errorf("Redis still knows the name in %q", keys)
	}
	counts, err := r.db.Counts(t.Context(), b)
	noError(t, err)
	if counts.Total() != 1 || counts[results.Done] != 1 {
		t.Errorf("counts are %v, want one that is done", counts)
	}
	if _, err := r.remove.Name(t.Context(), b, "Ada"); !errors.Is(err, results.ErrNoName) {
		t.Errorf("forgetting twice: %v, want ErrNoName", err)
	}
}

func TestAContentGoesWithItsLastName(t *testing.T) {
	t.Parallel()
	r := setup(t)
	one, two := r.add("one", "Ada", "Bob"), r.add("two", "Cyd")
	same := r.finish(one["Ada"], "", []byte("same"))
	other := r.finish(one["Bob"], "", []byte("other"))
	// A copy under a name's own key is another file.
	copied := r.add("three", "Dan")
	r.finish(copied["Dan"], "three/Dan.png", []byte("same"))
	r.finish(two["Cyd"], "", []byte("same"))

	got, err := r.remove.Name(t.Context(), r.batch("one"), "Ada")
	r.check("the first", got, err, removal.Report{Names: 1, Shared: 1})
	if !r.has(same.Key) {
		t.Fatal("a file went that another batch refers to")
	}
	got, err = r.remove.Batch(t.Context(), "two")
	r.check("the last, with its batch", got, err, removal.Report{Names: 1, Pictures: 1, Bytes: 4})
	if r.has(same.Key) || !r.has(other.Key) {
		t.Errorf("there are same: %v, other: %v; want only other", r.has(same.Key), r.has(other.Key))
	}
	if b := r.batch("two"); b.Status != results.Deleting {
		t.Errorf("the batch is %s, want it to be deleted for good", b.Status)
	}
	// Cut off before it was deleted, the same goes on.
	got, err = r.remove.Batch(t.Context(), "two")
	r.check("again", got, err, removal.Report{})
}

// refresh asks a settled name again and returns its task's reference.
func (r *rig) refresh(batch, name string) tasks.Ref {
	r.t.Helper()
	e, err := r.db.Open(r.t.Context(), batch, "people", batch+".txt", 2)
	noError(r.t, err)
	again, err := r.db.NewRefresh(r.t.Context(), 0, 2)
	noError(r.t, err)
	added, err := e.AddAgain(r.t.Context(), tasks.Shard(name, e.Shards()), []results.Line{{Number: 1, Name: name}}, results.Again{Refresh: &again})
	noError(r.t, err)
	noError(r.t, e.Close(r.t.Context(), true))
	return added[0].Ref
}

// What a refresh dropped, and no worker has removed yet, goes with its name
// and with its batch.
func TestDroppedPicturesGoToo(t *testing.T) {
	t.Parallel()
	for _, byContent := range []bool{false, true} {
		for what, remove := range map[string]func(r *rig) (removal.Report, error){
			"with its name":  func(r *rig) (removal.Report, error) { return r.remove.Name(t.Context(), r.batch("staff"), "Ada") },
			"with its batch": func(r *rig) (removal.Report, error) { return r.remove.Batch(t.Context(), "staff") },
			"after its name": func(r *rig) (removal.Report, error) {
				// Its record went without it.
				b := r.batch("staff")
				s := tasks.Shard("Ada", b.Shards)
				_, err := r.db.Retire(t.Context(), b, s, []string{"Ada"})
				noError(t, err)
				noError(t, r.db.Forget(t.Context(), b, s, []string{"Ada"}))
				noError(t, r.store.Delete(t.Context(), r.shown.Key))
				rep, err := r.remove.Batch(t.Context(), "staff")
				rep.Names, rep.Pictures, rep.Bytes = rep.Names+1, rep.Pictures+1, rep.Bytes+int64(len("new"))
				return rep, err
			},
		} {
			t.Run(fmt.Sprint(what, ", by content ", byContent), func(t *testing.T) {
				t.Parallel()
				r := setup(t)
				key := "staff/Ada.png"
				if byContent {
					key = ""
				}
				first := r.finish(r.add("staff", "Ada")["Ada"], key, []byte("first"))
				ref := r.refresh("staff", "Ada")
				if !byContent {
					key = storage.RenewedKey(key, ref.Generation)
				}
				r.shown = r.finish(ref, key, []byte("new"))
				if !r.has(first.Key) || !r.has(r.shown.Key) {
					t.Fatal("the pictures are not there")
				}
				got, err := remove(r)
				r.check(what, got, err, removal.Report{Names: 1, Pictures: 2, Bytes: int64(len("first") + len("new"))})
				if r.has(first.Key) || r.has(r.shown.Key) {
					t.Errorf("there are first: %v, new: %v; want neither", r.has(first.Key), r.has(r.shown.Key))
				}
				if keys := r.mentions("Ada"); len(keys) > 0 {
					t.Errorf("Redis still knows the name in %q", keys)
				}
			})
		}
	}
}

// A refresh is under way: what it has stored goes with the name, said or not,
// and what another run of it may have stored is nobody's to remove.
func TestANameThatIsAskedAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	shown := r.finish(r.add("staff", "Ada")["Ada"], "staff/Ada.png", []byte("first"))
	ref := r.refresh("staff", "Ada")
	unsaid := picture(storage.RenewedKey(shown.Key, ref.Generation), []byte("new"))
	noError(t, r.put(t.Context(), unsaid.Key, []byte("new")))
	noError(t, r.remove.Unwanted(t.Context(), ref, unsaid))
	noError(t, r.remove.Unwanted(t.Context(), ref, shown))
	if !r.has(unsaid.Key) || !r.has(shown.Key) {
		t.Fatalf("there are shown: %v, new: %v; want both", r.has(shown.Key), r.has(unsaid.Key))
	}
	_, err := r.remove.Name(t.Context(), r.batch("staff"), "Ada")
	noError(t, err)
	if r.has(unsaid.Key) || r.has(shown.Key) {
		t.Errorf("there are shown: %v, new: %v; want neither", r.has(shown.Key), r.has(unsaid.Key))
	}
}

// Where keys depend on the answer, a name that is forgotten leaves none of the
// files that workers may have stored for it and not said so.
func TestNamesByTemplateLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, template := range []string{"{batch}/{attr.team}/{name}.{ext}", "{batch}/{attr.team}.{ext}", "{batch}/{name}/{attr.team}.{ext}"} {
		t.Run(template, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			r := setup(t)
			naming, err := storage.ParseNaming(template)
			noError(t, err)
			refs := r.add("staff", "Ada", "Bob")
			_, err = r.db.Bind(ctx, "staff", r.batch("staff").Birth, results.Binding{Store: "here", Names: template, Sidecars: true})
			noError(t, err)
			key := func(name, team string) string {
				return naming.Key(storage.Named{Batch: "staff", Name: name, Rank: 1, Ext: "png", Attribute: func(string) string { return team }})
			}
			var theirs, others []string
			for _, team := range []string{"Sales", "Lab", ""} {
				theirs = append(theirs, key("Ada", team), storage.SidecarKey(key("Ada", team)))
				others = append(others, key("Bob", team), storage.SidecarKey(key("Bob", team)))
			}
			for _, k := range append(slices.Clone(theirs), others...) {
				noError(t, r.put(ctx, k, []byte("ada")))
			}
			r.finish(refs["Ada"], key("Ada", "Sales"), []byte("ada"))
			rep, err := r.remove.Name(ctx, r.batch("staff"), "Ada")
			r.check("forget", rep, err, removal.Report{Names: 1, Pictures: 1, Bytes: 3})
			for _, k := range theirs {
				if r.has(k) {
					t.Errorf("%s is left", k)
				}
			}
			for _, k := range others {
				if !r.has(k) {
					t.Errorf("%s is gone", k)
				}
			}
		})
	}
}

// A picture is stored in the moment in which its batch is cancelled.
func TestAFileOfACancelledNameGoes(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint("asked again ", again), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			ref := r.add("staff", "Ada")["Ada"]
			p := picture("staff/Ada.png", []byte("ada"))
			if again {
				shown := r.finish(ref, p.Key, []byte("first"))
				ref = r.refresh("staff", "Ada")
				p = picture(storage.RenewedKey(shown.Key, ref.Generation), []byte("ada"))
			}
			r.answer(ref)
			noError(t, r.put(t.Context(), p.Key, []byte("ada")))
			_, err := r.db.Cancel(t.Context(), r.batch("staff"))
			noError(t, err)
			if ok, err := r.db.CommitPicture(t.Context(), ref, 1, p); ok || err != nil {
				t.Fatalf("the commit was taken: %v %v", ok, err)
			}
			noError(t, r.remove.Unwanted(t.Context(), ref, p))
			if r.has(p.Key) || r.has("staff/Ada.png") != again {
				t.Errorf("there are its file: %v, one that is shown: %v; want false, %v", r.has(p.Key), r.has("staff/Ada.png"), again)
			}
		})
	}
}

func TestForgettingGoesOnWhereItWasCutOff(t *testing.T) {
	t.Parallel()
	r := setup(t)
	refs := r.add("staff", "Ada")
	p := r.finish(refs["Ada"], "staff/Ada.png", []byte("ada"))
	b := r.batch("staff")
	s := refs["Ada"].Shard
	_, err := r.db.Retire(t.Context(), b, s, []string{"Ada"})
	noError(t, err)

	rec, err := r.db.Get(t.Context(), b, "Ada")
	noError(t, err)
	if !rec.Forgotten || rec.State != results.Cancelled {
		t.Errorf("half forgotten it is %s, forgotten %v", rec.State, rec.Forgotten)
	}
	n, err := r.db.Retry(t.Context(), b, results.Query{State: results.Cancelled}, func(context.Context, []results.OpenName) error { return nil })
	if n != 0 || err != nil {
		t.Errorf("%d names that are being forgotten were tried again (%v)", n, err)
	}
	got, err := r.remove.Name(t.Context(), b, "Ada")
	r.check("again", got, err, removal.Report{Names: 1, Pictures: 1, Bytes: 3})
	if r.has(p.Key) {
		t.Error("the picture is still there")
	}
	if back := r.add("staff", "Ada")["Ada"]; back.Generation <= refs["Ada"].Generation {
		t.Errorf("the name came back in generation %d; old tasks of generation %d would be taken for its own",
			back.Generation, refs["Ada"].Generation)
	}
}

func TestWhatIsInFlightComesToNothing(t *testing.T) {
	t.Parallel()
	for _, byContent := range []bool{false, true} {
		t.Run(fmt.Sprint("by content ", byContent), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			ref := r.add("staff", "Ada")["Ada"]
			r.answer(ref)
			key := "staff/Ada.png"
			if byContent {
				key = ""
			}
			// A worker has stored the bytes when the name is forgotten.
			p := picture(key, []byte("ada"))
			noError(t, r.put(t.Context(), p.Key, []byte("ada")))
			_, err := r.remove.Name(t.Context(), r.batch("staff"), "Ada")
			noError(t, err)
			ok, err := r.db.CommitPicture(t.Context(), ref, 1, p)
			if ok || err != nil {
				t.Fatalf("the commit was taken: %v %v", ok, err)
			}
			noError(t, r.remove.Unwanted(t.Context(), ref, p))
			if r.has(p.Key) {
				t.Error("its file is still there")
			}
			if keys := r.mentions("Ada"); len(keys) > 0 {
				t.Errorf("Redis knows the name in %q", keys)
			}
		})
	}
}

func TestAnUnwantedFileStaysWhereItIsWanted(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ref := r.add("staff", "Ada")["Ada"]
	p := r.finish(ref, "staff/Ada.png", []byte("ada"))
	noError(t, r.remove.Unwanted(t.Context(), ref, p))
	if !r.has(p.Key) {
		t.Error("a file went that its record refers to")
	}
}

// Workers store one content for ever new names while others forget them:
// no record may be left without its file, and no file without a record.
func TestNoFileIsLostToARace(t *testing.T) {
	t.Parallel()
	const names, writers = 120, 4
	r := setup(t)
	var all []string
	for i := range names {
		all = append(all, fmt.Sprintf("N%03d", i))
	}
	refs := r.add("staff", all...)
	b := r.batch("staff")
	p := picture("", []byte("same"))
	stored := make(chan string, names)
	var workers, forgetters sync.WaitGroup
	for w := range writers {
		workers.Go(func() {
			for i := w; i < names; i += writers {
				if err := r.storeOne(t.Context(), refs[all[i]], p); err != nil {
					t.Error(err)
					return
				}
				stored <- all[i]
			}
		})
	}
	go func() { workers.Wait(); close(stored) }()
	for range 2 {
		forgetters.Go(func() {
			for name := range stored {
				if name == "N050" {
					continue
				}
				if _, err := r.remove.Name(t.Context(), b, name); err != nil {
					t.Error(err)
				}
				// Between two of them there may be no record left.
				r.fileIsWhereItShould(b, p.Key)
			}
		})
	}
	forgetters.Wait()
	if !r.has(p.Key) {
		t.Error("one name is left and its file is gone")
	}
	got, err := r.remove.Name(t.Context(), b, "N050")
	r.check("the last", got, err, removal.Report{Names: 1, Pictures: 1, Bytes: 4})
}

// storeOne does what a worker does.
func (r *rig) storeOne(ctx context.Context, ref tasks.Ref, p results.Picture) error {
	if ok, err := r.db.CommitLookup(ctx, ref, results.Found, results.Lookup{Pictures: [][]string{{"http://a.test/1.png"}}}); err != nil || !ok {
		return fmt.Errorf("lookup of %s: %v %w", ref.Name, ok, err)
	}
	for {
		release, err := r.remove.Claim(ctx, p)
		if err != nil {
			continue // somebody removes it: the next try has it
		}
		err = r.put(ctx, p.Key, []byte("same"))
		if err == nil {
			_, err = r.db.CommitPicture(ctx, ref, 1, p)
		}
		release()
		return err
	}
}

// fileIsWhereItShould fails where a record has lost its file: it is done
// before and after the file was not there.
func (r *rig) fileIsWhereItShould(b results.Batch, key string) {
	for rec, err := range r.db.Each(r.t.Context(), b, results.Query{State: results.Done}) {
		if err != nil {
			r.t.Error(err)
			return
		}
		if !r.done(b, rec.Name) || r.has(key) {
			continue
		}
		if r.done(b, rec.Name) {
			r.t.Errorf("%s is done and its file is gone", rec.Name)
			return
		}
	}
}

func (r *rig) done(b results.Batch, name string) bool {
	rec, err := r.db.Get(r.t.Context(), b, name)
	return err == nil && rec.State == results.Done
}
