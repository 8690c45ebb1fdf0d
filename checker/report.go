package checker

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Report is what was found, worst first.
type Report struct {
	Summary      Summary       `json:"summary"`
	Certificates []Certificate `json:"certificates"`
	Endpoints    []Served      `json:"endpoints"`
	// Findings are those that belong to no certificate: files without one,
	// places that could not be read, processes.
	Findings []Finding `json:"findings"`
}

// Summary counts.
type Summary struct {
	// Status is the worst severity found; ExitCode also obeys Policy.FailOn.
	Status       Severity `json:"status"`
	ExitCode     int      `json:"exitCode"`
	Certificates int      `json:"certificates"`
	Expired      int      `json:"expired"`
	Expiring     int      `json:"expiring"`
	OK           int      `json:"ok"`
	Orphaned     int      `json:"orphaned"`
	// Files is the number of places read, Secrets and ConfigMaps included.
	Files    int            `json:"files"`
	Findings map[RuleID]int `json:"findings"`
	Roots    []Root         `json:"roots"`
}

// Finding is one rule that fired.
type Finding struct {
	ID       RuleID   `json:"id"`
	Severity Severity `json:"severity"`
	// Message is one sentence about this case, Remedy what to do about it.
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	// Path is the file, endpoint or process it is about.
	Path string `json:"path,omitempty"`
}

// Certificate is one certificate with every place it was found in.
type Certificate struct {
	// ID is the SHA-256 of the DER.
	ID                 string     `json:"id"`
	Status             Severity   `json:"status"`
	Subject            Name       `json:"subject"`
	Issuer             Name       `json:"issuer"`
	Serial             string     `json:"serial"`
	NotBefore          time.Time  `json:"notBefore"`
	NotAfter           time.Time  `json:"notAfter"`
	ResidualSeconds    int64      `json:"residualSeconds"`
	IsCA               bool       `json:"isCA"`
	SelfSigned         bool       `json:"selfSigned"`
	KeyAlgorithm       string     `json:"keyAlgorithm"`
	KeyBits            int        `json:"keyBits"`
	SignatureAlgorithm string     `json:"signatureAlgorithm"`
	DNSNames           []string   `json:"dnsNames,omitempty"`
	IPAddresses        []string   `json:"ipAddresses,omitempty"`
	Usages             []string   `json:"usages,omitempty"`
	Locations          []Location `json:"locations"`
	// IssuerID is the certificate that was found to have signed it.
	IssuerID string    `json:"issuerId,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// Location is one place a certificate was found in.
type Location struct {
	Source Source `json:"source"`
	// Path is the host's path, namespace/name, or host:port.
	Path string `json:"path"`
	Key  string `json:"key,omitempty"`
	// Index is the position in the file or chain, from 0.
	Index        int        `json:"index"`
	ResolvedPath string     `json:"resolvedPath,omitempty"`
	Modified     *time.Time `json:"modified,omitempty"`
	Profile      string     `json:"profile,omitempty"`
	Role         Role       `json:"role,omitempty"`
	Orphaned     bool       `json:"orphaned,omitempty"`
}

// Served is one endpoint and whether what it serves is what is on disk.
type Served struct {
	Address    string        `json:"address"`
	ServerName string        `json:"serverName,omitempty"`
	Role       Role          `json:"role,omitempty"`
	State      EndpointState `json:"state"`
	LeafID     string        `json:"leafId,omitempty"`
	ChainIDs   []string      `json:"chainIds,omitempty"`
	// ExpectedLocations are the files the endpoint loads.
	ExpectedLocations []string  `json:"expectedLocations,omitempty"`
	Match             Match     `json:"match"`
	Findings          []Finding `json:"findings,omitempty"`
}

// Match is the outcome of comparing an endpoint with the disk.
type Match string

// MatchUnknown is for endpoints that served nothing, or whose files were not
// found: there is nothing to compare.
const (
	MatchUnknown Match = "unknown"
	MatchYes     Match = "yes"
	MatchNo      Match = "no"
)

// inOrder puts the worst first. Problems are ordered by when they strike; what
// is fine is grouped, leaves before CAs.
func (r *run) inOrder() []ranked {
	sorted := make([]ranked, len(r.entries))
	for i, e := range r.entries {
		sorted[i] = ranked{entry: e, worst: e.status(), ends: e.cert.NotAfter, path: e.places[0].path()}
		sorted[i].last = sorted[i].worst < Warning && e.cert.IsCA
	}
	slices.SortFunc(sorted, ranked.compare)
	return sorted
}

// ranked is a certificate with what it is ordered by, made once: a comparison
// is made many times for each.
type ranked struct {
	entry *entry
	worst Severity
	// last is for CAs among what is fine.
	last bool
	ends time.Time
	path string
}

func (a ranked) compare(b ranked) int {
	if a.worst != b.worst {
		return cmp.Compare(b.worst, a.worst)
	}
	if a.last != b.last {
		return boolOrder(a.last, b.last)
	}
	if order := a.ends.Compare(b.ends); order != 0 {
		return order
	}
	return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.entry.cert.id, b.entry.cert.id))
}

func sortFindings(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Path, b.Path), cmp.Compare(a.ID, b.ID))
	})
}
