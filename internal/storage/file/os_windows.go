package file

import (
	"os"
	"syscall"
)

const stale = syscall.Errno(59) // ERROR_UNEXP_NET_ERR

// onlyFolder has no counterpart; nothing else waits when it is opened.
const onlyFolder = 0

// full are the errors of a disk without room: ERROR_HANDLE_DISK_FULL and
// ERROR_DISK_FULL.
var full = []syscall.Errno{39, 112, syscall.ENOSPC}

// syncDir does nothing: Windows has no sync of a folder; NTFS journals its
// names in order.
func syncDir(*os.File) error { return nil }
