package v1alpha1

// Caps of the status lists. The API server refuses a longer list, so writers
// cut at the cap and put the length before the cut into the total beside it.
// The numbers are repeated in the MaxItems markers (markers cannot name
// constants); a test compares the two through the generated schema.
const (
	// MaxAnchors caps every list of anchors or of their fingerprints.
	MaxAnchors = 64
	// MaxHistory caps status.history; the oldest entry goes first.
	MaxHistory = 20
	// MaxEarlierIssuers caps status.issuer.earlier.
	MaxEarlierIssuers = 10
	// MaxInProgress caps status.rollout.inProgress. The roller never has more
	// workloads in flight, whatever maxConcurrent says: what is not recorded
	// cannot be counted by the next leader.
	MaxInProgress = 500
	// MaxFailed caps status.rollout.failed.
	MaxFailed = 100
	// MaxAttempts caps status.rollout.attempts. Only workloads that needed a
	// second attempt or saw a revert are listed: a first attempt can be read
	// off the template.
	MaxAttempts = 500
	// MaxBlocked caps status.rollout.blocked and AnchorRotation's blockedBy.
	MaxBlocked = 50
	// MaxAcknowledged caps AnchorRotation's acknowledge lists.
	MaxAcknowledged = 100
	// MaxSteps caps AnchorRotation's status.steps; each phase has one.
	MaxSteps = 16
	// MaxConditions caps every condition list.
	MaxConditions = 16
)
