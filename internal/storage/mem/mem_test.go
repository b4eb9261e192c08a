package mem_test

import (
	"testing"

	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/mem"
	"github.com/picharvest/picharvest/internal/storage/storagetest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) storage.Store { return mem.New() })
}

// TestNamed: who opens a name again meets the same store.
func TestNamed(t *testing.T) {
	t.Parallel()
	first := mem.Named("TestNamed")
	if mem.Named("TestNamed") != first || mem.Named("TestNamed-2") == first {
		t.Error("a name leads to another store than before, or two names to one")
	}
}
