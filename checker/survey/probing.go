package survey

import (
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"time"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/probe"
)

// answers are what servers said when they were last probed.
type answers struct {
	at        time.Time
	state     checker.Fingerprint
	endpoints []checker.Endpoint
}

// Refresh makes the next survey probe, however recent the last answers are.
func (s *Surveyor) Refresh() { s.last = answers{} }

// probe asks the servers, or repeats what they said less than ProbeEvery ago.
// It never repeats an answer from before a change of a file: compared with the
// new file, that would be a mismatch which may not be there any more.
func (s *Surveyor) probe(ctx context.Context, targets []probe.Target, files []checker.File) []checker.Endpoint {
	if s.ProbeEvery <= 0 || len(targets) == 0 {
		return s.Prober.Probe(ctx, targets)
	}
	now, state := s.Clock.Now(), stateOf(files)
	if s.last.at.IsZero() || state != s.last.state || now.Sub(s.last.at) >= s.ProbeEvery {
		endpoints := s.Prober.Probe(ctx, targets)
		if ctx.Err() != nil {
			return endpoints // cut short, so not worth remembering
		}
		s.last = answers{now, state, endpoints}
	}
	return slices.Clone(s.last.endpoints)
}

// stateOf changes when any certificate, or a key that lies beside one, does.
func stateOf(files []checker.File) checker.Fingerprint {
	h := sha256.New()
	for i := range files {
		f := &files[i]
		io.WriteString(h, f.Path+"\x00"+f.Key+"\x00") // a hash takes everything
		for _, c := range f.Certs {
			h.Write(c.Fingerprint[:])
		}
		if f.KeyFile != nil {
			for _, k := range f.KeyFile.Keys {
				h.Write(k[:])
			}
		}
	}
	return checker.Fingerprint(h.Sum(nil))
}
