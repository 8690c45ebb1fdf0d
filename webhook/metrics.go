package webhook

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Kind names one of the two webhooks. It is the value of a metric label.
type Kind string

// The webhooks.
const (
	KindStamp    Kind = "stamp"
	KindValidate Kind = "validate"
)

// Metrics are what the webhook counts. No label has values that users create,
// but the names of MeshTrusts.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	notAfter prometheus.Gauge
	ready    prometheus.Gauge
	stamp    prometheus.Gauge
	// meshes are all that there ever were. Only Snapshot touches it.
	meshes map[string]bool
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		meshes: map[string]bool{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reanchor_admission_requests_total",
			Help: "Admission requests by webhook, MeshTrust (empty for none), decision and reason.",
		}, []string{"webhook", "mesh", "decision", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "reanchor_admission_duration_seconds",
			Help:    "Time from the first byte of a request's body to the answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, .5, 1, 3},
		}, []string{"webhook"}),
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reanchor_webhook_serving_certificate_not_after_timestamp_seconds",
			Help: "When the serving certificate in use expires, in Unix time; 0 before there is one.",
		}),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reanchor_webhook_ready",
			Help: "1 when this replica is ready, as /readyz says, else 0. Meshed pods cannot be created while none is.",
		}),
		stamp: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "reanchor_webhook_stamp_reachable",
			Help: "1 when the certificate of this replica fits the caBundle of the stamping configuration, else 0. No pod waits for the stamp.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.notAfter, m.ready, m.stamp} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	m.presetUnclaimed()
	return m, nil
}

// ServingCertificate records the end of the serving certificate in use.
func (m *Metrics) ServingCertificate(notAfter time.Time) { m.notAfter.Set(float64(notAfter.Unix())) }

// Ready records whether requests may come here.
func (m *Metrics) Ready(ready bool) { set(m.ready, ready) }

// StampReachable records whether API servers would believe this replica's
// certificate when they ask it to stamp.
func (m *Metrics) StampReachable(reached bool) { set(m.stamp, reached) }

func set(g prometheus.Gauge, is bool) {
	value := 0.0
	if is {
		value = 1
	}
	g.Set(value)
}

// Snapshot begins the counters of the snapshot's meshes at 0, so that the first
// denial is an increase, and ends those of the meshes that are gone. A request under
// way may count for one of these yet: that goes with the next snapshot. It is called
// by one goroutine.
func (m *Metrics) Snapshot(s *Snapshot) {
	names := s.Meshes()
	for name := range m.meshes {
		if !slices.Contains(names, name) {
			m.requests.DeletePartialMatch(prometheus.Labels{"mesh": name})
		}
	}
	for _, name := range names {
		m.meshes[name] = true
		for kind, outcomes := range claimedOutcomes() {
			for outcome, reasons := range outcomes {
				for _, reason := range reasons {
					m.requests.WithLabelValues(string(kind), name, string(outcome), string(reason))
				}
			}
		}
	}
}

func (m *Metrics) presetUnclaimed() {
	for _, kind := range []Kind{KindStamp, KindValidate} {
		m.requests.WithLabelValues(string(kind), "", string(Allowed), string(v1alpha1.NotMeshed))
		m.requests.WithLabelValues(string(kind), "", string(Failed), string(v1alpha1.BadRequest))
		m.requests.WithLabelValues(string(kind), "", string(Failed), string(v1alpha1.Unavailable))
		m.duration.WithLabelValues(string(kind))
	}
}

// observe counts one decision.
func (m *Metrics) observe(kind Kind, d *Decision, took time.Duration) {
	m.requests.WithLabelValues(string(kind), d.Mesh, string(d.Outcome), string(d.Reason)).Inc()
	m.duration.WithLabelValues(string(kind)).Observe(took.Seconds())
}

// claimedOutcomes lists the reasons with which each outcome is possible for a
// pod that a MeshTrust claims.
func claimedOutcomes() map[Kind]map[Outcome][]v1alpha1.Reason {
	leftAlone := []v1alpha1.Reason{v1alpha1.Suspended, v1alpha1.OptedOut}
	works := []v1alpha1.Reason{v1alpha1.Current, v1alpha1.Missing, v1alpha1.Retired, v1alpha1.TrustUnknown}
	broken := []v1alpha1.Reason{v1alpha1.TrustExpired, v1alpha1.NoCertificate, v1alpha1.IssuerNotTrusted}
	judged := append([]v1alpha1.Reason{v1alpha1.TrustExpired, v1alpha1.NoCertificate}, works...)
	return map[Kind]map[Outcome][]v1alpha1.Reason{
		KindStamp: {
			Allowed: append(leftAlone, judged...), Stamped: judged,
			Unstamped: {v1alpha1.Current, v1alpha1.TrustUnknown},
		},
		KindValidate: {
			Allowed: append(leftAlone, works...), Denied: broken, Audited: broken,
			Warned: append([]v1alpha1.Reason{v1alpha1.TrustUnknown}, broken...),
		},
	}
}
