package api

import (
	"strings"
	"testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

const (
	anyDuration      = "write a duration such as"
	positiveDuration = "write a duration longer than zero"
	percentOrCount   = `write a count of workloads from 1 to 500, or a percent from "1%" to "100%"`
	cronFields       = "write five cron fields (minute hour day month weekday)"
	namespaceName    = "write the name of a namespace, such as linkerd"
	objectName       = "write the name of an object, in lower-case letters, digits, hyphens and dots, such as linkerd-identity-issuer"
)

// validationCase is one spec, and what the API server says to it; nothing when
// it is taken.
type validationCase struct {
	spec string
	says []string
}

func TestValidation(t *testing.T) {
	s := startServer(t)
	t.Run("MeshTrust", func(t *testing.T) { testCases(t, s, v1alpha1.MeshTrustKind, meshTrustCases()) })
	t.Run("references", func(t *testing.T) { testCases(t, s, v1alpha1.MeshTrustKind, referenceCases()) })
	t.Run("MeshTrust rollout", func(t *testing.T) { testCases(t, s, v1alpha1.MeshTrustKind, rolloutCases()) })
	t.Run("MeshTrust operators", func(t *testing.T) { testCases(t, s, v1alpha1.MeshTrustKind, operatorCases()) })
	t.Run("MeshTrust rotation", func(t *testing.T) { testCases(t, s, v1alpha1.MeshTrustKind, rotationCases()) })
	t.Run("AnchorRotation", func(t *testing.T) { testCases(t, s, v1alpha1.AnchorRotationKind, anchorRotationCases()) })
	t.Run("changes", func(t *testing.T) { testChanges(t, s) })
	t.Run("wire", func(t *testing.T) { testWire(t, s) })
	t.Run("pages", func(t *testing.T) { testPages(t, s) })
	t.Run("columns", func(t *testing.T) { testColumns(t, s) })
}

func testCases(t *testing.T, s server, kind string, cases map[string]validationCase) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			refused(t, s.try(t.Context(), object(t, kind, "mesh", c.spec)), c.says...)
		})
	}
}

// unsupported is what is said of a value that an enum does not have.
func unsupported(field, value, values string) []string {
	return []string{"spec." + field + `: Unsupported value: "` + value + `": supported values: ` + values}
}

