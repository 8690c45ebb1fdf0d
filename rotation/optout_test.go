package rotation

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// What a reconciler returns is logged.
func TestARefusedMirrorOfAnOptOutQuotesNoCertificate(t *testing.T) {
	answer := apierrors.NewInvalid(schema.GroupKind{Kind: "Namespace"}, "shop",
		field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations"), "-----BEGIN CERTIFICATE-----\nMIIB", "no")})
	out := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{v1alpha1.OptOutAnnotation: "true"}}}
	c := fake.NewClientBuilder().WithObjects(out).WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return answer
		},
	}).Build()
	_, err := (&OptOutReconciler{Client: c}).Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(out)})
	if err == nil || bundle.QuotesPEM(err.Error()) || !strings.Contains(err.Error(), "namespace shop: Invalid; the message is left out") {
		t.Errorf("the error is %v", err)
	}
}
