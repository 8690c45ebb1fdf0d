package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Verb is how a workload's pods are replaced.
//
// +kubebuilder:validation:Enum=Restart;Evict;RestartAt;Annotate
type Verb string

// The verbs.
const (
	// VerbRestart applies RestartedForAnnotation to the pod template.
	VerbRestart Verb = "Restart"
	// VerbEvict uses the Eviction API, one pod at a time.
	VerbEvict Verb = "Evict"
	// VerbRestartAt sets spec.restartAt of an Argo Rollout.
	VerbRestartAt Verb = "RestartAt"
	// VerbAnnotate sets the annotation at which an operator restarts the pods of
	// its custom resource; see OperatorKind.
	VerbAnnotate Verb = "Annotate"
)

// RolloutStatus is what the roller does. All counters belong to bundleHash and
// start anew with the next bundle.
type RolloutStatus struct {
	// bundleHash is the bundle that these counters belong to.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	BundleHash string `json:"bundleHash,omitempty"`

	// wave is the wave that rolls now.
	// +optional
	Wave *WaveStatus `json:"wave,omitempty"`

	// fence says that every injector serves the bundle.
	// +optional
	Fence *FenceStatus `json:"fence,omitempty"`

	// inProgress are the workloads that roll now.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=kind
	// +listMapKey=name
	// +listMapKey=group
	// +kubebuilder:validation:MaxItems=500
	InProgress []InProgressWorkload `json:"inProgress,omitempty"`
	// inProgressTotal is how many there are.
	// +optional
	InProgressTotal int32 `json:"inProgressTotal,omitempty"`

	// failed are the workloads whose roll failed or is stuck.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=kind
	// +listMapKey=name
	// +listMapKey=group
	// +kubebuilder:validation:MaxItems=100
	Failed []FailedWorkload `json:"failed,omitempty"`
	// failedTotal is how many there are.
	// +optional
	FailedTotal int32 `json:"failedTotal,omitempty"`

	// attempts are the workloads that needed more than one attempt or lost
	// RestartedForAnnotation to somebody else.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=kind
	// +listMapKey=name
	// +listMapKey=group
	// +kubebuilder:validation:MaxItems=500
	Attempts []WorkloadAttempts `json:"attempts,omitempty"`
	// attemptsTotal is how many there are.
	// +optional
	AttemptsTotal int32 `json:"attemptsTotal,omitempty"`

	// blocked are the stale workloads and pods that Reanchor does not roll.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=kind
	// +listMapKey=name
	// +listMapKey=group
	// +kubebuilder:validation:MaxItems=50
	Blocked []BlockedWorkload `json:"blocked,omitempty"`
	// blockedTotal is how many there are.
	// +optional
	BlockedTotal int32 `json:"blockedTotal,omitempty"`

	// measured is what rolls took so far; eta is computed from it.
	// +optional
	Measured *MeasuredRolls `json:"measured,omitempty"`
	// eta is when the last workload will be done, at the pace seen so far.
	// +optional
	ETA *metav1.Time `json:"eta,omitempty"`
	// deadline is when the first pod that is yet to be rolled will break; those that are
	// not going to be, see blocked, do not count.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`
}

// WaveStatus says which wave rolls.
type WaveStatus struct {
	// name of the wave.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// index of the wave, from 0.
	Index int32 `json:"index"`
	// completed is how many workloads of the wave are done.
	Completed int32 `json:"completed"`
}

// FenceStatus is the moment from which no injector serves an older bundle.
type FenceStatus struct {
	// bundleHash is the bundle that the injectors serve.
	// +required
	// +kubebuilder:validation:MaxLength=128
	BundleHash string `json:"bundleHash"`
	// at is when every injector was seen to serve it.
	// +required
	At metav1.MicroTime `json:"at"`
}

// InProgressWorkload is a workload that rolls now.
type InProgressWorkload struct {
	WorkloadRef `json:",inline"`
	// attempt is 1 for the first roll towards this bundle.
	Attempt int32 `json:"attempt"`
	// bundleHash is the bundle that it rolls towards.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	BundleHash string `json:"bundleHash,omitempty"`
	// restartedFor is the value of RestartedForAnnotation, or of an operator's
	// annotation, for this attempt.
	// +optional
	// +kubebuilder:validation:MaxLength=140
	RestartedFor string `json:"restartedFor,omitempty"`
	// verb is how the pods are replaced.
	// +required
	Verb Verb `json:"verb"`
	// startedAt is when the roll was decided, stored before it is done.
	// +required
	StartedAt metav1.MicroTime `json:"startedAt"`
	// oldPodsUntil is the creation time of the newest pod at that moment: pods
	// created later are the roll's own.
	// +optional
	OldPodsUntil *metav1.Time `json:"oldPodsUntil,omitempty"`
	// pods is how many pods it had at that moment. It counts where the owner does
	// not tell how many there should be.
	// +optional
	Pods int32 `json:"pods,omitempty"`
	// availableBefore is how many pods were available at that moment, where those
	// were fewer than there should be: then no more are expected at the end.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AvailableBefore *int32 `json:"availableBefore,omitempty"`
	// applied says that the owner was seen to carry what the roll writes.
	// +optional
	Applied bool `json:"applied,omitempty"`
	// left tells how far the pods still have to go: 100 for each that is to be
	// replaced, and 1 for each that terminates, is missing or is not available.
	// +optional
	Left int32 `json:"left,omitempty"`
	// progressAt is when left last fell, or when the time for it began anew.
	// +optional
	ProgressAt *metav1.MicroTime `json:"progressAt,omitempty"`
	// message says what the roll waits for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// FailedWorkload is a workload whose roll failed or is stuck.
type FailedWorkload struct {
	WorkloadRef `json:",inline"`
	// reason is one of reasons.go.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason Reason `json:"reason"`
	// message says what is wrong and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// attempt that failed.
	Attempt int32 `json:"attempt"`
	// since is when it was seen to fail.
	// +required
	Since metav1.Time `json:"since"`
}

// WorkloadAttempts counts what rolling a workload took.
type WorkloadAttempts struct {
	WorkloadRef `json:",inline"`
	// count is how many rolls were started.
	Count int32 `json:"count"`
	// reverts is how often somebody else removed RestartedForAnnotation, or an
	// operator the annotation that asks it for a restart without one.
	Reverts int32 `json:"reverts"`
	// lastAt is when the last roll was started.
	// +required
	LastAt metav1.MicroTime `json:"lastAt"`
}

// BlockedWorkload is a stale workload or pod that Reanchor does not roll.
type BlockedWorkload struct {
	WorkloadRef `json:",inline"`
	// reason is one of reasons.go.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason Reason `json:"reason"`
	// message says what is in the way and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// MeasuredRolls adds up the rolls that ended well.
type MeasuredRolls struct {
	// workloads is how many ended well.
	Workloads int32 `json:"workloads"`
	// totalSeconds is how long they took together.
	TotalSeconds int64 `json:"totalSeconds"`
}

// WorkloadRef names a workload or a bare pod.
type WorkloadRef struct {
	// namespace of the workload.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// kind of the workload, such as Deployment.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// name of the workload.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// group is the kind's API group; empty for core. As a key of lists it needs a
	// value that the API server knows.
	// +optional
	// +default=""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// String returns "Kind namespace/name", for messages.
func (r WorkloadRef) String() string { return r.Kind + " " + r.Namespace + "/" + r.Name }
