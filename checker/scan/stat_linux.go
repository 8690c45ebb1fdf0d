package scan

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/reanchor/reanchor/checker"
)

// openFlags: O_NONBLOCK so that a FIFO swapped in after the stat cannot hang
// the scan.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_CLOEXEC

// identity is what must be equal for a file to be the same as before.
type identity struct {
	id                  checker.FileID
	size                int64
	modified, changedAt int64
}

func identify(info fs.FileInfo) identity {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{size: info.Size(), modified: info.ModTime().UnixNano()}
	}
	return identity{
		id:   checker.FileID{Dev: uint64(st.Dev), Ino: st.Ino}, // differs by architecture
		size: info.Size(), modified: st.Mtim.Nano(), changedAt: st.Ctim.Nano(),
	}
}

// changed is the later of content and inode change: a restored backup has an
// old mtime, but its ctime is now.
func (i identity) changed() time.Time { return time.Unix(0, max(i.modified, i.changedAt)) }
