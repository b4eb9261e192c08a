package app

// openFiles returns how many files this process may have open at once, and
// whether the system says so.
func openFiles() (uint64, bool) { return 0, false }

// freeRoom returns the bytes that this user may still write to the file system
// of a folder, and whether the system says so.
func freeRoom(string) (uint64, bool) { return 0, false }
