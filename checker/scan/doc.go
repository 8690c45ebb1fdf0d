// Package scan reads certificates from a file system as the checker needs them.
//
// What it is careful about, because other checkers were not:
//
//   - A file is identified by what is behind its symbolic links: device, inode,
//     size, mtime and ctime of the target. The link's own stat never changes
//     when kubelet swaps ..data.
//   - Links are followed inside the root file system given (--rootfs), also
//     absolute ones, and loops end.
//   - Only regular files are opened, without blocking, and only up to a size.
//   - One unreadable file or directory is one finding; the rest is read.
//   - What looks half-written is read again before it is reported, because
//     etcd-manager truncates and rewrites in place.
//   - A directory that is walked is walked once, however many patterns apply.
//
// Paths in results are the host's, without the root file system's prefix.
package scan