func meshTrustCases() map[string]validationCase {
	return map[string]validationCase{
		"a profile is all that Linkerd needs": {spec: `{profile: Linkerd}`},
		"Istio":                               {spec: `{profile: Istio}`},
		"EnvoyGateway":                        {spec: `{profile: EnvoyGateway}`},
		"no profile":                          {`{}`, []string{"spec.profile: Required value"}},
		"a profile that is not known": {
			`{profile: linkerd}`, []string{`supported values: "Linkerd", "Istio", "EnvoyGateway", "Generic"`},
		},
		"a misspelt field": {`{profile: Linkerd, admision: {}}`, []string{`unknown field "spec.admision"`}},

		"Generic with all it needs": {
			spec: `{profile: Generic, bundle: {secretRef: {namespace: a, name: b}}, issuer: {none: true}, generic: {containers: [rabbit], literalEnvVar: CA_BUNDLE, reload: HotReload}}`,
		},
		"Generic with a certificate for an issuer": {
			spec: `{profile: Generic, bundle: {clusterTrustBundleRef: {name: b}}, issuer: {certificateRef: {namespace: a, name: b}}}`,
		},
		"Generic alone": {`{profile: Generic}`, []string{
			"profile Generic has no default bundle: set spec.bundle.configMapRef, spec.bundle.secretRef or spec.bundle.clusterTrustBundleRef",
			"profile Generic has no default issuer: set spec.issuer.secretRef or spec.issuer.certificateRef, or say spec.issuer: {none: true}",
		}},
		"Generic with a bundle that is nowhere": {
			`{profile: Generic, bundle: {propagation: {file: 0s}}, issuer: {none: true}}`,
			[]string{"profile Generic has no default bundle"},
		},
		"Generic's words in another profile": {
			`{profile: Linkerd, generic: {reload: Restart}}`, []string{"spec.generic is for profile Generic only: remove it"},
		},
		"a variable that cannot be one": {
			`{profile: Generic, bundle: {secretRef: {namespace: a, name: b}}, issuer: {none: true}, generic: {literalEnvVar: "CA BUNDLE"}}`,
			[]string{"write the name of an environment variable, such as CA_BUNDLE"},
		},
		"a container that cannot be one": {
			`{profile: Generic, bundle: {secretRef: {namespace: a, name: b}}, issuer: {none: true}, generic: {containers: [rabbit, Rabbit_MQ]}}`,
			[]string{"spec.generic.containers[1]: Invalid value", "write the name of a container, such as rabbitmq"},
		},
		"a way to reload that is not known": {
			`{profile: Generic, bundle: {secretRef: {namespace: a, name: b}}, issuer: {none: true}, generic: {reload: Never}}`,
			unsupported("generic.reload", "Never", `"Restart", "HotReload"`),
		},

		"two bundles": {
			`{profile: Linkerd, bundle: {configMapRef: {namespace: a, name: b}, secretRef: {namespace: a, name: b}}}`,
			[]string{"the bundle is published in one place: keep one of configMapRef, secretRef and clusterTrustBundleRef"},
		},
		"a reference without a name": {
			`{profile: Linkerd, bundle: {configMapRef: {namespace: a}}}`, []string{"spec.bundle.configMapRef.name: Required value"},
		},
		"a delay that is a number": {`{profile: Linkerd, bundle: {propagation: {file: 150}}}`, []string{"must be of type string"}},
		"a delay in days": {
			`{profile: Linkerd, bundle: {propagation: {file: 1d, environment: ten}}}`,
			[]string{anyDuration + " 150s, 2m30s or 0s", anyDuration + " 10s, 2m30s or 0s"},
		},
		"a delay of zero": {spec: `{profile: Linkerd, bundle: {propagation: {file: 0s, environment: 1.5s}}}`},

		"an issuer that names nothing": {
			`{profile: Linkerd, issuer: {}}`, []string{"name one issuer: set exactly one of secretRef, certificateRef and none: true"},
		},
		"an issuer and none": {
			`{profile: Linkerd, issuer: {none: true, secretRef: {namespace: a, name: b}}}`, []string{"name one issuer"},
		},
		"two issuers": {
			`{profile: Linkerd, issuer: {certificateRef: {namespace: a, name: b}, secretRef: {namespace: a, name: b}}}`, []string{"name one issuer"},
		},
		"none that is false": {
			`{profile: Linkerd, issuer: {none: false}}`,
			[]string{"none can only be true: remove it and set secretRef or certificateRef instead"},
		},

		"an admission mode that is not known": {
			`{profile: Linkerd, admission: {mode: Deny}}`, []string{`supported values: "Enforce", "Warn", "Audit"`},
		},
		"an issuer trust that is not known": {
			`{profile: Linkerd, admission: {issuerTrust: Maybe}}`, unsupported("admission.issuerTrust", "Maybe", `"Ignore", "Require"`),
		},
		"a negative clock skew": {`{profile: Linkerd, admission: {clockSkew: -5m}}`, []string{anyDuration + " 5m"}},
		"no clock skew":         {spec: `{profile: Linkerd, admission: {clockSkew: 0s}}`},
	}
}

