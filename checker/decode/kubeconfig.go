package decode

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"
)

// Entry is one certificate (and its key) that a kubeconfig uses.
type Entry struct {
	// Key says where: "users/admin/client-certificate-data".
	Key string
	// CA is true for a cluster's authority, false for a user's certificate.
	CA bool
	// OtherContext is true where the current-context uses another cluster or
	// user; without a current-context nobody knows, and it is false.
	OtherContext bool
	// Data and KeyData are embedded PEM; KeyData must be cleared after use.
	Data, KeyData []byte
	// Ref and KeyRef are paths as written, relative to the kubeconfig.
	Ref, KeyRef string
}

// kubeconfig is the part of a kubeconfig that concerns certificates. Tokens and
// exec plugins are not read.
type kubeconfig struct {
	Kind           string `json:"kind"`
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string  `json:"name"`
		Context context `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			CA     string `json:"certificate-authority"`
			CAData string `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Cert     string `json:"client-certificate"`
			CertData string `json:"client-certificate-data"`
			Key      string `json:"client-key"`
			KeyData  string `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
}

// context is a cluster and a user of it, by their names.
type context struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

// leavesCluster and leavesUser are false for nil: no current-context is known.
func (c *context) leavesCluster(name string) bool { return c != nil && c.Cluster != name }

func (c *context) leavesUser(name string) bool { return c != nil && c.User != name }

// ErrNotKubeconfig is returned for text that is no kubeconfig at all.
var ErrNotKubeconfig = errors.New("not a kubeconfig")

// LooksLikeKubeconfig is a cheap test before parsing.
func LooksLikeKubeconfig(data []byte) bool {
	return !bytes.Contains(data, beginMark) && bytes.Contains(data, []byte("clusters")) &&
		(bytes.Contains(data, []byte("current-context")) || bytes.Contains(data, []byte("users")))
}

// Kubeconfig lists the certificates that a kubeconfig uses, those of its
// current-context first. With an error the entries that could be read are
// returned too.
func Kubeconfig(data []byte) ([]Entry, error) {
	var cfg kubeconfig
	// The parser's message may quote the line it failed at, and a kubeconfig's
	// lines hold keys: only the fact is passed on.
	if err := yaml.Unmarshal(data, &cfg); err != nil {
		return nil, fmt.Errorf("%w: it is not valid YAML", ErrNotKubeconfig)
	}
	if len(cfg.Clusters) == 0 && len(cfg.Users) == 0 {
		return nil, fmt.Errorf("%w: it has neither clusters nor users", ErrNotKubeconfig)
	}
	current, contextErr := cfg.current()
	var entries []Entry
	var faults []error
	for _, c := range cfg.Clusters {
		key := "clusters/" + c.Name + "/certificate-authority"
		e, err := entry(key, c.Cluster.CAData, c.Cluster.CA)
		e.CA, e.OtherContext = true, current.leavesCluster(c.Name)
		entries, faults = collect(entries, faults, e, err)
	}
	for _, u := range cfg.Users {
		e, err := entry("users/"+u.Name+"/client-certificate", u.User.CertData, u.User.Cert)
		e.OtherContext = current.leavesUser(u.Name)
		if err == nil {
			e.KeyData, err = base64.StdEncoding.DecodeString(u.User.KeyData)
			if err != nil {
				e.KeyData, err = nil, fmt.Errorf("users/%s/client-key-data is not base64", u.Name)
			} else if len(e.KeyData) == 0 {
				e.KeyRef = u.User.Key
			}
		}
		entries, faults = collect(entries, faults, e, err)
	}
	slices.SortStableFunc(entries, currentFirst)
	return entries, errors.Join(append(faults, contextErr)...)
}

func currentFirst(a, b Entry) int {
	switch {
	case a.OtherContext == b.OtherContext:
		return 0
	case b.OtherContext:
		return -1
	default:
		return 1
	}
}

// collect keeps an entry that holds something.
func collect(entries []Entry, faults []error, e Entry, err error) ([]Entry, []error) {
	if err != nil {
		faults = append(faults, err)
	}
	if len(e.Data) > 0 || e.Ref != "" {
		entries = append(entries, e)
	}
	return entries, faults
}

// entry prefers embedded data over a reference, as kubectl does.
func entry(key, data, ref string) (Entry, error) {
	if data == "" {
		return Entry{Key: key, Ref: ref}, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return Entry{}, fmt.Errorf("%s-data is not base64", key)
	}
	return Entry{Key: key + "-data", Data: decoded}, nil
}

// current is the current-context, nil where none is set. That it is set and
// does not exist is an error: kubectl and every client then fail before they
// present a certificate.
func (c *kubeconfig) current() (*context, error) {
	if c.CurrentContext == "" {
		return nil, nil
	}
	for i := range c.Contexts {
		if c.Contexts[i].Name == c.CurrentContext {
			return &c.Contexts[i].Context, nil
		}
	}
	return nil, fmt.Errorf("current-context %q does not exist", c.CurrentContext)
}
