package anchorrotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// Names of Linkerd's signing service (facts, "Identity").
const (
	identityComponent = "identity"
	lifetimeArgument  = "identity-issuance-lifetime"
	skewArgument      = "identity-clock-skew-allowance"
)

// identity reads the workload that signs leaves. Only Linkerd's is known; other
// meshes have none that would have to be restarted.
func (r *Reconciler) identity(ctx context.Context, spec *v1alpha1.MeshTrustSpec) (lifecycle.Identity, error) {
	if spec.Profile != v1alpha1.ProfileLinkerd {
		return lifecycle.Identity{None: true}, nil
	}
	scope := []client.ListOption{client.InNamespace(spec.ControlPlaneNamespace), client.MatchingLabels{mesh.LinkerdComponentLabel: identityComponent}}
	var deployments appsv1.DeploymentList
	if err := r.Live.List(ctx, &deployments, scope...); err != nil {
		return lifecycle.Identity{}, fmt.Errorf("reading the signing service: %w", err)
	}
	if len(deployments.Items) != 1 {
		return lifecycle.Identity{}, nil // none, or no telling which
	}
	var pods corev1.PodList
	if err := r.Live.List(ctx, &pods, scope...); err != nil {
		return lifecycle.Identity{}, fmt.Errorf("reading the pods of the signing service: %w", err)
	}
	return identityOf(&deployments.Items[0], pods.Items), nil
}

func identityOf(d *appsv1.Deployment, pods []corev1.Pod) lifecycle.Identity {
	id := lifecycle.Identity{
		Known:           true,
		Workload:        v1alpha1.WorkloadRef{Group: appsv1.GroupName, Kind: "Deployment", Namespace: d.Namespace, Name: d.Name},
		ResourceVersion: d.ResourceVersion,
		Mark:            d.Spec.Template.Annotations[v1alpha1.RestartedForIssuerAnnotation],
		Complete:        complete(d),
	}
	for i := range d.Spec.Template.Spec.Containers {
		if c := &d.Spec.Template.Spec.Containers[i]; c.Name == identityComponent {
			id.LeafLifetime, id.LeafSkew = argument(c, lifetimeArgument), argument(c, skewArgument)
		}
	}
	for i := range pods {
		p := &pods[i]
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		id.Pods = append(id.Pods, lifecycle.IdentityPod{
			Name: p.Name, Mark: p.Annotations[v1alpha1.RestartedForIssuerAnnotation], Ready: ready(p), Terminating: p.DeletionTimestamp != nil,
		})
	}
	return id
}

// complete judges a rollout as "kubectl rollout status" does.
func complete(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := &d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas >= want && s.Replicas <= s.UpdatedReplicas && s.AvailableReplicas >= s.UpdatedReplicas
}

func ready(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// argument reads a duration from a container's command line, "-name=value" or
// "-name value", with one dash or two. The last one counts. Zero means that it
// cannot be read: also when the value refers to a variable.
func argument(c *corev1.Container, name string) time.Duration {
	words := append(append([]string{}, c.Command...), c.Args...)
	found := time.Duration(0)
	for i, word := range words {
		flag, dashed := strings.CutPrefix(word, "-")
		if !dashed {
			continue
		}
		flag, value, joined := strings.Cut(strings.TrimPrefix(flag, "-"), "=")
		if flag != name {
			continue
		}
		if !joined && i+1 < len(words) {
			value = words[i+1]
		}
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			d = 0
		}
		found = d
	}
	return found
}