func rolloutCases() map[string]validationCase {
	spec := func(rollout string) string { return `{profile: Linkerd, rollout: {` + rollout + `}}` }
	return map[string]validationCase{
		"a count":                         {spec: spec(`maxConcurrent: 1`)},
		"one percent":                     {spec: spec(`maxConcurrent: 1%`)},
		"all":                             {spec: spec(`maxConcurrent: 100%`)},
		"a count of zero":                 {spec(`maxConcurrent: 0`), []string{percentOrCount + "; to stop rolling set paused: true"}},
		"zero percent":                    {spec(`maxConcurrent: 0%`), []string{percentOrCount}},
		"more than all":                   {spec(`maxConcurrent: 101%`), []string{percentOrCount}},
		"a count in quotes":               {spec(`maxConcurrent: "5"`), []string{percentOrCount}},
		"half a percent":                  {spec(`maxConcurrent: 0.5%`), []string{percentOrCount}},
		"none in a namespace":             {spec(`maxConcurrentPerNamespace: 0`), []string{"write a count of workloads from 1 to 500; to stop rolling set paused: true"}},
		"more at once than status lists":  {spec(`maxConcurrent: 501`), []string{percentOrCount}},
		"a count that no integer holds":   {spec(`maxConcurrent: 3000000000`), []string{percentOrCount}},
		"more failures than status lists": {spec(`failureThreshold: 101`), []string{"from 1 to 100"}},
		"a skew that no duration holds":   {`{profile: Linkerd, admission: {clockSkew: 9999999h}}`, []string{"admission.clockSkew"}},
		"a bound that no duration holds":  {`{profile: Linkerd, bundle: {propagation: {environment: 9999999h}}}`, []string{"propagation.environment"}},
		"a threshold of zero":             {spec(`failureThreshold: 0`), []string{"write the count of failed workloads that stops the rollout, from 1 to 100"}},
		"a deadline of zero":              {spec(`progressDeadline: 0s`), []string{positiveDuration + ", such as 10m"}},
		"a deadline in words":             {spec(`progressDeadline: soon`), []string{positiveDuration + ", such as 10m"}},
		"no attempts":                     {spec(`maxAttempts: 0`), []string{"write a count of attempts from 1 to 10"}},
		"eleven attempts":                 {spec(`maxAttempts: 11`), []string{"write a count of attempts from 1 to 10"}},
		"a policy not known":              {spec(`policies: {retired: Sometimes}`), []string{`supported values: "Never", "InWindow", "Always"`}},
		"an hour without a window":        {spec(`outsideWindows: Always`), unsupported("rollout.outsideWindows", "Always", `"Never", "WhenBroken"`)},
		"bare pods deleted":               {spec(`policies: {barePods: Delete}`), unsupported("rollout.policies.barePods", "Delete", `"Report", "Evict"`)},
		"jobs reported":                   {spec(`policies: {jobs: Report}`), unsupported("rollout.policies.jobs", "Report", `"Wait", "Evict"`)},
		"unknown owners awaited":          {spec(`policies: {unmanaged: Wait}`), unsupported("rollout.policies.unmanaged", "Wait", `"Report", "Evict"`)},
		"windows":                         {spec: spec(`windows: [{schedule: "0 22 * * 1-5", duration: 4h, timeZone: Europe/Berlin}, {schedule: "*/15 0-6 1,15 JAN-MAR SUN", duration: 1h30m}], outsideWindows: Never`)},
		"a window never open":             {spec(`windows: [{schedule: "0 22 * * *", duration: 0s}]`), []string{positiveDuration + ", such as 4h"}},
		"a window of days":                {spec(`windows: [{schedule: "0 22 * * *", duration: 2d}]`), []string{positiveDuration + ", such as 4h"}},
		"a window without end":            {spec(`windows: [{schedule: "0 22 * * *"}]`), []string{"spec.rollout.windows[0].duration: Required value"}},
		"a window without start":          {spec(`windows: [{schedule: "", duration: 1h}]`), []string{cronFields}},
		"six cron fields":                 {spec(`windows: [{schedule: "0 0 22 * * *", duration: 1h}]`), []string{cronFields}},
		"a cron word":                     {spec(`windows: [{schedule: "@daily", duration: 1h}]`), []string{cronFields}},
		"a window at a quarter past 24":   {spec(`windows: [{schedule: "15 24 * * *", duration: 1h}]`), []string{"windows[0].schedule: Invalid value", "write hours from 0 to 23"}},
		"a window on a Sunday called 7":   {spec(`windows: [{schedule: "0 22 * * 7", duration: 1h}]`), []string{"write weekdays from 0 (Sunday) to 6, or from SUN to SAT"}},
		"a zone in hours":                 {spec(`windows: [{schedule: "0 22 * * *", duration: 1h, timeZone: "+02:00"}]`), []string{"write an IANA time zone, such as Europe/Berlin or UTC"}},
		"the zone of a machine":           {spec(`windows: [{schedule: "0 22 * * *", duration: 1h, timeZone: Local}]`), []string{"write an IANA time zone"}},
		"waves":                           {spec: spec(`waves: [{name: batch-jobs, namespaceSelector: {matchLabels: {tier: batch}}}, {name: rest, namespaceSelector: {}}]`)},
		"two waves of one name":           {spec(`waves: [{name: a, namespaceSelector: {}}, {name: a, namespaceSelector: {}}]`), []string{"spec.rollout.waves[1]: Duplicate value"}},
		"a wave without name":             {spec(`waves: [{name: "", namespaceSelector: {}}]`), []string{"write lower-case letters, digits and hyphens"}},
		"a wave of nothing":               {spec(`waves: [{name: a}]`), []string{"spec.rollout.waves[0].namespaceSelector: Required value"}},
	}
}

