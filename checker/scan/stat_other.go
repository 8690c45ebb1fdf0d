//go:build !linux

package scan

import (
	"io/fs"
	"os"
	"time"

	"github.com/reanchor/reanchor/checker"
)

const openFlags = os.O_RDONLY

// identity without inodes: nothing is cached, every cycle reads everything.
type identity struct {
	id                  checker.FileID
	size                int64
	modified, changedAt int64
}

func identify(info fs.FileInfo) identity {
	return identity{size: info.Size(), modified: info.ModTime().UnixNano()}
}

func (i identity) changed() time.Time { return time.Unix(0, i.modified) }
