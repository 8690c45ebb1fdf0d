package serving_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/webhook/serving"
	"github.com/reanchor/reanchor/webhook/webhooktest"
)

// Resources that a refusal is about.
const (
	mutatingResource   = "mutatingwebhookconfigurations"
	validatingResource = "validatingwebhookconfigurations"
)

// refuse makes the API server refuse a verb for good.
func refuse(client *fake.Clientset, verb, resource string) {
	client.PrependReactor(verb, resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "x", errors.New("a policy"))
	})
}

// validating is the caBundle of the validating configuration.
func validating(t *testing.T, client *fake.Clientset) []byte {
	t.Helper()
	c, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "validate", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Webhooks[0].ClientConfig.CABundle
}

// empty takes the caBundle out of the validating configuration.
func empty(t *testing.T, client *fake.Clientset) {
	t.Helper()
	gvr := admissionregistrationv1.SchemeGroupVersion.WithResource(validatingResource)
	if err := client.Tracker().Update(gvr, configurations(nil)[1], ""); err != nil {
		t.Fatal(err)
	}
}

// until polls for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never comes true that " + what)
		}
	}
}

// No pod waits for the stamp: whatever becomes of its registration, replicas stay
// ready and go on keeping the one that pods wait for.
func TestABrokenStampStopsNothingElse(t *testing.T) {
	for name, breaks := range map[string]func(*testing.T, *fake.Clientset){
		"its configuration was deleted": func(t *testing.T, client *fake.Clientset) {
			gvr := admissionregistrationv1.SchemeGroupVersion.WithResource(mutatingResource)
			if err := client.Tracker().Delete(gvr, "", "stamp"); err != nil {
				t.Fatal(err)
			}
		},
		"its configuration cannot be read":    func(_ *testing.T, client *fake.Clientset) { refuse(client, "get", mutatingResource) },
		"its configuration cannot be written": func(_ *testing.T, client *fake.Clientset) { refuse(client, "update", mutatingResource) },
	} {
		t.Run(name, func(t *testing.T) {
			old, err := serving.Issue([]string{"localhost"}, time.Now().Add(-70*24*time.Hour), policy().Lifetime)
			if err != nil {
				t.Fatal(err)
			}
			client := fake.NewClientset(append(configurations(nil), secretOf(old))...)
			breaks(t, client)
			var stamp atomic.Pointer[bool]
			k := run(t, client, serving.Options{OnStamp: func(reached bool) { stamp.Store(&reached) }}, logr.Discard())
			readiness(t, k, "")
			until(t, "the stamp is known not to be reached", func() bool { s := stamp.Load(); return s != nil && !*s })
			until(t, "another certificate is served when the old one nears its end", func() bool {
				return !bytes.Equal(served(t, k), leafOf(t, old))
			})
			readiness(t, k, "")
			before := validating(t, client)
			empty(t, client)
			until(t, "the validating caBundle is repaired", func() bool { return bytes.Equal(validating(t, client), before) })
			readiness(t, k, "")
		})
	}
}

func TestAStampThatIsRegisteredAgainIsReached(t *testing.T) {
	client := fake.NewClientset(configurations(nil)[1])
	var told []bool
	var mu sync.Mutex
	k := run(t, client, serving.Options{OnStamp: func(reached bool) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, reached)
	}}, logr.Discard())
	readiness(t, k, "")
	if err := client.Tracker().Add(configurations(nil)[0]); err != nil {
		t.Fatal(err)
	}
	until(t, "it is told that the stamp is not reached, and then once that it is", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(told) == "[false true]"
	})
}

