package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RolloutSpec says how workloads are rolled to a changed bundle.
type RolloutSpec struct {
	// paused starts no new roll while true; what is in flight goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// maxConcurrent is how many workloads roll at a time: a count, or a percent
	// of the mesh's workloads of kinds that are rolled, rounded up (10%).
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^([1-9][0-9]?|100)%$') : self >= 1 && self <= 500",message="write a count of workloads from 1 to 500, or a percent from \"1%\" to \"100%\"; to stop rolling set paused: true"
	MaxConcurrent *intstr.IntOrString `json:"maxConcurrent,omitempty"`

	// maxConcurrentPerNamespace is how many workloads of one namespace roll at
	// a time (1).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 500",message="write a count of workloads from 1 to 500; to stop rolling set paused: true"
	MaxConcurrentPerNamespace *int32 `json:"maxConcurrentPerNamespace,omitempty"`

	// windows are when rolls may start. None: always.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Windows []Window `json:"windows,omitempty"`

	// outsideWindows says what may roll when no window is open (WhenBroken).
	// +optional
	OutsideWindows OutsideWindows `json:"outsideWindows,omitempty"`

	// failureThreshold is how many workloads may fail to roll before rolling
	// stops (3).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100",message="write the count of failed workloads that stops the rollout, from 1 to 100"
	FailureThreshold *int32 `json:"failureThreshold,omitempty"`

	// progressDeadline is how long a workload may go without progress before
	// its roll counts as failed (10m).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="write a duration longer than zero, such as 10m or 90s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	ProgressDeadline *metav1.Duration `json:"progressDeadline,omitempty"`

	// maxAttempts is how often a workload whose new pods are still stale is
	// rolled for one bundle (3).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 10",message="write a count of attempts from 1 to 10"
	MaxAttempts *int32 `json:"maxAttempts,omitempty"`

	// waves are rolled one after the other. The first wave whose selector
	// matches a namespace has it; namespaces that match none come last. The
	// control plane comes before every wave, whatever is written here.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	Waves []Wave `json:"waves,omitempty"`

	// operators say how pods are restarted that an operator's custom resource
	// owns directly. CloudNativePG's Cluster and Strimzi's StrimziPodSet are known
	// without an entry. The controller must be allowed to get and patch the kind:
	// docs/install.md shows the role.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=kind
	// +kubebuilder:validation:MaxItems=20
	Operators []OperatorKind `json:"operators,omitempty"`

	// policies say what happens to pods that are not simply rolled.
	// +optional
	Policies RolloutPolicies `json:"policies,omitempty,omitzero"`
}

// OutsideWindows says what may roll when no window is open.
//
// +kubebuilder:validation:Enum=Never;WhenBroken
type OutsideWindows string

// The values of outsideWindows.
const (
	// OutsideWindowsNever: nothing.
	OutsideWindowsNever OutsideWindows = "Never"
	// OutsideWindowsWhenBroken: workloads whose pods fail handshakes already,
	// so that an outage is repaired at once.
	OutsideWindowsWhenBroken OutsideWindows = "WhenBroken"
)

// CronFields are the five fields of a schedule: minute, hour, day of the month,
// month, weekday. The rules refuse numbers that robfig/cron, which reads them,
// would refuse, so that whoever writes one learns it at once; what they let pass
// and it does not, such as "5-1", is InvalidSpec. An alias, as NamespaceName is.
//
// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9*/,-]+ +[0-9*/,-]+ +[0-9*/,?-]+ +([0-9*/,-]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))+ +([0-9*/,?-]|(?i:sun|mon|tue|wed|thu|fri|sat))+$')",message="write five cron fields (minute hour day month weekday), such as \"0 22 * * 1-5\""
// +kubebuilder:validation:XValidation:rule="!self.matches('^([^ ]*[,-])?0*([6-9][0-9]|[1-9][0-9][0-9])')",message="write minutes from 0 to 59"
// +kubebuilder:validation:XValidation:rule="!self.matches('^[^ ]+ +([^ ]*[,-])?0*(2[4-9]|[3-9][0-9]|[1-9][0-9][0-9])')",message="write hours from 0 to 23"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([^ ]+ +){2}([^ ]*[,-])?(0*(3[2-9]|[4-9][0-9]|[1-9][0-9][0-9])|0+([^0-9]|$))')",message="write days of the month from 1 to 31"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([^ ]+ +){3}([^ ]*[,-])?(0*(1[3-9]|[2-9][0-9]|[1-9][0-9][0-9])|0+([^0-9]|$))')",message="write months from 1 to 12, or from JAN to DEC"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([^ ]+ +){4}([^ ]*[,-])?0*([7-9]|[1-9][0-9])')",message="write weekdays from 0 (Sunday) to 6, or from SUN to SAT"
// +kubebuilder:validation:XValidation:rule="!self.matches('/0*([^0-9]|$)')",message="write a step of 1 or more after a slash"
// +kubebuilder:validation:MaxLength=128
type CronFields = string

