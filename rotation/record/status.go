package record

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// strict has the API server refuse a field that the CRD does not have. By
// default it drops the field and answers that all went well, and since the
// answer is decoded over the object that was sent, nobody here would notice.
const strict = client.FieldValidation(metav1.FieldValidationStrict)

// UpdateStatus replaces the status of an object with what it holds, or fails
// and stores nothing of it. The error is the API server's, such as a Conflict;
// of CRDs that lack a field it says so, and what to apply.
func UpdateStatus(ctx context.Context, c client.Client, o client.Object) error {
	return explained(c.Status().Update(ctx, o, strict))
}

// PatchStatus stores how the status of after differs from that of before, which
// must be the object as it is; the errors are those of UpdateStatus.
func PatchStatus(ctx context.Context, c client.Client, after, before client.Object) error {
	locked := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return explained(c.Status().Patch(ctx, after, locked, strict))
}

// explained says what is to be done about fields that the CRD lacks. The answer
// to a patch quotes the whole object before it comes to the point.
func explained(err error) error {
	if err == nil {
		return nil
	}
	_, field, ok := strings.Cut(err.Error(), "strict decoding error: ")
	if !ok {
		return err
	}
	return fmt.Errorf("the installed CRD is older than this controller, which does nothing before manifests/crds of its own version is applied: %s", field)
}
