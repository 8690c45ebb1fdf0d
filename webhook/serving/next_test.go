package serving_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/webhook/serving"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func policy() serving.Policy {
	return serving.Policy{
		Names: []string{"reanchor-webhook.reanchor-system.svc", "127.0.0.1"}, Lifetime: 90 * 24 * time.Hour,
		RenewBefore: 30 * 24 * time.Hour, Pause: 10 * time.Second, Interval: time.Minute,
	}
}

func issue(t *testing.T, at time.Time) serving.Generation {
	t.Helper()
	g, err := serving.Issue(policy().Names, at, policy().Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// both is what is registered when every caBundle is the given one.
func both(b []byte) serving.Registered { return registered(b, b) }

func registered(validate, stamp []byte) serving.Registered {
	return serving.Registered{
		Validating: serving.Registration{Bundles: map[string][]byte{"validate": validate}},
		Mutating:   serving.Registration{Bundles: map[string][]byte{"stamp": stamp}},
	}
}

// gone is a configuration that somebody deleted.
func gone(name string) serving.Registration {
	return serving.Registration{Missing: name + " does not exist"}
}

func TestNext(t *testing.T) {
	const day = 24 * time.Hour
	fresh, old, next := issue(t, now), issue(t, now.Add(-70*day)), issue(t, now)
	expired, other := issue(t, now.Add(-100*day)), issue(t, now)
	stranger, err := serving.Issue([]string{"elsewhere"}, now, day)
	if err != nil {
		t.Fatal(err)
	}
	mixed := serving.Generation{CA: other.CA, Cert: fresh.Cert, Key: fresh.Key}
	state := func(current, next serving.Generation) serving.State {
		return serving.State{Current: current, Next: next}
	}
	none := serving.Generation{}
	for name, tc := range map[string]struct {
		facts    serving.Facts
		action   serving.Action
		serve    serving.Generation
		notReady string
		after    time.Duration
	}{
		"the first start":                           {serving.Facts{}, serving.IssueCurrent, none, "no serving certificate", time.Minute},
		"the Secret is garbage":                     {serving.Facts{Exists: true, State: state(serving.Generation{CA: []byte("x"), Cert: []byte("y"), Key: []byte("z")}, none)}, serving.IssueCurrent, none, "reading the serving certificate", time.Minute},
		"the stored certificate has expired":        {serving.Facts{Exists: true, State: state(expired, none)}, serving.IssueCurrent, none, "expired", time.Minute},
		"it is for another name":                    {serving.Facts{Exists: true, State: state(stranger, none), Registered: both(stranger.CA)}, serving.IssueNext, stranger, "other names", 0},
		"it is not of its CA":                       {serving.Facts{Exists: true, State: state(mixed, none)}, serving.IssueCurrent, none, "not verify", time.Minute},
		"the Secret was deleted under a server":     {serving.Facts{Serving: fresh, Registered: both(fresh.CA)}, serving.Restore, fresh, "", time.Minute},
		"deleted, and no caBundle is of the server": {serving.Facts{Serving: fresh, Registered: both(other.CA)}, serving.Restore, fresh, "webhook validate", time.Minute},
		"deleted, and what is served nears its end": {serving.Facts{Serving: old, Registered: both(old.CA)}, serving.IssueCurrent, old, "", time.Minute},
		"the stored one is broken, the next is not": {serving.Facts{Exists: true, State: state(expired, next)}, serving.Promote, none, "expired", time.Minute},
		"all is well":                               {serving.Facts{Exists: true, State: state(fresh, none), Registered: both(fresh.CA)}, serving.Nothing, fresh, "", time.Minute},
		"the caBundle is empty":                     {serving.Facts{Exists: true, State: state(fresh, none), Registered: both(nil)}, serving.Nothing, fresh, "caBundle holds no certificate", time.Minute},
		"one caBundle is another's":                 {serving.Facts{Exists: true, State: state(fresh, none), Registered: registered(other.CA, fresh.CA)}, serving.Nothing, fresh, "webhook validate", time.Minute},
		"it is not registered to validate":          {serving.Facts{Exists: true, State: state(fresh, none), Registered: serving.Registered{Validating: gone("reanchor-validate"), Mutating: both(fresh.CA).Mutating}}, serving.Nothing, fresh, "reanchor-validate does not exist", time.Minute},
		"the certificate nears its end":             {serving.Facts{Exists: true, State: state(old, none), Registered: both(old.CA)}, serving.IssueNext, old, "", 0},
		"the next CA is not published yet":          {serving.Facts{Exists: true, State: state(old, next), Registered: both(old.CA)}, serving.Nothing, old, "", time.Minute},
		"it was published a moment ago":             {serving.Facts{Exists: true, State: state(old, next), Registered: both(append(old.CA, next.CA...)), NextSince: now.Add(-4 * time.Second)}, serving.Nothing, old, "", 6 * time.Second},
		"it was published long enough ago":          {serving.Facts{Exists: true, State: state(old, next), Registered: both(append(old.CA, next.CA...)), NextSince: now.Add(-10 * time.Second)}, serving.Promote, old, "", 0},
		"the next one is broken":                    {serving.Facts{Exists: true, State: state(old, mixed), Registered: both(old.CA)}, serving.IssueNext, old, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := serving.Next(tc.facts, policy(), now)
			if d.Action != tc.action || !d.Serve.Equal(tc.serve) || d.After != tc.after {
				t.Errorf("action %q (%s) after %s, serving the right one: %v", d.Action, d.Why, d.After, d.Serve.Equal(tc.serve))
			}
			if !strings.Contains(d.NotReady, tc.notReady) || (tc.notReady == "" && d.NotReady != "") {
				t.Errorf("not ready: %q, want %q", d.NotReady, tc.notReady)
			}
			if d.Action == serving.Nothing && !bytes.Equal(d.Bundle, tc.facts.State.Bundle()) {
				t.Error("the caBundle does not follow from the state")
			}
		})
	}
}

// Pods wait for the validating webhook alone, so a replica that answers them must
// get them, whatever became of the other one.
func TestTheStampIsNoReasonToBeNotReady(t *testing.T) {
	fresh, other := issue(t, now), issue(t, now)
	unregistered := both(fresh.CA)
	unregistered.Mutating = gone("zz-reanchor-stamp")
	for name, tc := range map[string]struct {
		registered serving.Registered
		external   bool
		unstamped  string
	}{
		"both are registered":                    {both(fresh.CA), false, ""},
		"the stamp's configuration is gone":      {unregistered, false, "zz-reanchor-stamp does not exist"},
		"the same, with a certificate of others": {unregistered, true, "zz-reanchor-stamp does not exist"},
		"its caBundle is another's":              {registered(fresh.CA, other.CA), false, "webhook stamp: the serving certificate does not verify"},
		"its caBundle is empty":                  {registered(fresh.CA, nil), false, "webhook stamp: the caBundle holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy()
			p.External = tc.external
			d := serving.Next(serving.Facts{Exists: true, State: serving.State{Current: fresh}, Registered: tc.registered}, p, now)
			if d.NotReady != "" {
				t.Errorf("not ready: %q", d.NotReady)
			}
			if !strings.Contains(d.Unstamped, tc.unstamped) || tc.unstamped == "" && d.Unstamped != "" {
				t.Errorf("of the stamp it says %q, want %q", d.Unstamped, tc.unstamped)
			}
		})
	}
}