func operatorCases() map[string]validationCase {
	spec := func(entries string) string { return `{profile: Linkerd, rollout: {operators: [` + entries + `]}}` }
	entry := func(rest string) string { return spec(`{group: example.com, kind: Database, ` + rest + `}`) }
	const (
		oneOfTwo = "write one of the two: annotation, for an operator that restarts the pods when it sees one, or evict: true"
		own      = "write the group and kind of a custom resource that owns pods itself, such as postgresql.cnpg.io and Cluster"
	)
	return map[string]validationCase{
		"every form": {spec: spec(`{group: example.com, kind: Database, annotation: {key: restart}},
			{group: postgresql.cnpg.io, kind: Cluster, annotation: {key: kubectl.kubernetes.io/restartedAt, value: Timestamp}},
			{group: core.strimzi.io, kind: StrimziPodSet, annotation: {key: strimzi.io/manual-rolling-update, text: "true"}},
			{group: apps.kruise.io, kind: CloneSet, annotation: {key: example.com/restart, path: spec.template.metadata.annotations, value: Token}},
			{group: apps.kruise.io, kind: StatefulSet, evict: true}`)},
		"an entry that says nothing":    {entry(`evict: false`), []string{oneOfTwo}},
		"an entry that says both":       {entry(`evict: true, annotation: {key: a}`), []string{oneOfTwo}},
		"an entry twice":                {spec(`{group: a.b, kind: C, evict: true}, {group: a.b, kind: C, evict: true}`), []string{"spec.rollout.operators[1]: Duplicate value"}},
		"an entry without a group":      {spec(`{kind: Database, evict: true}`), []string{"spec.rollout.operators[0].group: Required value"}},
		"the core group":                {spec(`{group: "", kind: Database, evict: true}`), []string{"write an API group without a version, such as postgresql.cnpg.io"}},
		"a group with its version":      {spec(`{group: example.com/v1, kind: Database, evict: true}`), []string{"write an API group without a version"}},
		"a resource in place of a kind": {spec(`{group: example.com, kind: databases, evict: true}`), []string{"write a kind, such as Cluster"}},
		"a Deployment":                  {spec(`{group: apps, kind: Deployment, evict: true}`), []string{own}},
		"a Job":                         {spec(`{group: batch, kind: Job, evict: true}`), []string{own}},
		"an Argo Rollout":               {spec(`{group: argoproj.io, kind: Rollout, evict: true}`), []string{own}},
		"a Workflow of Argo":            {spec: spec(`{group: argoproj.io, kind: Workflow, evict: true}`)},
		"an annotation without a key":   {entry(`annotation: {value: Token}`), []string{"spec.rollout.operators[0].annotation.key: Required value"}},
		"a key that cannot be one":      {entry(`annotation: {key: "restart now"}`), []string{"write the key of an annotation, such as example.com/restarted-at"}},
		"a value that is not known":     {entry(`annotation: {key: a, value: Now}`), []string{`supported values: "Token", "Timestamp"`}},
		"a value and a text":            {entry(`annotation: {key: a, value: Token, text: "true"}`), []string{"write one of the two: value, or text for an operator that removes the annotation when it is done"}},
		"a text that is empty":          {entry(`annotation: {key: a, text: ""}`), []string{`write the text that asks for a restart, such as "true"`}},
		"a path to the labels":          {entry(`annotation: {key: a, path: metadata.labels}`), []string{"write metadata.annotations, or where in the spec the annotations of the pods are, such as spec.template.metadata.annotations"}},
		"a path into a list":            {entry(`annotation: {key: a, path: "spec.nodes[0].annotations"}`), []string{"write metadata.annotations, or where in the spec"}},
		"twenty-one of them":            {spec(strings.Repeat(`{group: a.b, kind: C, evict: true}, `, 21)), []string{"spec.rollout.operators: Too many: 21: must have at most 20 items"}},
	}
}

