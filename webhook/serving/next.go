package serving

import (
	"crypto/x509"
	"maps"
	"slices"
	"time"
)

// Policy says when to rotate. All durations are positive.
type Policy struct {
	// Names are the host names by which the API server calls.
	Names []string
	// Lifetime is that of a new generation; RenewBefore is how long before its
	// end the next one is issued, and must leave room for Pause.
	Lifetime, RenewBefore time.Duration
	// Pause is how long after every caBundle holds a new CA the leaf is
	// switched: API servers read the configurations from a cache.
	Pause time.Duration
	// Interval is how often to look when nothing is expected.
	Interval time.Duration
	// External says that others write the certificate and the caBundles.
	External bool
}

// State is what the replicas share.
type State struct {
	Current, Next Generation
	// Previous is the CA of the generation before, in PEM; may be empty.
	Previous []byte
}

// Bundle is the caBundle that follows from the state: every CA under which a
// replica may serve at this moment or soon. The certificates are written anew: the
// Secret can be edited, and texts that are put together as they are (one damaged, or
// without the end of its last line) can make a caBundle of which nothing can be read.
func (s State) Bundle() []byte {
	var cas []*x509.Certificate
	for _, text := range [][]byte{s.Previous, s.Current.CA, s.Next.CA} {
		for _, ca := range certificates(text) {
			if !slices.ContainsFunc(cas, ca.Equal) {
				cas = append(cas, ca)
			}
		}
	}
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, certificatePEM(ca.Raw)...)
	}
	return bundle
}