func TestCertificatesOfOthersAreServedAndNeverWritten(t *testing.T) {
	p := policy()
	p.External = true
	fresh, other := issue(t, now), issue(t, now)
	old := issue(t, now.Add(-2*policy().Lifetime))
	other.CA = nil // files hold the leaf and its key
	next := serving.State{Current: other}
	for name, tc := range map[string]struct {
		facts    serving.Facts
		serve    serving.Generation
		notReady string
		kept     string
	}{
		"they fit":                         {serving.Facts{State: serving.State{Current: other}, Registered: both(issueBundle(t, fresh))}, other, "not verify", ""},
		"the caBundle trusts them":         {serving.Facts{State: serving.State{Current: fresh}, Registered: both(fresh.CA)}, fresh, "", ""},
		"files half written":               {serving.Facts{State: serving.State{Current: serving.Generation{Cert: fresh.Cert}}, Serving: fresh, Registered: both(fresh.CA)}, fresh, "", ""},
		"no files yet":                     {serving.Facts{Registered: both(fresh.CA)}, serving.Generation{}, "no serving certificate", ""},
		"the caBundle is not injected yet": {serving.Facts{State: serving.State{Current: fresh}, Registered: both(nil)}, fresh, "caBundle", ""},
		"a caBundle that knows what is served, and not the files": {serving.Facts{State: next, Serving: fresh, Registered: both(fresh.CA)}, fresh, "", "webhook validate: the serving certificate does not verify"},
		"a stamp alone that knows what is served":                 {serving.Facts{State: next, Serving: fresh, Registered: registered(nil, fresh.CA)}, other, "caBundle", ""},
		"a caBundle that knows what is served, which has expired": {serving.Facts{State: next, Serving: old, Registered: both(old.CA)}, other, "not verify", ""},
		"a caBundle that knows neither":                           {serving.Facts{State: next, Serving: old, Registered: both(fresh.CA)}, other, "not verify", ""},
		"no configuration":                                        {serving.Facts{State: next, Serving: fresh, Registered: serving.Registered{Validating: gone("v"), Mutating: gone("m")}}, other, "does not exist", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := serving.Next(tc.facts, p, now)
			if d.Action != serving.Nothing || d.Bundle != nil {
				t.Errorf("writes %q", d.Action)
			}
			if !d.Serve.Equal(tc.serve) || !strings.Contains(d.NotReady, tc.notReady) || (tc.notReady == "" && d.NotReady != "") {
				t.Errorf("serves the right one: %v, not ready: %q", d.Serve.Equal(tc.serve), d.NotReady)
			}
			if !strings.HasPrefix(d.Kept, tc.kept) || tc.kept == "" && d.Kept != "" {
				t.Errorf("keeps what it serves because %q", d.Kept)
			}
		})
	}
}

