package names

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var batchRule = regexp.MustCompile(`^[a-z0-9_][a-z0-9._-]{0,63}$`)

func TestBatchName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 70)
	tests := []struct{ name, path, want string }{
		{"plain", "names.txt", "names"},
		{"folder", "/data/2024/names.csv", "names"},
		{"packed", "names.txt.gz", "names"},
		{"capitals", "Names.TXT", "names"},
		{"no extension", "names", "names"},
		{"an extension that says something", "people.2024", "people.2024"},
		{"two dots", "people.v2.txt", "people.v2"},
		{"spaces and brackets", "My Names (1).txt", "my-names-1"},
		{"dash between spaces", "a - b.txt", "a-b"},
		{"allowed characters stay", "a--b__c..d-.txt", "a--b__c..d-"},
		{"hidden", ".names.txt", "names"},
		{"extension alone", ".txt", "txt"},
		{"option", "-rf.txt", "rf"},
		{"leading space", " names.txt", "names"},
		{"trailing dots", "names...txt", "names"},
		{"accents, composed", "M\u00fcller \u00c9lan.txt", "muller-elan"},
		{"accents, decomposed", "Mu\u0308ller E\u0301lan.txt", "muller-elan"},
		{"full width", "Ｎａｍｅｓ２.txt", "names2"},
		{"another script", "张伟.txt", "batch-a3a0bafd"},
		{"another script, another name", "李伟.txt", "batch-5ed4d58e"},
		{"partly another script", "张伟 2024.txt", "2024-ca45f75c"},
		{"a letter without a plain form", "straße.txt", "stra-e-787f4770"},
		{"not UTF-8", "M\xfcller.txt", "m-ller-fbb53510"},
		{"emoji beside letters", "👩 people.txt", "people"},
		{"nothing readable", "(!).txt", "batch-09587ee8"},
		{"folder itself", ".", "batch-cdb4ee2a"},
		{"parent", "..", "batch-5ec1f7e7"},
		{"64 bytes", long[:64] + ".txt", long[:64]},
		{"65 bytes", long[:65] + ".txt", long[:55] + "-635361c4"},
		{"cut at a dash", long[:54] + "-bbbbbbbbbbbb.txt", long[:54] + "-5e02c362"},
		{"device", "con.txt", "batch-con"},
		{"device with more", "aux.2024", "batch-aux.2024"},
		{"port", "COM1.csv", "batch-com1"},
		{"not a port", "com10.csv", "com10"},
		{"not a device", "console.csv", "console"},
		{"long device", "nul." + long[:60], "batch-nul." + long[:45] + "-f7e3aff8"},
		{"device of another script", "nul.张.txt", "batch-nul-b4216486"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := BatchName(filepath.FromSlash(tt.path))
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if err := CheckBatch(got); err != nil || !batchRule.MatchString(got) {
				t.Errorf("%q is no batch name: %v", got, err)
			}
		})
	}
}

func TestBatchNameOfStdin(t *testing.T) {
	t.Parallel()
	if got, err := BatchName(Stdin); err == nil || !strings.Contains(err.Error(), "--batch") {
		t.Errorf("got %q, %v; want an error that names --batch", got, err)
	}
}

func TestCheckBatch(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, batch, near string }{
		{"plain", "names", ""},
		{"all kinds", "a.b_c-9", ""},
		{"underscore first", "_a", ""},
		{"dash last", "a-", ""},
		{"64 bytes", strings.Repeat("a", 64), ""},
		{"capitals", "Names", "names"},
		{"space", "my names", "my-names"},
		{"extension kept", "My.txt", "my.txt"},
		{"dot first", ".names", "names"},
		{"dot last", "names.", "names"},
		{"dash first", "--names", "names"},
		{"path", "../../etc/passwd", "etc-passwd"},
		{"key separators", "a:{b}", "a-b"},
		{"device", "nul", "batch-nul"},
		{"escape", "a\x1b[31mb", "a-31mb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := CheckBatch(tt.batch)
			switch {
			case tt.near == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.near != "" && (err == nil || !strings.HasSuffix(err.Error(), "try --batch "+tt.near)):
				t.Errorf("got %v, want an error that offers %q", err, tt.near)
			case err != nil && strings.ContainsAny(err.Error(), "\x1b\n"):
				t.Errorf("%q is not safe to print", err)
			}
		})
	}
	if err := CheckBatch(""); err == nil {
		t.Error("the empty name is accepted")
	}
}

func FuzzBatchName(f *testing.F) {
	for _, seed := range []string{"names.txt", "Mu\u0308ller.csv.gz", "张伟", "..", "con.a张", "M\xfc", strings.Repeat("a.", 50)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := mapBatch(path)
		if !batchRule.MatchString(got) || strings.HasSuffix(got, ".") {
			t.Fatalf("%q gives %q", path, got)
		}
		if err := CheckBatch(got); err != nil {
			t.Fatalf("%q gives a name that is refused: %v", path, err)
		}
	})
}