// Names returns the names for which a new generation is issued: this replica's
// own, and first of all. While replicas of before and after a change of names
// live side by side, those of a stored generation that lacks some of them go on:
// else each would replace what the other issued, for ever.
func (s State) Names(own []string, now time.Time) []string {
	names := slices.Clone(own)
	for _, g := range []Generation{s.Current, s.Next} {
		if g.Check(nil, now) != nil || g.Check(own, now) == nil {
			continue
		}
		for _, name := range g.names() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Facts are what was observed.
type Facts struct {
	// State is what the Secret holds; Exists is false when there is none.
	State  State
	Exists bool
	// Serving is what this replica presents now.
	Serving Generation
	// Registered is by what API servers know the webhooks.
	Registered Registered
	// NextSince is since when this replica has seen the CA of State.Next in
	// every caBundle of the validating configuration; the zero time when it does
	// not.
	NextSince time.Time
}

// Registered is what was observed of the two webhook configurations. Pods wait for
// the validating one alone, so that nothing here waits for the other.
type Registered struct {
	Validating, Mutating Registration
}

// Registration is what was observed of one webhook configuration.
type Registration struct {
	// Missing says that it does not exist, or cannot be read; else it is empty.
	Missing string
	// Bundles are the caBundles of its webhooks, by the name of the webhook.
	Bundles map[string][]byte
}

// holds reports whether every caBundle holds the certificates of the CA, of which
// there are some.
func (r Registration) holds(ca []byte) bool {
	if r.Missing != "" {
		return false
	}
	wanted := certificates(ca)
	for _, bundle := range r.Bundles {
		held := certificates(bundle)
		for _, want := range wanted {
			if !slices.ContainsFunc(held, want.Equal) {
				return false
			}
		}
	}
	return len(wanted) > 0
}

// Action is a change of what the replicas share.
type Action string

// The actions. Each is one write of the Secret.
const (
	// Nothing is to be written.
	Nothing Action = ""
	// IssueCurrent starts anew with a fresh generation: there is none to keep.
	IssueCurrent Action = "IssueCurrent"
	// Restore stores what this replica serves, because the Secret was lost.
	Restore Action = "Restore"
	// IssueNext adds a generation to switch to.
	IssueNext Action = "IssueNext"
	// Promote switches to the next generation.
	Promote Action = "Promote"
)

// Decision says what to do.
type Decision struct {
	// Action is done to the Secret. When it is not Nothing, decide again after it;
	// the rest is what to do meanwhile if it fails.
	Action Action
	// Why says in a few words why, for the log.
	Why string
	// Serve is what this replica must present.
	Serve Generation
	// Kept says why what others wrote is not served, but what was before; empty when
	// it is.
	Kept string
	// Bundle is what every caBundle must be; nil when they are left alone.
	Bundle []byte
	// NotReady says why this replica could not be reached to validate; empty when
	// it can.
	NotReady string
	// Unstamped says why it could not be reached to stamp; empty when it can.
	Unstamped string
	// After is when to look again, at the latest.
	After time.Duration
}

// Next decides. It is total: for any facts there is an answer.
func Next(f Facts, p Policy, now time.Time) Decision {
	if p.External {
		return external(f, p, now)
	}
	if err := f.State.Current.Check(nil, now); err != nil {
		return replace(f, p, now, err.Error())
	}
	d := Decision{Serve: f.State.Current, Bundle: f.State.Bundle(), After: p.Interval}
	d.Action, d.Why, d.After = rotate(f, p, now)
	return d.reached(f, p, now)
}

// replace gets a generation where the stored one is of no use. Nothing that is
// served now depends on it, so there is nothing to wait for.
func replace(f Facts, p Policy, now time.Time, why string) Decision {
	d := Decision{Action: IssueCurrent, Why: why, Serve: f.Serving, After: p.Interval}
	switch {
	case f.State.Next.Check(p.Names, now) == nil:
		d.Action = Promote
	case f.Serving.Check(p.Names, now) == nil && due(f.Serving, p).After(now):
		d.Action, d.Why = Restore, "the Secret was lost: "+why
	}
	if d.Serve.Empty() {
		d.NotReady, d.Unstamped = why, why
		return d
	}
	return d.reached(f, p, now)
}

// rotate decides whether a step of a rotation is due, or when to look again.
func rotate(f Facts, p Policy, now time.Time) (Action, string, time.Duration) {
	next := f.State.Next
	if next.Empty() {
		return begin(f.State.Current, p, now)
	}
	if err := next.Check(p.Names, now); err != nil {
		return IssueNext, err.Error(), 0
	}
	if f.NextSince.IsZero() {
		return Nothing, "", p.Interval
	}
	if at := f.NextSince.Add(p.Pause); at.After(now) {
		return Nothing, "", min(p.Interval, at.Sub(now))
	}
	return Promote, "every caBundle has held the new CA long enough", 0
}

// begin decides whether a rotation must begin. New names are one more reason:
// those by which the API servers call now go on meanwhile.
func begin(current Generation, p Policy, now time.Time) (Action, string, time.Duration) {
	if err := current.Check(p.Names, now); err != nil {
		return IssueNext, err.Error(), 0
	}
	if at := due(current, p); at.After(now) {
		return Nothing, "", min(p.Interval, at.Sub(now))
	}
	return IssueNext, "the serving certificate nears its end", 0
}

func due(g Generation, p Policy) time.Time { return g.NotAfter().Add(-p.RenewBefore) }

// external serves what others wrote, as soon as it fits: files that no API server
// would believe never take the place of a certificate that they do. A caBundle that
// is injected after the files, or never, then costs no pod.
func external(f Facts, p Policy, now time.Time) Decision {
	d := Decision{Serve: f.State.Current, After: p.Interval}
	if _, err := d.Serve.Certificate(); err != nil {
		d.Serve = f.Serving
	}
	d = d.reached(f, p, now)
	if d.NotReady == "" || d.Serve.Equal(f.Serving) {
		return d
	}
	kept := Decision{Serve: f.Serving, Kept: d.NotReady, After: p.Interval}.reached(f, p, now)
	if kept.NotReady != "" {
		return d
	}
	return kept
}

// reached adds whether API servers would believe what is served.
func (d Decision) reached(f Facts, p Policy, now time.Time) Decision {
	d.NotReady = unreachable(f.Registered.Validating, p, d.Serve, now)
	d.Unstamped = unreachable(f.Registered.Mutating, p, d.Serve, now)
	return d
}

// unreachable says why an API server that trusts the present caBundles would
// refuse this replica, empty when it would not.
func unreachable(r Registration, p Policy, serve Generation, now time.Time) string {
	if r.Missing != "" {
		return r.Missing
	}
	for _, name := range slices.Sorted(maps.Keys(r.Bundles)) {
		if err := serve.verify(r.Bundles[name], p.Names, now); err != nil {
			return "webhook " + name + ": " + err.Error()
		}
	}
	return ""
}

// Apply returns the state after the action; fresh makes a new generation.
func (s State) Apply(a Action, serving Generation, fresh func() (Generation, error)) (State, error) {
	var err error
	switch a {
	case IssueCurrent:
		s.Previous, s.Next = s.Current.CA, Generation{}
		s.Current, err = fresh()
	case Restore:
		s.Current = serving
	case IssueNext:
		s.Next, err = fresh()
	case Promote:
		s.Previous, s.Current, s.Next = s.Current.CA, s.Next, Generation{}
	}
	return s, err
}
