// Package review reads and writes AdmissionReviews (admission.k8s.io/v1) of
// pod creations: the wire format of the webhook, and nothing of its rules.
//
// Parse goes over the text once and keeps what a decision needs. It is strict:
//
//   - the text is one JSON value in valid UTF-8, nested at most MaxDepth deep,
//     of at most MaxValues members and elements;
//   - a pod has at most MaxContainers, MaxVariables and so on, so that no text asks
//     for much memory;
//   - no object anywhere has two members of one name;
//   - member names are exact. The API server writes them so, and a decoder that
//     also took "Spec" for "spec" could be shown another pod than the one that
//     will run;
//   - a member that is read has the type that the API gives it, or is null.
//
// Whatever else is refused with an error that says where. The standing test is
// a fuzz test: Parse and a typed decode of the whole pod see the same, or Parse
// returns an error.
//
// The package is pure. Strings of a Request share the memory of the text.
package review