// Window is a recurring span of time.
type Window struct {
	// schedule is when the window opens, in five cron fields.
	// +required
	Schedule CronFields `json:"schedule"`
	// duration is how long the window stays open.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="write a duration longer than zero, such as 4h or 90m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Duration metav1.Duration `json:"duration"`
	// timeZone is the IANA name of the zone in which schedule is read (UTC).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local'",message="write an IANA time zone, such as Europe/Berlin or UTC"
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`
}

// Names of the default waves.
const (
	WaveControlPlane = "control-plane"
	WaveExtensions   = "extensions"
	WaveRest         = "rest"
)

// Wave is a group of namespaces that is rolled before the next one starts.
type Wave struct {
	// name of the wave, shown in status.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write lower-case letters, digits and hyphens, such as batch-jobs"
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// namespaceSelector says which namespaces belong to the wave; {} is all.
	// +required
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector"`
}

// RetiredPolicy says when a pod is rolled that trusts all it must, and more.
//
// +kubebuilder:validation:Enum=Never;InWindow;Always
type RetiredPolicy string

// The values of policies.retired.
const (
	// RetiredNever leaves such pods alone until they go by themselves.
	RetiredNever RetiredPolicy = "Never"
	// RetiredInWindow rolls them while a window is open.
	RetiredInWindow RetiredPolicy = "InWindow"
	// RetiredAlways rolls them like stale ones, after those.
	RetiredAlways RetiredPolicy = "Always"
)

// BarePodPolicy says what happens to a stale pod without an owner.
//
// +kubebuilder:validation:Enum=Report;Evict
type BarePodPolicy string

// The values of policies.barePods.
const (
	BarePodsReport BarePodPolicy = "Report"
	BarePodsEvict  BarePodPolicy = "Evict"
)

// JobPolicy says what happens to a stale pod that is meant to end by itself: a
// pod of a Job, or any whose restartPolicy is not Always.
//
// +kubebuilder:validation:Enum=Wait;Evict
type JobPolicy string

// The values of policies.jobs.
const (
	JobsWait  JobPolicy = "Wait"
	JobsEvict JobPolicy = "Evict"
)

// UnmanagedPolicy says what happens to a stale pod of an owner kind that is
// unknown: neither one of Kubernetes' own nor listed under operators.
//
// +kubebuilder:validation:Enum=Report;Evict
type UnmanagedPolicy string

// The values of policies.unmanaged.
const (
	UnmanagedReport UnmanagedPolicy = "Report"
	UnmanagedEvict  UnmanagedPolicy = "Evict"
)

// RolloutPolicies say what happens to pods that are not simply rolled.
type RolloutPolicies struct {
	// retired is for pods that trust all they must, and more (Never).
	// +optional
	Retired RetiredPolicy `json:"retired,omitempty"`
	// barePods is for pods without an owner (Report).
	// +optional
	BarePods BarePodPolicy `json:"barePods,omitempty"`
	// jobs is for pods that are meant to end by themselves (Wait).
	// +optional
	Jobs JobPolicy `json:"jobs,omitempty"`
	// unmanaged is for pods of unknown owner kinds (Report).
	// +optional
	Unmanaged UnmanagedPolicy `json:"unmanaged,omitempty"`
}
