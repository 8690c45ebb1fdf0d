// Package kube reads certificates from the Secrets and ConfigMaps of a cluster,
// when asked for. The checker needs no API server otherwise.
//
// Lists are paged and restricted on the server: Secrets to the type
// kubernetes.io/tls. A private key in one is reduced to the SHA-256 of its
// public half at once.
package kube

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
)

// AllNamespaces as a namespace means every one.
const AllNamespaces = "*"

// pageSize keeps the memory for a cluster with thousands of Secrets small.
const pageSize = 50

// Request says what to read.
type Request struct {
	// Secrets and ConfigMaps are namespaces; AllNamespaces is all of them.
	Secrets, ConfigMaps []string
	// Selector is a label selector for both.
	Selector string
}

// Empty reports whether nothing was asked for.
func (r Request) Empty() bool { return len(r.Secrets)+len(r.ConfigMaps) == 0 }

// Reader reads.
type Reader struct {
	Client  kubernetes.Interface
	Decoder *decode.Decoder
}

// Read returns what was asked for. What cannot be listed is a file that cannot
// be read: certificates that nobody looked at must not be green, nor hide those
// that somebody did.
func (r Reader) Read(ctx context.Context, q Request) []checker.File {
	var files []checker.File
	for _, ns := range q.Secrets {
		found, err := r.secrets(ctx, namespace(ns), q.Selector)
		if files = append(files, found...); err != nil {
			files = append(files, refused(checker.SourceSecret, ns, fmt.Errorf("listing the TLS Secrets of namespace %q: %w", ns, err)))
		}
	}
	for _, ns := range q.ConfigMaps {
		found, err := r.configMaps(ctx, namespace(ns), q.Selector)
		if files = append(files, found...); err != nil {
			files = append(files, refused(checker.SourceConfigMap, ns, fmt.Errorf("listing the ConfigMaps of namespace %q: %w", ns, err)))
		}
	}
	return files
}

// refused stands for the objects of a namespace that were not seen. The user
// named it, so the exit code says unknown.
func refused(source checker.Source, ns string, err error) checker.File {
	return checker.File{Source: source, Path: ns, Named: true, Faults: []checker.Fault{{ID: checker.Unreadable, Detail: err.Error()}}}
}

func namespace(ns string) string {
	if ns == AllNamespaces {
		return metav1.NamespaceAll
	}
	return ns
}

func (r Reader) secrets(ctx context.Context, ns, selector string) ([]checker.File, error) {
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize, FieldSelector: "type=" + string(corev1.SecretTypeTLS)}
	var files []checker.File
	for {
		list, err := r.Client.CoreV1().Secrets(ns).List(ctx, options)
		if err != nil {
			return files, err // Read says what was listed
		}
		for i := range list.Items {
			files = append(files, r.secret(&list.Items[i])...)
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return files, nil
		}
	}
}

// secret makes one file of each certificate entry; the key of tls.key belongs
// to tls.crt.
func (r Reader) secret(s *corev1.Secret) []checker.File {
	var files []checker.File
	for _, key := range []string{corev1.TLSCertKey, "ca.crt"} {
		data, ok := s.Data[key]
		if !ok || len(data) == 0 {
			continue
		}
		f := file(checker.SourceSecret, s, key)
		fill(&f, r.Decoder.Decode(data))
		if private := s.Data[corev1.TLSPrivateKeyKey]; key == corev1.TLSCertKey && len(private) > 0 {
			f.KeyFile = keyOf(r.Decoder.Decode(private), f.Path)
		}
		files = append(files, f)
	}
	clear(s.Data[corev1.TLSPrivateKeyKey])
	return files
}

func keyOf(c decode.Content, where string) *checker.KeyFile {
	key := &checker.KeyFile{Path: where + "#" + corev1.TLSPrivateKeyKey, Faults: c.KeyFaults, Keys: c.Keys}
	if len(c.Keys)+len(c.KeyFaults) == 0 {
		key.Faults = []checker.Fault{{ID: checker.KeyUnreadable, Detail: "the entry holds no private key that can be parsed"}}
	}
	return key
}

func (r Reader) configMaps(ctx context.Context, ns, selector string) ([]checker.File, error) {
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	var files []checker.File
	for {
		list, err := r.Client.CoreV1().ConfigMaps(ns).List(ctx, options)
		if err != nil {
			return files, err // Read says what was listed
		}
		for i := range list.Items {
			files = append(files, r.configMap(&list.Items[i])...)
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return files, nil
		}
	}
}

// configMap looks at the entries that hold certificates; any name may.
func (r Reader) configMap(c *corev1.ConfigMap) []checker.File {
	var files []checker.File
	keys := make([]string, 0, len(c.Data))
	for key := range c.Data {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		data := []byte(c.Data[key])
		if !bytes.Contains(data, []byte("-----BEGIN CERTIFICATE")) {
			continue
		}
		f := file(checker.SourceConfigMap, c, key)
		fill(&f, r.Decoder.Decode(data))
		files = append(files, f)
	}
	return files
}

func file(source checker.Source, o metav1.Object, key string) checker.File {
	return checker.File{Source: source, Path: o.GetNamespace() + "/" + o.GetName(), Key: key}
}

func fill(f *checker.File, c decode.Content) {
	f.Certs, f.Keys, f.Requests, f.CRLs, f.Faults = c.Certs, c.Keys, c.Requests, c.CRLs, c.Faults
}
