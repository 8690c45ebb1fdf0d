package identity

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// version is what the mounted files of the issuer are since a moment.
type version struct {
	since time.Time
	files files
}

// startWaiting starts the replicas that can be, and returns the held pods of
// those that have started.
func (rs *replicas) startWaiting() []types.NamespacedName {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var held []types.NamespacedName
	for _, r := range rs.all {
		if r.issuer == nil {
			rs.tryStart(r)
		}
		if r.issuer != nil && r.pod.held {
			held = append(held, r.pod.name)
		}
	}
	return held
}

// tryStart reads everything anew. Without the files the kubelet does not start
// the container; that is no refusal.
func (rs *replicas) tryStart(r *replica) {
	now, last := rs.options.Clock.Now(), len(rs.issuers)-1
	if now.Before(r.notBefore) || last < 0 || !rs.issuers[last].files.present() || rs.anchors == nil {
		return
	}
	i, err := load(rs.issuers[last].files, rs.anchors, now)
	if err != nil {
		rs.counters.Refused++
		r.notBefore = now.Add(rs.options.RestartDelay)
		return
	}
	r.issuer, r.anchors, r.read = i, rs.anchors, last+1
}

// catchUp lets a replica read what its files have become, one after the other. A
// Secret that is deleted leaves the files.
func (rs *replicas) catchUp(r *replica) {
	if r.issuer == nil || r.stopped {
		return
	}
	now := rs.options.Clock.Now()
	for ; r.read < len(rs.issuers); r.read++ {
		v := rs.issuers[r.read]
		seen := v.since.Add(r.place.lag)
		if seen.After(now) {
			return
		}
		if !v.files.present() {
			continue
		}
		if i, err := load(v.files, r.anchors, seen); err != nil {
			rs.counters.Skipped++
		} else {
			r.issuer = i
		}
	}
}

func (rs *replicas) catchUpAll() {
	for _, r := range rs.all {
		rs.catchUp(r)
	}
}