func rotationCases() map[string]validationCase {
	linkerd := func(rotation string) string { return `{profile: Linkerd, rotation: {` + rotation + `}}` }
	generic := func(rotation string) string {
		return `{profile: Generic, bundle: {secretRef: {namespace: a, name: b}}, issuer: {secretRef: {namespace: a, name: c}}, rotation: {` + rotation + `}}`
	}
	const names = `issuerCertificateRef: {namespace: a, name: c}, clusterIssuerName: d`
	return map[string]validationCase{
		"Linkerd has names for everything":        {spec: linkerd(``)},
		"and for InPlace":                         {spec: linkerd(`layout: InPlace`)},
		"Generic names everything":                {spec: generic(names + `, anchorTemplate: {}`)},
		"and for InPlace also the previous one":   {spec: generic(names + `, layout: InPlace, anchorCertificateRef: {namespace: a, name: e}, previousAnchorSecretRef: {namespace: a, name: f}`)},
		"Generic has no default names":            {generic(`anchorTemplate: {}`), []string{"set spec.rotation.issuerCertificateRef and spec.rotation.clusterIssuerName"}},
		"Generic has no default anchor":           {generic(names), []string{"set spec.rotation.anchorTemplate for layout Generations"}},
		"Generic has no default previous anchor":  {generic(names + `, layout: InPlace`), []string{"set spec.rotation.anchorCertificateRef and spec.rotation.previousAnchorSecretRef"}},
		"a rotation needs an issuer":              {`{profile: Linkerd, issuer: {none: true}, rotation: {}}`, []string{"spec.rotation needs an issuer to re-issue"}},
		"also where there is no default issuer":   {`{profile: Istio, rotation: {` + names + `, anchorTemplate: {}}}`, []string{"spec.rotation needs an issuer to re-issue"}},
		"a template in layout InPlace":            {linkerd(`layout: InPlace, anchorTemplate: {}`), []string{"anchorTemplate belongs to layout Generations: for InPlace change the Certificate"}},
		"a previous anchor in layout Generations": {linkerd(`previousAnchorSecretRef: {namespace: a, name: b}`), []string{"previousAnchorSecretRef belongs to layout InPlace: remove it"}},
		"a schedule":          {spec: linkerd(`schedule: "0 22 1 */3 *", rotateBefore: 2160h, leafLifetime: 24h, historyLimit: 0`)},
		"a schedule in words": {linkerd(`schedule: monthly`), []string{cronFields}},
		"a schedule that is out of range": {linkerd(`schedule: "60 24 0,32 1-13 7"`), []string{
			"spec.rotation.schedule: Invalid value", "write minutes from 0 to 59", "write hours from 0 to 23",
			"write days of the month from 1 to 31", "write months from 1 to 12, or from JAN to DEC", "write weekdays from 0 (Sunday) to 6",
		}},
		"a schedule of no step":             {linkerd(`schedule: "*/0 * * * *"`), []string{"write a step of 1 or more after a slash"}},
		"a schedule of a month that is not": {linkerd(`schedule: "0 22 * JUNE *"`), []string{cronFields}},
		"a layout that is not known":        {linkerd(`layout: Copies`), unsupported("rotation.layout", "Copies", `"Generations", "InPlace"`)},
		"a writer that is not known":        {linkerd(`bundleWriter: Helm`), unsupported("rotation.bundleWriter", "Helm", `"TrustManager", "Reanchor"`)},
		"leaves that are kept":              {linkerd(`leaves: Keep`), unsupported("rotation.leaves", "Keep", `"Expire", "Restart"`)},
		"a key that is not known": {linkerd(`anchorTemplate: {privateKey: {algorithm: Ed25519}}`),
			unsupported("rotation.anchorTemplate.privateKey.algorithm", "Ed25519", `"ECDSA", "RSA"`)},
		"rotation after the end":            {linkerd(`rotateBefore: 0s`), []string{positiveDuration + ", such as 2160h"}},
		"leaves without life":               {linkerd(`leafLifetime: 0h`), []string{positiveDuration + ", such as 24h"}},
		"no carry-over":                     {linkerd(`maxCarryOver: 0`), []string{"without a carried-over anchor a rotation breaks handshakes"}},
		"a history too long":                {linkerd(`historyLimit: 101`), []string{"write a count from 0 to 100"}},
		"an ECDSA key that Linkerd refuses": {linkerd(`anchorTemplate: {privateKey: {size: 384}}`), []string{"write size 256 for ECDSA, 2048 or 4096 for RSA"}},
		"an RSA key that Linkerd refuses":   {linkerd(`anchorTemplate: {privateKey: {algorithm: RSA, size: 1024}}`), []string{"write size 256 for ECDSA"}},
		"an anchor without life":            {linkerd(`anchorTemplate: {duration: 0s}`), []string{positiveDuration + ", such as 8760h"}},
		"an RSA key that it takes":          {spec: linkerd(`anchorTemplate: {duration: 8760h, privateKey: {algorithm: RSA, size: 2048}}`)},
	}
}

