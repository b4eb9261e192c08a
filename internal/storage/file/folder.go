package file

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// mount is the store's folder as it stood at its path when it was opened, and
// the folders in it that were used lately, which stay open: a picture is then
// made, renamed and synced without a walk to its folder and back. A folder is
// always opened through the os.Root, and what is done in an open one names one
// entry of it and follows no link, so that nothing leads out of the store.
type mount struct {
	root *os.Root
	info fs.FileInfo
	top  *os.File

	mu      sync.Mutex
	folders map[string]*folder
	clock   uint64 // counts the uses, to tell which folder was used last
	users   int    // of all folders
	closed  bool
}

// folder is one open folder of the store.
type folder struct {
	dir  string // its slash-separated path in the store
	f    *os.File
	info fs.FileInfo
	// durable says that its own name is on the disk.
	durable atomic.Bool
	syncs   sharedSync

	// All below is guarded by the mount's mu.
	users   int
	used    uint64
	dropped bool // to be closed by its last user
}

// openMount opens the folder at dir.
func openMount(dir string) (*mount, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	m := &mount{root: root, folders: make(map[string]*folder)}
	if m.top, err = root.Open("."); err == nil {
		m.info, err = m.top.Stat()
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// close ends the use of m. Folders in use are closed by their last user.
func (m *mount) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	_ = m.root.Close() // it was read only, and so were the folders
	for _, f := range m.folders {
		m.forget(f)
	}
	m.closeTop()
}

// closeTop closes the top when nobody needs it any more. m is locked.
func (m *mount) closeTop() {
	if m.closed && m.users == 0 && m.top != nil {
		_ = m.top.Close()
		m.top = nil
	}
}

// take returns the folder that stands at dir now, and makes it where there is
// none. It stays open until it is released.
func (m *mount) take(dir string) (*folder, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, os.ErrClosed
	}
	f := m.folders[dir]
	if f == nil {
		m.mu.Unlock()
		return m.open(dir)
	}
	m.use(f)
	m.mu.Unlock()
	if m.stands(f) {
		return f, nil
	}
	m.drop(f)
	m.release(f)
	return m.open(dir)
}

// open opens the folder at dir.
func (m *mount) open(dir string) (*folder, error) {
	name := filepath.FromSlash(dir)
	file, err := m.root.OpenFile(name, os.O_RDONLY|onlyFolder, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = m.root.MkdirAll(name, 0o755); err == nil {
			file, err = m.root.OpenFile(name, os.O_RDONLY|onlyFolder, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.folders[dir]
	switch {
	case m.closed:
		_ = file.Close()
		return nil, os.ErrClosed
	case f != nil && os.SameFile(info, f.info):
		_ = file.Close() // another caller was faster
	default:
		if f != nil {
			m.forget(f)
		}
		f = &folder{dir: dir, f: file, info: info}
		m.folders[dir] = f
	}
	m.use(f)
	m.closeIdle()
	return f, nil
}

// use counts a user of f. m is locked.
func (m *mount) use(f *folder) {
	m.clock++
	f.used = m.clock
	f.users++
	m.users++
}

// release ends one use of f.
func (m *mount) release(f *folder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.users--
	m.users--
	if f.dropped && f.users == 0 {
		_ = f.f.Close()
	}
	m.closeIdle()
	m.closeTop()
}

// closeIdle closes the folders that were not used for longest, down to
// maxOpen. m is locked.
func (m *mount) closeIdle() {
	for len(m.folders) > maxOpen {
		var oldest *folder
		for _, f := range m.folders {
			if f.users == 0 && (oldest == nil || f.used < oldest.used) {
				oldest = f
			}
		}
		if oldest == nil {
			return // as many are in use
		}
		m.forget(oldest)
	}
}

// drop makes the next use of f's path look for the folder anew.
func (m *mount) drop(f *folder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(f)
}

// dropAt does so for the folder at dir and those above it.
func (m *mount) dropAt(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		if f := m.folders[dir]; f != nil {
			m.forget(f)
		}
	}
}

// forget takes f out of the open folders and has it closed. m is locked.
func (m *mount) forget(f *folder) {
	if f.dropped {
		return
	}
	f.dropped = true
	if m.folders[f.dir] == f {
		delete(m.folders, f.dir)
	}
	if f.users == 0 {
		_ = f.f.Close()
	}
}

// settle puts a change in f on the disk, and, the first time that it is
// used, its own name and those of the folders above it.
func (s *Store) settle(m *mount, f *folder) error {
	if err := f.sync(); err != nil {
		return s.fail("sync", f.dir, err)
	}
	if f.dir == "." || f.durable.Load() {
		return nil
	}
	above, err := m.take(path.Dir(f.dir))
	if err != nil {
		return s.fail("open", path.Dir(f.dir), err)
	}
	defer m.release(above)
	if err := s.settle(m, above); err != nil {
		return err
	}
	f.durable.Store(true)
	return nil
}

// sharedSync lets those who change one folder at one time share a sync of it.
// A sync covers every change that was done when it began.
type sharedSync struct {
	mu      sync.Mutex
	next    *syncRound // the round that has not begun, if somebody waits
	running sync.Mutex // held while a sync is under way
}

type syncRound struct {
	done chan struct{}
	err  error // good when done is closed
}

// sync returns when a sync of f that began after the call has ended.
func (f *folder) sync() error {
	s := &f.syncs
	s.mu.Lock()
	round := s.next
	if round != nil {
		s.mu.Unlock()
		<-round.done
		return round.err
	}
	round = &syncRound{done: make(chan struct{})}
	s.next = round
	s.mu.Unlock()

	s.running.Lock()
	s.mu.Lock()
	s.next = nil // who comes from here on may be too late for this round
	s.mu.Unlock()
	round.err = syncDir(f.f)
	s.running.Unlock()
	close(round.done)
	return round.err
}
