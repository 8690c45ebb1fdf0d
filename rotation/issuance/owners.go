package issuance

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields is the tree of fields that one entry of managedFields owns.
type fields map[string]json.RawMessage

// owns reports whether the tree holds the path.
func (f fields) owns(path ...string) bool {
	raw, ok := f[path[0]]
	if !ok || len(path) == 1 {
		return ok
	}
	var below fields
	return json.Unmarshal(raw, &below) == nil && below.owns(path[1:]...)
}

// owners returns the managers of a field, which is named as in managedFields.
func owners(o metav1.Object, path ...string) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, m := range o.GetManagedFields() {
		var tree fields
		if m.FieldsV1 != nil && json.Unmarshal(m.FieldsV1.GetRawBytes(), &tree) == nil && tree.owns(path...) {
			out = append(out, m)
		}
	}
	return out
}
