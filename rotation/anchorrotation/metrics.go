package anchorrotation

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// Metrics are those of rotations. The only label whose values users create is
// the name of the MeshTrust.
type Metrics struct {
	writes, failures *prometheus.CounterVec
	ends             *prometheus.CounterVec

	mu     sync.Mutex
	meshes map[string]shown
}

// shown is what is shown of one mesh.
type shown struct {
	// phase is empty without a run, blocked while it goes on.
	phase   v1alpha1.Phase
	since   time.Time
	blocked v1alpha1.Reason
	exposed bool
}

// NewMetrics registers the metrics of rotations.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"mesh", label})
	}
	m := &Metrics{
		writes:   counter("reanchor_rotation_writes_total", "Writes of rotations and of the standing rules, by verb.", "verb"),
		failures: counter("reanchor_rotation_write_failures_total", "Writes that were refused, by verb.", "verb"),
		ends:     counter("reanchor_rotations_ended_total", "AnchorRotations that ended, by outcome.", "outcome"),
		meshes:   map[string]shown{},
	}
	for _, c := range []prometheus.Collector{m.writes, m.failures, m.ends, m} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) wrote(mesh string, v lifecycle.Verb) {
	m.writes.WithLabelValues(mesh, string(v)).Inc()
}
func (m *Metrics) failed(mesh string, v lifecycle.Verb) {
	m.failures.WithLabelValues(mesh, string(v)).Inc()
}
func (m *Metrics) ended(mesh string, o lifecycle.Outcome) {
	m.ends.WithLabelValues(mesh, string(o)).Inc()
}

// show takes over what a mesh does. Of a new one every series appears with 0,
// so that the first event is an increase that an alert can see.
func (m *Metrics) show(mesh string, s shown) {
	m.mu.Lock()
	_, known := m.meshes[mesh]
	m.meshes[mesh] = s
	m.mu.Unlock()
	if known {
		return
	}
	for _, o := range []lifecycle.Outcome{lifecycle.Complete, lifecycle.Failed} {
		m.ends.WithLabelValues(mesh, string(o))
	}
	for _, v := range lifecycle.Verbs() {
		m.writes.WithLabelValues(mesh, string(v))
		m.failures.WithLabelValues(mesh, string(v))
	}
}

func (m *Metrics) forget(mesh string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.meshes, mesh)
	for _, v := range []*prometheus.CounterVec{m.writes, m.failures, m.ends} {
		v.DeletePartialMatch(prometheus.Labels{"mesh": mesh})
	}
}

func phaseDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_rotation_phase", "1 for the phase that the rotation of a mesh is in; all 0 without one.", []string{"mesh", "phase"}, nil)
}

func sinceDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_rotation_phase_start_timestamp_seconds", "When the present phase was entered; 0 without a rotation.", []string{"mesh"}, nil)
}

func blockedDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_rotation_blocked", "Whether the rotation waits for something that does not end by itself.", []string{"mesh"}, nil)
}

func exposedDesc() *prometheus.Desc {
	return prometheus.NewDesc("reanchor_signing_exposed", "Whether an issuer that renews itself now would break handshakes.", []string{"mesh"}, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{phaseDesc(), sinceDesc(), blockedDesc(), exposedDesc()} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for mesh, s := range m.meshes {
		for _, phase := range v1alpha1.Phases() {
			gauge(phaseDesc(), number(phase == s.phase), mesh, string(phase))
		}
		start := 0.0
		if s.phase != "" {
			start = float64(s.since.Unix())
		}
		gauge(sinceDesc(), start, mesh)
		gauge(blockedDesc(), number(s.blocked != ""), mesh)
		gauge(exposedDesc(), number(s.exposed), mesh)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
