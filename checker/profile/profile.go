// Package profile says where each kind of node keeps certificates, who uses
// them, how they are renewed and which ports serve them. It is data: scan and
// probe know how to look, this package knows where.
//
// Order matters: the first pattern of a root that matches a file decides its
// role. Every root ends with catch-alls, so that a file nobody thought of is
// still judged, only without a role, and a backup is told as one.
package profile

import "github.com/reanchor/reanchor/checker"

// Profile is one kind of node.
type Profile struct {
	Name string
	// Markers are patterns; a node with any of them is of this kind.
	Markers []string
	Roots   []Root
	Servers []Server
	// Restart are instructions per component; "{instance}" is replaced.
	Restart map[checker.Component]string
}

// Root is one place to search.
type Root struct {
	// Path is the directory or file; elements may be patterns.
	Path string
	// Files are looked for below it.
	Files []File
	// RequiredBy are patterns: where one matches something and the root does
	// not exist, that is a finding, with RequiredWhy as its text.
	RequiredBy  []string
	RequiredWhy string
	// Leftover roots hold nothing that is in use: that there is none is not
	// worth a word.
	Leftover bool
}

// File is a pattern below a root. "**" stands for any number of directories.
type File struct {
	Glob string
	// Kubeconfig files are nothing else.
	Kubeconfig bool
	// Backup files have the name of one. They are reported when they hold a
	// certificate; other files with such names are nobody's business.
	Backup bool
	// Key files are private keys. They are judged with the certificate that they
	// belong to; one that belongs to none, by its mode.
	Key bool
	checker.Use
}

// Server is one port that serves a certificate.
type Server struct {
	Port int
	Use  checker.Use
	// ServerName is sent as SNI; almost always empty, see probe.
	ServerName string
	// Loads are the roles of the files it serves; InMemory servers make their
	// own and are probed where Beside is on the node.
	Loads    []checker.Role
	InMemory bool
	Beside   []checker.Role
	// MayBeElsewhere servers may listen on the node's address alone.
	MayBeElsewhere bool
	// NamesLoopback is true where the certificate must name 127.0.0.1.
	NamesLoopback bool
}

// All returns every profile, in the order in which they are tried.
func All() []Profile {
	return []Profile{Kops(), Kubeadm(), K3s(), RKE2()}
}

// catchAll are the patterns that end a root.
func catchAll() []File { return Anything("**/") }

// Anything are the patterns of every file that may hold a certificate, a
// request, a revocation list or a key, below a prefix.
func Anything(prefix string) []File {
	var files []File
	for _, extension := range []string{"crt", "cert", "cer", "pem", "der", "csr", "crl"} {
		files = append(files, File{Glob: prefix + "*." + extension})
	}
	files = append(files, File{Glob: prefix + "*.key", Key: true})
	return append(files, Backups(prefix)...)
}

// BackupSuffixes end the names of copies that people, editors and packages
// leave behind.
func BackupSuffixes() [5]string { return [...]string{".bak", ".old", "~", ".rpmsave", ".orig"} }

// Backups are the patterns of such copies, below a prefix.
func Backups(prefix string) []File {
	var files []File
	for _, suffix := range BackupSuffixes() {
		files = append(files, File{Glob: prefix + "*" + suffix, Backup: true})
	}
	return files
}

// pki is a short way to write a File.
func pki(glob string, role checker.Role, purpose checker.Purpose, component checker.Component) File {
	return File{Glob: glob, Use: checker.Use{Role: role, Purpose: purpose, Component: component}}
}

// kubeconfig is a root that is one kubeconfig.
func kubeconfig(role checker.Role, component checker.Component, renew string) File {
	f := pki(".", role, 0, component)
	f.Kubeconfig, f.Renew = true, renew
	return f
}

// both is what an etcd member's certificates must be able to do.
const both = checker.Server | checker.Client

// renewal is how the leaves and the CAs of a group of files are renewed; no
// restart renews a CA.
type renewal struct{ leaf, ca string }

// of puts the instructions on files that have none.
func (r renewal) of(files ...File) []File {
	for i := range files {
		switch {
		case files[i].Renew != "":
		case files[i].Purpose == checker.CA:
			files[i].Renew = r.ca
		default:
			files[i].Renew = r.leaf
		}
	}
	return files
}

// named fills in what follows from the profile as a whole.
func (p Profile) named() Profile {
	for i := range p.Roots {
		for j := range p.Roots[i].Files {
			use := &p.Roots[i].Files[j].Use
			use.Profile, use.Restart = p.Name, p.Restart[use.Component]
		}
	}
	for i := range p.Servers {
		use := &p.Servers[i].Use
		use.Profile, use.Restart = p.Name, p.Restart[use.Component]
	}
	return p
}
