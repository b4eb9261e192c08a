package file

import (
	"os"
	"path/filepath"
	"sync"
)

// folderSyncs lets Commits that end in one folder at one time share a sync. A
// sync covers every rename that was done when it began.
type folderSyncs struct {
	mu      sync.Mutex
	folders map[folderKey]*folderSync
}

type folderKey struct {
	root *os.Root
	dir  string
}

// folderSync is one folder that somebody syncs or waits for.
type folderSync struct {
	users   int
	running sync.Mutex // held while a sync is under way
	next    *syncRound // the round that has not begun, if somebody waits
}

type syncRound struct {
	done chan struct{}
	err  error // good when done is closed
}

// syncFolder returns when a sync of dir that began after the call has ended.
func (s *Store) syncFolder(root *os.Root, dir string) error {
	key := folderKey{root, dir}
	g := &s.syncs

	g.mu.Lock()
	if g.folders == nil {
		g.folders = make(map[folderKey]*folderSync)
	}
	f := g.folders[key]
	if f == nil {
		f = new(folderSync)
		g.folders[key] = f
	}
	f.users++
	round := f.next
	leads := round == nil
	if leads {
		round = &syncRound{done: make(chan struct{})}
		f.next = round
	}
	g.mu.Unlock()

	if leads {
		f.running.Lock()
		g.mu.Lock()
		f.next = nil // who comes from here on may be too late for this round
		g.mu.Unlock()
		round.err = s.fsync(root, dir)
		f.running.Unlock()
		close(round.done)
	}
	<-round.done

	g.mu.Lock()
	if f.users--; f.users == 0 {
		delete(g.folders, key)
	}
	g.mu.Unlock()
	return round.err
}

// fsync syncs one folder.
func (s *Store) fsync(root *os.Root, dir string) error {
	f, err := root.Open(filepath.FromSlash(dir))
	if err != nil {
		return s.fail("open", dir, err)
	}
	defer f.Close()
	if err := syncDir(f); err != nil {
		return s.fail("sync", dir, err)
	}
	return nil
}
