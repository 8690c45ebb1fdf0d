package rotation

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/anchorrotation"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// Metrics are the controller's: counters of what it did, and for each mesh the
// state that its status had last. The only label whose values users create is
// the name of the MeshTrust.
type Metrics struct {
	decisions *prometheus.CounterVec
	writes    *prometheus.CounterVec
	ended     *prometheus.CounterVec

	// rotations are those of anchor rotations.
	rotations *anchorrotation.Metrics

	mu     sync.Mutex
	states map[string]state
}

// state is what is shown of one mesh.
type state struct {
	pods                         v1alpha1.PodCounts
	inFlight, failed, blocked    int
	bundleExpires, issuerExpires time.Time
	conditions                   map[string]metav1.ConditionStatus
}

// NewMetrics registers the controller's metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reanchor_rollout_decisions_total", Help: "Decisions of the roller by their reason.",
		}, []string{"mesh", "reason"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reanchor_rollout_writes_total", Help: "Writes to workloads by verb.",
		}, []string{"mesh", "verb"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reanchor_rollout_ended_total", Help: "Rolls that ended, by reason; Converged is good.",
		}, []string{"mesh", "reason"}),
		states: map[string]state{},
	}
	var err error
	if m.rotations, err = anchorrotation.NewMetrics(registry); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{m.decisions, m.writes, m.ended, m} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// preset makes every series of a mesh appear with 0, so that the first event is
// an increase that an alert can see.
func (m *Metrics) preset(mesh string) {
	for _, reason := range v1alpha1.Reasons() {
		m.decisions.WithLabelValues(mesh, string(reason))
		m.ended.WithLabelValues(mesh, string(reason))
	}
	for _, verb := range []v1alpha1.Verb{v1alpha1.VerbRestart, v1alpha1.VerbEvict, v1alpha1.VerbRestartAt, v1alpha1.VerbAnnotate} {
		m.writes.WithLabelValues(mesh, string(verb))
	}
}

func (m *Metrics) wrote(mesh string, verb v1alpha1.Verb) {
	m.writes.WithLabelValues(mesh, string(verb)).Inc()
}

// observe takes over what a status says.
func (m *Metrics) observe(mt *v1alpha1.MeshTrust, d rollout.Decision) {
	m.show(mt)
	m.decisions.WithLabelValues(mt.Name, string(d.Reason)).Inc()
	for _, e := range d.Ended {
		m.ended.WithLabelValues(mt.Name, string(e.Reason)).Inc()
	}
}

// show takes over the state of a mesh.
func (m *Metrics) show(mt *v1alpha1.MeshTrust) {
	m.mu.Lock()
	_, known := m.states[mt.Name]
	m.states[mt.Name] = stateFor(mt)
	m.mu.Unlock()
	if !known {
		m.preset(mt.Name)
	}
}

func stateFor(mt *v1alpha1.MeshTrust) state {
	s := state{
		pods: mt.Status.Pods, inFlight: int(mt.Status.Rollout.InProgressTotal), failed: int(mt.Status.Rollout.FailedTotal),
		blocked: int(mt.Status.Rollout.BlockedTotal), conditions: map[string]metav1.ConditionStatus{},
	}
	for _, kind := range v1alpha1.MeshTrustConditions() {
		s.conditions[kind] = metav1.ConditionUnknown // so also when nothing was said of it yet
		if c := apimeta.FindStatusCondition(mt.Status.Conditions, kind); c != nil {
			s.conditions[kind] = c.Status
		}
	}
	if b := mt.Status.Bundle; b != nil {
		for _, a := range b.Anchors {
			if a.NotAfter != nil && a.NotAfter.After(s.bundleExpires) {
				s.bundleExpires = a.NotAfter.Time
			}
		}
	}
	if i := mt.Status.Issuer; i != nil && i.NotAfter != nil {
		s.issuerExpires = i.NotAfter.Time
	}
	return s
}

func (m *Metrics) forget(mesh string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.states, mesh)
	for _, v := range []*prometheus.CounterVec{m.decisions, m.writes, m.ended} {
		v.DeletePartialMatch(prometheus.Labels{"mesh": mesh})
	}
}

func podsDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_pods", "Meshed pods by class.", []string{"mesh", "class"}, nil)
}

func workloadsDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_rollout_workloads", "Workloads that roll, failed to, or are blocked.", []string{"mesh", "state"}, nil)
}

func notAfterDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_not_after_timestamp_seconds", "When the bundle's last anchor and the issuer in use expire.", []string{"mesh", "certificate"}, nil)
}

func conditionDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_condition", "Whether a condition of the MeshTrust has the status: 1 for one of true, false and unknown, 0 for the others.",
		[]string{"mesh", "condition", "status"}, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{podsDesc(), workloadsDesc(), notAfterDesc(), conditionDesc()} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for mesh, s := range m.states {
		s.collect(mesh, out)
	}
}

func (s state) collect(mesh string, out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{mesh}, labels...)...)
	}
	p := s.pods
	for class, n := range map[string]int32{
		"current": p.Current, "missing": p.Missing, "expired": p.Expired, "retired": p.Retired, "unknown": p.Unknown, "exempt": p.Exempt,
	} {
		gauge(podsDesc(), float64(n), class)
	}
	gauge(workloadsDesc(), float64(s.inFlight), "in_flight")
	gauge(workloadsDesc(), float64(s.failed), "failed")
	gauge(workloadsDesc(), float64(s.blocked), "blocked")
	for certificate, at := range map[string]time.Time{"bundle": s.bundleExpires, "issuer": s.issuerExpires} {
		if !at.IsZero() {
			gauge(notAfterDesc(), float64(at.Unix()), certificate)
		}
	}
	for kind, is := range s.conditions {
		for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			value := 0.0
			if is == status {
				value = 1
			}
			gauge(conditionDesc(), value, kind, strings.ToLower(string(status)))
		}
	}
}
