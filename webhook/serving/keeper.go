package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

// retryAfter is how long a Keeper waits after a failure, for example a conflict with
// another replica. After each one that follows it waits twice as long, up to
// Policy.Interval: what a quota or a missing right refuses, it refuses for hours, and
// every try issues a certificate.
const retryAfter = time.Second

// rest is the least time between two passes, and retryAfter after one that failed.
// Somebody who undoes what a Keeper writes, whenever it does, is answered a few times
// a second, and not as fast as both are able to.
const rest = 200 * time.Millisecond

// passWithin bounds a pass: what lies before the API server may keep a connection
// and never answer.
const passWithin = time.Minute

// maxSteps bounds the actions of one pass; a rotation from nothing needs one.
const maxSteps = 4

// Options say what a Keeper keeps.
type Options struct {
	Policy
	// Namespace and Secret name the Secret that the replicas share.
	Namespace, Secret string
	// Mutating and Validating name the two webhook configurations.
	Mutating, Validating string
	// Dir, when set, holds tls.crt and tls.key, written by somebody else.
	Dir string
	// OnSwitch is called with the end of each certificate that comes into use.
	OnSwitch func(notAfter time.Time)
	// OnStamp is called with whether API servers would believe this replica when they
	// ask it to stamp, when that is first known and whenever it changes.
	OnStamp func(reached bool)
}

// Keeper keeps the serving certificate of one replica. It holds no policy: it
// observes, asks Next, and applies the answer.
type Keeper struct {
	client  kubernetes.Interface
	options Options
	clock   clock.PassiveClock
	log     logr.Logger

	// presented is what TLS handshakes get.
	presented atomic.Pointer[tls.Certificate]
	// notReady says why this replica is not ready; nil before the first pass.
	notReady atomic.Pointer[string]
	wake     chan struct{}

	// Only Run touches these.
	serving   Generation
	nextCA    []byte
	nextSince time.Time
	unstamped *string // nil before the first pass
	kept      string  // Decision.Kept of the last pass
}

// NewKeeper returns a Keeper that has not looked at anything yet.
func NewKeeper(client kubernetes.Interface, o Options, c clock.PassiveClock, log logr.Logger) *Keeper {
	o.External = o.Dir != ""
	return &Keeper{client: client, options: o, clock: c, log: log, wake: make(chan struct{}, 1)}
}

// GetCertificate is for tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := k.presented.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("there is no serving certificate yet")
}

// Ready says why an API server would refuse what this replica serves, nil if it
// would not.
func (k *Keeper) Ready() error {
	switch why := k.notReady.Load(); {
	case why == nil:
		return errors.New("the serving certificate has not been looked at yet")
	case *why != "":
		return errors.New(*why)
	default:
		return nil
	}
}

// Run keeps the certificate until the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	if err := k.watch(ctx); err != nil {
		return err
	}
	retry := retryAfter
	for ctx.Err() == nil {
		after, err := k.pass(ctx)
		switch {
		case err == nil:
			retry = retryAfter
			k.wait(ctx, rest, after)
		case ctx.Err() == nil:
			k.log.Error(err, "Keeping the serving certificate failed, trying again", "within", retry)
			k.wait(ctx, retryAfter, retry)
			retry = min(2*retry, max(k.options.Interval, retryAfter))
		}
	}
	return nil
}

// wait waits until it is woken, for least at least and most at most.
func (k *Keeper) wait(ctx context.Context, least, most time.Duration) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(least):
	}
	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-time.After(most - least):
	}
}

// pass observes and applies until there is nothing to be written, and returns
// when to look again. A write that is refused holds up no other one, and no word
// on the readiness, which follows from what was observed.
func (k *Keeper) pass(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, passWithin)
	defer cancel()
	var d Decision
	var refused, fault error // of the last action, and of the last step
	for range maxSteps {
		observed, err := k.observe(ctx)
		if err != nil {
			return 0, err
		}
		d = Next(observed.facts, k.options.Policy, k.clock.Now())
		switch {
		case d.Action == Nothing:
			refused = nil // another replica did what was refused to this one
		case refused == nil || apierrors.IsConflict(refused): // each try issues a certificate
			if refused = k.act(ctx, observed, d); refused == nil {
				fault = nil
				continue
			}
		}
		if err := k.present(d.Serve); err != nil {
			return 0, errors.Join(refused, err)
		}
		again, err := k.publish(ctx, observed, d.Bundle)
		fault = errors.Join(refused, err)
		if !again {
			k.report(d)
			return d.After, fault
		}
	}
	// Others write too, and whenever this one does.
	err := k.present(d.Serve)
	k.report(d)
	return retryAfter, errors.Join(fault, err)
}

// publish makes every caBundle the given one. It reports whether what was observed
// is not so any more. What is wrong with the stamp, which no pod waits for, goes to
// the log.
func (k *Keeper) publish(ctx context.Context, o observed, caBundle []byte) (again bool, err error) {
	wrote, err := k.publishValidating(ctx, o.validating, caBundle)
	wroteToo, stampErr := k.publishMutating(ctx, o.mutating, caBundle)
	if wrote || wroteToo || apierrors.IsConflict(err) || apierrors.IsConflict(stampErr) {
		return true, err
	}
	if stampErr = errors.Join(o.stampErr, stampErr); stampErr != nil {
		k.log.Error(stampErr, "Registering the stamp failed; pods are judged without it")
	}
	return false, err
}

// report says whether this replica is reached: for readiness, and for the stamp,
// which no pod waits for, to whoever counts that and reads the log.
func (k *Keeper) report(d Decision) {
	k.notReady.Store(&d.NotReady)
	if d.Kept != "" && d.Kept != k.kept {
		k.log.Info("Still serving the certificate from before: API servers would refuse the one in the files", "why", d.Kept)
	}
	k.kept = d.Kept
	before := k.unstamped
	if before != nil && *before == d.Unstamped {
		return
	}
	k.unstamped = &d.Unstamped
	if k.options.OnStamp != nil {
		k.options.OnStamp(d.Unstamped == "")
	}
	switch {
	case d.Unstamped != "":
		k.log.Info("Pods get no stamp from this replica", "why", d.Unstamped)
	case before != nil:
		k.log.Info("Pods get their stamp from this replica again")
	}
}

// act writes the state that the action leads to.
func (k *Keeper) act(ctx context.Context, o observed, d Decision) error {
	state, err := o.facts.State.Apply(d.Action, k.serving, func() (Generation, error) {
		now := k.clock.Now()
		return Issue(o.facts.State.Names(k.options.Names, now), now, k.options.Lifetime)
	})
	if err != nil {
		return err
	}
	if err := k.store(ctx, o.secret, state); err != nil {
		return err
	}
	k.log.Info("Changed the serving certificate", "action", d.Action, "reason", d.Why, "notAfter", state.Current.NotAfter())
	return nil
}

// present hands the generation to new TLS connections.
func (k *Keeper) present(g Generation) error {
	if g.Empty() || g.Equal(k.serving) {
		return nil
	}
	pair, err := g.Certificate()
	if err != nil {
		return err
	}
	k.presented.Store(pair)
	k.serving = g
	if k.options.OnSwitch != nil {
		k.options.OnSwitch(g.NotAfter())
	}
	k.log.Info("Serving another certificate", "notAfter", pair.Leaf.NotAfter, "serial", fmt.Sprintf("%x", pair.Leaf.SerialNumber))
	return nil
}

// Wake makes Run look again now.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}