// What is served is good for weeks when the next certificate is due. As long as
// the Secret cannot be written, all else must be kept as ever.
func TestASecretThatCannotBeWrittenStopsNothingElse(t *testing.T) {
	old, err := serving.Issue([]string{"localhost"}, time.Now().Add(-70*24*time.Hour), policy().Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(append(configurations(nil), secretOf(old))...)
	refuse(client, "update", "secrets")
	refuse(client, "create", "secrets")
	k := keep(t, client, "")
	readiness(t, k, "")
	if !bytes.Equal(served(t, k), leafOf(t, old)) {
		t.Error("it serves another certificate than the stored one")
	}
	empty(t, client)
	until(t, "the caBundle is repaired", func() bool { return bytes.Equal(validating(t, client), old.CA) })
	readiness(t, k, "")
	// Lost, too, it cannot be restored, and is served on.
	if err := client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("secrets"), "system", "tls"); err != nil {
		t.Fatal(err)
	}
	refused := func() (n int) {
		for _, a := range client.Actions() {
			if a.GetVerb() == "create" && a.GetResource().Resource == "secrets" {
				n++
			}
		}
		return n
	}
	until(t, "it tries to restore the Secret, and again", func() bool { return refused() > 1 })
	if err := k.Ready(); err != nil {
		t.Errorf("it is not ready any more: %v", err)
	}
}

// What refuses to have the Secret written does so for hours, and every try issues a
// certificate and writes a line.
func TestTriesToWriteTheSecretBecomeRareAndBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(configurations(nil)...)
		var refused atomic.Bool
		var tries atomic.Int64
		refused.Store(true)
		client.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
			tries.Add(1)
			return refused.Load(), nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "tls", errors.New("a quota"))
		})
		k := serving.NewKeeper(client, serving.Options{
			Policy: policy(), Namespace: "system", Secret: "tls", Mutating: "stamp", Validating: "validate",
		}, clock.RealClock{}, logr.Discard())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(t.Context()) }()
		time.Sleep(time.Hour)
		if n := tries.Load(); n < 60 || n > 70 {
			t.Errorf("%d tries in an hour, want one a minute and a few before", n)
		}
		refused.Store(false)
		time.Sleep(2 * policy().Interval)
		if err := k.Ready(); err != nil {
			t.Errorf("it is not ready once it may write: %v", err)
		}
		refused.Store(true)
		if err := client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("secrets"), "system", "tls"); err != nil {
			t.Fatal(err)
		}
		tries.Store(0)
		time.Sleep(policy().Interval + 10*time.Second)
		if n := tries.Load(); n < 4 {
			t.Errorf("%d tries in the first seconds of another refusal, want 4", n)
		}
		select {
		case err := <-ended:
			t.Errorf("it ended: %v", err)
		default:
		}
	})
}

// A tool that puts its own caBundle back whenever another is written keeps API
// servers away, and that must be told.
func TestAReplicaWhoseCABundleIsAlwaysTakenAwayIsNotReady(t *testing.T) {
	client := fake.NewClientset(configurations(nil)...)
	var takes atomic.Bool
	client.PrependReactor("update", validatingResource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		if !takes.Load() {
			return false, nil, nil
		}
		return true, a.(clienttesting.UpdateAction).GetObject(), nil
	})
	k := keep(t, client, "")
	readiness(t, k, "")
	takes.Store(true)
	empty(t, client)
	readiness(t, k, "caBundle holds no certificate")
	takes.Store(false)
	readiness(t, k, "")
}

// Such a tool is as fast as its watch. It is answered a few times a second.
func TestAFightOverTheCABundleHasAPace(t *testing.T) {
	client := fake.NewClientset(configurations(nil)...)
	gvr := admissionregistrationv1.SchemeGroupVersion.WithResource(validatingResource)
	var fights atomic.Bool
	var writes atomic.Int64
	client.PrependReactor("update", validatingResource, func(clienttesting.Action) (bool, runtime.Object, error) {
		if !fights.Load() {
			return false, nil, nil
		}
		writes.Add(1)
		return true, configurations(nil)[1], client.Tracker().Update(gvr, configurations(nil)[1], "")
	})
	k := keep(t, client, "")
	readiness(t, k, "")
	fights.Store(true)
	began := time.Now()
	empty(t, client)
	time.Sleep(2 * time.Second)
	most := int64(time.Since(began)/(200*time.Millisecond)+2) * 4 // four steps in a pass
	if n := writes.Load(); n < 4 || n > most {
		t.Errorf("%d writes in %s, want %d at most", n, time.Since(began), most)
	}
	fights.Store(false)
	readiness(t, k, "")
}

