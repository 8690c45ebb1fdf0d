package checker

import (
	"cmp"
	"slices"
)

// Loaded is a process with one of the files found that it loaded, and the
// verdict on the two: the pairs behind [RestartSuspected], those that are fine
// included, so that "fine" can be shown and not only be inferred from silence.
type Loaded struct {
	// Process is the program's name, PID the one that was looked at.
	Process string `json:"process"`
	PID     int    `json:"pid"`
	// Path is where the file was found, with the entry inside where there is one.
	Path string `json:"path"`
	// RestartSuspected is true when the file changed after the process had
	// started, and the process reads such a file only then.
	RestartSuspected bool `json:"restartSuspected"`
}

// LoadedFiles pairs the processes of facts with the files that they loaded,
// ordered by process and path. A pair that policy ignores is not suspected.
func LoadedFiles(facts Facts, policy Policy) []Loaded {
	r := &run{policy: policy}
	var all []Loaded
	for i := range facts.Processes {
		p := &facts.Processes[i]
		for j := range facts.Files {
			f := &facts.Files[j]
			if f.Orphan != "" || f.Changed.IsZero() {
				continue
			}
			if trust, ok := p.loaded(f); ok {
				ignored := policy.ignores(Finding{ID: RestartSuspected, Path: f.location()})
				all = append(all, Loaded{p.Name, p.PID, f.location(), !ignored && r.stale(p, f, trust)})
			}
		}
	}
	slices.SortFunc(all, func(a, b Loaded) int {
		return cmp.Or(cmp.Compare(a.Process, b.Process), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Path, b.Path))
	})
	return slices.Compact(all)
}
