package exporter

import (
	"math/big"
	"path"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/checker"
)

// compatDescriptions are the metrics of x509-certificate-exporter that its
// dashboards and alerts read, with its labels; what does not apply is empty.
type compatDescriptions struct{ notAfter, notBefore, expired *prometheus.Desc }

func newCompatDescriptions() compatDescriptions {
	labels := []string{
		"serial_number", "subject_CN", "subject_O", "issuer_CN", "issuer_O", "filename", "filepath", "embedded_kind", "embedded_key",
		"secret_namespace", "secret_name", "secret_key", "configmap_namespace", "configmap_name", "configmap_key",
	}
	describe := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, labels, nil) }
	return compatDescriptions{
		notAfter:  describe("x509_cert_not_after", "End of a certificate's validity, for dashboards of x509-certificate-exporter."),
		notBefore: describe("x509_cert_not_before", "Beginning of a certificate's validity, for dashboards of x509-certificate-exporter."),
		expired:   describe("x509_cert_expired", "Whether a certificate has expired, for dashboards of x509-certificate-exporter."),
	}
}

func (d *compatDescriptions) describe(out chan<- *prometheus.Desc) {
	out <- d.notAfter
	out <- d.notBefore
	out <- d.expired
}

func (d *compatDescriptions) collect(e *emitter, s *Snapshot) {
	for i := range s.Certificates {
		c := &s.Certificates[i]
		for _, l := range c.Locations {
			// It never opens a connection, so endpoints would be news to it.
			if l.Orphaned && !s.Thresholds.IncludeOrphaned || l.Source == checker.SourceEndpoint {
				continue
			}
			labels := append([]string{
				decimal(c.Serial), c.Subject.CommonName, strings.Join(c.Subject.Organization, ","),
				c.Issuer.CommonName, strings.Join(c.Issuer.Organization, ","),
			}, compatLocation(l)...)
			e.gauge(d.notAfter, seconds(c.NotAfter), labels...)
			e.gauge(d.notBefore, seconds(c.NotBefore), labels...)
			e.gauge(d.expired, boolean(c.ResidualSeconds < 0), labels...)
		}
	}
}

// compatLocation fills the labels from filename on.
func compatLocation(l checker.Location) []string {
	labels := make([]string, 10)
	file, embedded, secret, configMap := labels[0:2], labels[2:4], labels[4:7], labels[7:10]
	switch l.Source {
	case checker.SourceSecret:
		fillObject(secret, l)
	case checker.SourceConfigMap:
		fillObject(configMap, l)
	default:
		file[0], file[1] = path.Base(l.Path), l.Path
	}
	if l.Source == checker.SourceKubeconfig {
		kind, rest, _ := strings.Cut(l.Key, "/")
		embedded[0] = strings.TrimSuffix(kind, "s")
		embedded[1] = rest[:max(strings.LastIndexByte(rest, '/'), 0)]
	}
	return labels
}

func fillObject(labels []string, l checker.Location) {
	labels[0], labels[1], _ = strings.Cut(l.Path, "/")
	labels[2] = l.Key
}

func decimal(hexadecimal string) string {
	n, ok := new(big.Int).SetString(hexadecimal, 16)
	if !ok {
		return hexadecimal
	}
	return n.String()
}