// A certificate is issued for every try to store one.
func TestAPassIssuesOnceWhereTheSecretIsRefused(t *testing.T) {
	old, err := serving.Issue([]string{"localhost"}, time.Now().Add(-70*24*time.Hour), policy().Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(append(configurations(nil), secretOf(old))...)
	var stores, overtaken atomic.Int64
	client.PrependReactor("update", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		stores.Add(1)
		return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "tls", errors.New("a quota"))
	})
	client.PrependReactor("update", validatingResource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		overtaken.Add(1)
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), "validate", errors.New("others"))
	})
	var log webhooktest.Log
	run(t, client, serving.Options{}, log.Logger(0))
	until(t, "two passes were overtaken", func() bool { return overtaken.Load() >= 8 })
	if n := stores.Load(); n < 1 || n > overtaken.Load()/4+1 {
		t.Errorf("%d certificates were issued in %d steps, four of them a pass", n, overtaken.Load())
	}
	for _, want := range []string{"a quota", "others"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q: %s", want, log.String())
		}
	}
}

// Two replicas see an emptied caBundle at once, and both write it. The one that
// comes second must not take itself for unreachable.
func TestAReplicaThatComesSecondLooksAgain(t *testing.T) {
	client := fake.NewClientset(configurations(nil)...)
	gvr := admissionregistrationv1.SchemeGroupVersion.WithResource(validatingResource)
	var races, lost atomic.Bool
	client.PrependReactor("update", validatingResource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		if !races.Load() || lost.Swap(true) {
			return false, nil, nil
		}
		if err := client.Tracker().Update(gvr, a.(clienttesting.UpdateAction).GetObject(), ""); err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewConflict(gvr.GroupResource(), "validate", errors.New("another replica was faster"))
	})
	var log webhooktest.Log
	k := run(t, client, serving.Options{}, log.Logger(0))
	readiness(t, k, "")
	races.Store(true)
	empty(t, client)
	until(t, "the caBundle is repaired", func() bool { return lost.Load() && len(validating(t, client)) > 0 })
	looks := func() (n int) {
		for _, a := range client.Actions() {
			if a.GetVerb() == "get" && a.GetResource().Resource == "secrets" {
				n++
			}
		}
		return n
	}
	before := looks()
	until(t, "it has looked again", func() bool { return looks() > before+1 })
	readiness(t, k, "")
	if strings.Contains(log.String(), "another replica was faster") {
		t.Errorf("it took the conflict for a failure: %s", log.String())
	}
}

func secretOf(g serving.Generation) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "tls"},
		Data:       map[string][]byte{"ca.crt": g.CA, "tls.crt": g.Cert, "tls.key": g.Key},
	}
}

func leafOf(t *testing.T, g serving.Generation) []byte {
	t.Helper()
	pair, err := g.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Certificate[0]
}

// The webhook of a policy that refuses a Secret may quote what it refuses.
func TestTheLogDoesNotQuoteAKeyThatWasRefused(t *testing.T) {
	for name, quote := range map[string]func(*corev1.Secret) string{
		"as it is on the wire": func(s *corev1.Secret) string { return base64.StdEncoding.EncodeToString(s.Data["tls.key"]) },
		"as text":              func(s *corev1.Secret) string { return string(s.Data["tls.key"]) },
		"as Go prints it":      func(s *corev1.Secret) string { return s.String() },
	} {
		for _, verb := range []string{"create", "update"} {
			t.Run(verb+" "+name, func(t *testing.T) {
				client := fake.NewClientset(configurations(nil)...)
				if verb == "update" {
					if err := client.Tracker().Add(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "tls"}}); err != nil {
						t.Fatal(err)
					}
				}
				var quoted atomic.Value
				client.PrependReactor(verb, "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
					text := quote(a.(clienttesting.CreateAction).GetObject().(*corev1.Secret))
					quoted.Store(text)
					return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "tls", errors.New("the policy refuses: "+text))
				})
				var log webhooktest.Log
				run(t, client, serving.Options{}, log.Logger(9))
				until(t, "the refusal is in the log", func() bool {
					return strings.Contains(log.String(), "the serving certificate's Secret") && strings.Contains(strings.ToLower(log.String()), "forbidden")
				})
				text := quoted.Load().(string)
				if strings.Contains(log.String(), text[len(text)/2:len(text)/2+20]) || strings.Contains(log.String(), "the policy refuses") {
					t.Errorf("the log quotes it: %s", log.String())
				}
			})
		}
	}
}