func anchorRotationCases() map[string]validationCase {
	spec := func(more string) string { return `{meshTrustRef: {name: mesh}` + more + `}` }
	const (
		name   = "in lower-case letters, digits, hyphens and dots, such as linkerd"
		either = "write either node, or namespace, kind and name together"
	)
	return map[string]validationCase{
		"a mesh is enough":        {spec: spec(``)},
		"no mesh":                 {`{}`, []string{"spec.meshTrustRef: Required value"}},
		"everything":              {spec: spec(`, suspend: true, abort: true, approvals: [{gate: SwitchIssuer}, {gate: Narrow}], acknowledge: [{node: n1}, {namespace: a, kind: Deployment, name: b}]`)},
		"a gate that is not one":  {spec(`, approvals: [{gate: Widen}]`), []string{`supported values: "SwitchIssuer", "Narrow"`}},
		"one gate twice":          {spec(`, approvals: [{gate: Narrow}, {gate: Narrow}]`), []string{"Duplicate value"}},
		"a node and a workload":   {spec(`, acknowledge: [{node: n1, namespace: a, kind: b, name: c}]`), []string{either}},
		"half a workload":         {spec(`, acknowledge: [{namespace: a, kind: Deployment}]`), []string{either}},
		"an acknowledged nothing": {spec(`, acknowledge: [{}]`), []string{either}},
		"a mesh that cannot be": {
			`{meshTrustRef: {name: Linker_D}}`, []string{"spec.meshTrustRef.name: Invalid value", "write the name of a MeshTrust, " + name},
		},
		"a mesh without a name":      {`{meshTrustRef: {name: ""}}`, []string{"write the name of a MeshTrust, " + name}},
		"a mesh of too long a name":  {`{meshTrustRef: {name: ` + strings.Repeat("a", 254) + `}}`, []string{"write the name of a MeshTrust, " + name}},
		"a node that cannot be":      {spec(`, acknowledge: [{node: Node_1}]`), []string{"spec.acknowledge[0].node: Invalid value", objectName}},
		"a workload that cannot be":  {spec(`, acknowledge: [{namespace: A, kind: Deployment, name: B}]`), []string{"acknowledge[0].namespace: Invalid value", namespaceName, "acknowledge[0].name: Invalid value", objectName}},
		"a workload named by plural": {spec(`, acknowledge: [{namespace: a, kind: deployments, name: b}]`), []string{"acknowledge[0].kind: Invalid value", "write the kind of a workload, such as Deployment, or Pod"}},
	}
}
