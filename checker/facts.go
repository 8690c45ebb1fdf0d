package checker

import "time"

// Facts is everything that was looked at.
type Facts struct {
	Files     []File
	Endpoints []Endpoint
	Processes []Process
	Roots     []Root
	// Requirements are patterns that must have matched something.
	Requirements []Requirement
}

// Source says where a certificate was found.
type Source string

// The sources.
const (
	SourceFile       Source = "file"
	SourceKubeconfig Source = "kubeconfig"
	SourceSecret     Source = "secret"
	SourceConfigMap  Source = "configmap"
	SourceEndpoint   Source = "endpoint"
)

// File is one place that holds (or should hold) certificates: a file, one
// entry of a kubeconfig, or one key of a Secret or ConfigMap.
type File struct {
	Source Source
	// Path is the host's path, or namespace/name.
	Path string
	// Key is the entry inside: a kubeconfig's "users/admin/client-certificate-data",
	// a Secret's "tls.crt". Empty for a plain file.
	Key string
	// Resolved is the path after following symbolic links, if it differs.
	Resolved string
	// ID identifies the file's inode; zero when there is none.
	ID FileID
	// Mode is the permission bits; zero when there are none to judge.
	Mode uint32
	// Modified is the mtime; Changed is the later of mtime and ctime.
	Modified, Changed time.Time
	// Named is true when the user asked for exactly this path.
	Named bool
	// OtherContext is true for what a kubeconfig holds or refers to and its
	// current-context does not use.
	OtherContext bool
	Use          Use
	// Orphan says why nothing uses the file; empty means in use or not known.
	Orphan string

	// Faults are what went wrong while reading, as rule ids with details.
	Faults []Fault
	// Certs are in file order: the first is the leaf where there is one.
	Certs []*Cert
	// Keys are the public halves of the private keys in the same file.
	Keys []Fingerprint
	// KeyFile is the key that belongs to the file by name.
	KeyFile *KeyFile
	// Requests are the public keys of certificate requests in the file.
	Requests []Fingerprint
	// CRLs are the nextUpdate times of revocation lists; zero means never.
	CRLs []time.Time
}

// FileID is a file's device and inode.
type FileID struct{ Dev, Ino uint64 }

// Fault is one thing that went wrong while reading. Detail completes the
// rule's meaning; it never holds bytes of the file.
type Fault struct {
	ID     RuleID
	Detail string
}

// KeyFile is the private key that belongs to a certificate file by name.
type KeyFile struct {
	Path string
	Mode uint32
	// Faults say why Key is not known: key_unreadable, encrypted_key, ...
	Faults []Fault
	// Keys are the public halves found.
	Keys []Fingerprint
}

// Role is what a file is for, in the words of the profiles.
type Role string

// Purpose is what the certificate of a role must be able to do.
type Purpose uint8

// The purposes, combined with |.
const (
	Server Purpose = 1 << iota
	Client
	CA
)

// Use says who uses a file and how it is renewed; profiles fill it in.
type Use struct {
	Profile string
	Role    Role
	Purpose Purpose
	// Component is the program that loads the file.
	Component Component
	// Instance tells apart several of one component: etcd-manager's main,
	// events, cilium, leases.
	Instance string
	// Renew and Restart are instructions; "{instance}" is replaced.
	Renew, Restart string
	// DatesDoNotMatter marks keypairs that only look like certificates.
	DatesDoNotMatter bool
	// WithKey marks files that hold their private key by design, so that the
	// finding about it asks for nothing.
	WithKey bool
}

// EndpointState is what a probe found.
type EndpointState string

// The states of an endpoint.
const (
	// EndpointServing means a certificate was read, whether or not the
	// handshake went on to succeed.
	EndpointServing     EndpointState = "serving"
	EndpointNotTLS      EndpointState = "not_tls"
	EndpointUnreachable EndpointState = "unreachable"
)

// Endpoint is one live server.
type Endpoint struct {
	// Address is host:port as dialled.
	Address string
	// ServerName is the SNI sent; empty is none.
	ServerName string
	Use        Use
	State      EndpointState
	// Detail says why there is no certificate.
	Detail string
	// Chain is as served, leaf first.
	Chain []*Cert
	// Expect are the roles whose files this endpoint loads.
	Expect []Role
	// ExpectPaths are patterns (path.Match) of files it loads, from --endpoint.
	ExpectPaths []string
	// InMemory endpoints are known to make their own certificate.
	InMemory bool
	// MayBeElsewhere endpoints may listen on another address than loopback.
	MayBeElsewhere bool
	// NamesAddress means the certificate must name the dialled host.
	NamesAddress bool
}

// Process is one running component.
type Process struct {
	PID       int
	Name      string
	Component Component
	Instance  string
	Start     time.Time
	// Loaded are the files named by its arguments and environment.
	Loaded []LoadedFile
	// MemoryLifetime is how long a certificate that it made at start lives;
	// zero means none or not known.
	MemoryLifetime time.Duration
	Restart        string
}

// LoadedFile is a file that a process refers to.
type LoadedFile struct {
	// Path is as the process sees it; inside a container that may differ from
	// the host's.
	Path string
	// ID is the inode behind it; zero when it could not be determined.
	ID FileID
	// Trust is true for CA files, false for the process's own certificate.
	Trust bool
}

// RootState is whether a place of a profile could be looked at.
type RootState string

// The states of a root.
const (
	RootScanned    RootState = "scanned"
	RootMissing    RootState = "missing"
	RootUnreadable RootState = "unreadable"
)

// Root is one place that was searched.
type Root struct {
	Path    string    `json:"path"`
	Profile string    `json:"profile,omitempty"`
	State   RootState `json:"state"`
	// Files is how many files with certificates in it were read.
	Files int `json:"files"`
	// Required says why the root must exist on this node; empty: need not.
	Required string `json:"required,omitempty"`
}

// Requirement is a --require pattern and how many files matched it.
type Requirement struct {
	Pattern string
	Matches int
}