func issueBundle(t *testing.T, g serving.Generation) []byte {
	t.Helper()
	return g.CA
}

// The Secret can be edited, and what is wrong with one CA must not hide another.
func TestADamagedCAHidesNoOther(t *testing.T) {
	fresh, before := issue(t, now), issue(t, now)
	crlf := bytes.ReplaceAll(before.CA, []byte("\n"), []byte("\r\n"))
	for name, tc := range map[string]struct {
		previous []byte
		want     string
	}{
		"nothing":                                {nil, string(fresh.CA)},
		"no certificate, and no end of its line": {[]byte("x"), string(fresh.CA)},
		"one without the end of its last line":   {bytes.TrimSpace(before.CA), string(before.CA) + string(fresh.CA)},
		"one that is cut off":                    {before.CA[:len(before.CA)/2], string(fresh.CA)},
		"one with another block before it":       {append([]byte("-----BEGIN X-----\n-----END X-----\n"), before.CA...), string(before.CA) + string(fresh.CA)},
		"one that is no certificate":             {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), string(fresh.CA)},
		"one with other line ends":               {crlf, string(before.CA) + string(fresh.CA)},
		"the same again, with other line ends":   {bytes.ReplaceAll(fresh.CA, []byte("\n"), []byte("\r\n")), string(fresh.CA)},
		"a key":                                  {fresh.Key, string(fresh.CA)},
	} {
		t.Run(name, func(t *testing.T) {
			got := serving.State{Previous: tc.previous, Current: fresh}.Bundle()
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("the caBundle (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhateverIsServedIsTrusted runs two replicas with clocks that tick in turn
// through a year, with the Secret deleted, garbled and the caBundle emptied on
// the way, and asks at every step whether each caBundle that an API server may
// have cached trusts what each replica serves.
func TestWhateverIsServedIsTrusted(t *testing.T) {
	p := policy()
	const step, year = 29 * time.Hour, 365 * 24 * time.Hour
	var state serving.State
	var published []byte
	var cached []byte // what API servers have: one pause old at most
	replicas := make([]serving.Generation, 2)
	seen := make([]time.Time, 2)
	rotations := 0
	for at := now; at.Before(now.Add(year)); at = at.Add(step) {
		switch at.Sub(now) / step {
		case 20:
			state = serving.State{}
		case 30:
			published = nil
		}
		for i := range replicas {
			moment := at.Add(time.Duration(i) * time.Second)
			cached = published
			for range 10 {
				holds := len(state.Next.CA) > 0 && bytes.Contains(published, state.Next.CA)
				if !holds {
					seen[i] = time.Time{}
				} else if seen[i].IsZero() {
					seen[i] = moment
				}
				d := serving.Next(serving.Facts{
					State: state, Exists: !state.Current.Empty(), Serving: replicas[i], Registered: both(published), NextSince: seen[i],
				}, p, moment)
				if d.Action != serving.Nothing {
					if d.Action == serving.Promote {
						rotations++
					}
					var err error
					state, err = state.Apply(d.Action, replicas[i], func() (serving.Generation, error) {
						return serving.Issue(p.Names, moment, p.Lifetime)
					})
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				replicas[i], published = d.Serve, d.Bundle
				break
			}
			for r, g := range replicas {
				if g.Empty() || len(cached) == 0 {
					continue
				}
				check := g
				check.CA = cached
				if err := check.Check(p.Names, moment); err != nil {
					t.Fatalf("at %s replica %d is not trusted: %v", moment, r, err)
				}
			}
		}
	}
	if rotations < 5 {
		t.Errorf("%d rotations in a year", rotations)
	}
}

// While the Deployment changes the name by which it is called, replicas of both
// names share the Secret. They must come to rest, under what serves both.
func TestReplicasOfTwoNamesComeToRest(t *testing.T) {
	replicas := []serving.Policy{policy(), policy()}
	replicas[1].Names = []string{"other.reanchor-system.svc"}
	state := serving.State{Current: issue(t, now)}
	var seen [2]time.Time
	rest := 0
	for at := now; rest < 10; at = at.Add(time.Second) {
		if at.Sub(now) > 5*time.Minute {
			t.Fatal("they go on and on")
		}
		for i, p := range replicas {
			if seen[i].IsZero() && !state.Next.Empty() {
				seen[i] = at
			}
			d := serving.Next(serving.Facts{State: state, Exists: true, Serving: state.Current, Registered: both(state.Bundle()), NextSince: seen[i]}, p, at)
			if rest++; d.Action == serving.Nothing {
				continue
			}
			rest = 0
			next, err := state.Apply(d.Action, state.Current, func() (serving.Generation, error) {
				return serving.Issue(state.Names(p.Names, at), at, p.Lifetime)
			})
			if err != nil {
				t.Fatal(err)
			}
			if !next.Next.Equal(state.Next) {
				clear(seen[:])
			}
			state = next
		}
		if !state.Next.Empty() {
			rest = 0 // a rotation is under way
		}
	}
	for _, p := range replicas {
		if err := state.Current.Check(p.Names, now); err != nil {
			t.Error(err)
		}
	}
	if names := state.Names(replicas[1].Names, now); len(names) != 1 {
		t.Errorf("the next generation is for %q, want the replica's own name alone", names)
	}
}

func TestTheKeyOfTheCAIsNotKept(t *testing.T) {
	g := issue(t, now)
	if bytes.Count(append(append(append([]byte{}, g.CA...), g.Cert...), g.Key...), []byte("PRIVATE KEY-----\n")) != 2 {
		t.Error("a generation holds one private key, that of the leaf")
	}
	pair, err := g.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if pair.Leaf.IsCA || !bytes.Contains(g.Key, []byte("PRIVATE KEY")) {
		t.Error("the key is not that of the leaf")
	}
}
