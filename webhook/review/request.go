package review

import (
	"errors"
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
)

// Request is what a decision needs to know of an admission request.
type Request struct {
	// UID is echoed in the response.
	UID string
	// Pod is the pod that is to be created, in the request's namespace. It has
	// no creation time: what the object claims of it may be anything.
	Pod mesh.Pod
	// Annotated says that the pod has annotations, maybe an empty map.
	Annotated bool
	// Claimed is the stamp that the pod has already, whoever wrote it.
	Claimed Stamp
	// OptOut is the value of the opt-out annotation.
	OptOut string
}

// Stamp holds the three annotations.
type Stamp struct {
	Hash, NotAfter, By Annotation
}

// Annotation is the value of an annotation, or its absence.
type Annotation struct {
	Value   string
	Present bool
}

// ErrNotAPod says that a well-formed review asks about something else than the
// creation of a pod, or in a version that is not read.
var ErrNotAPod = errors.New("not a review of a pod's creation")

// Parse reads a review. The error wraps ErrNotAPod, or says what is wrong with
// the text; it quotes no values.
func Parse(text string) (*Request, error) { return new(Parser).Parse(text) }

// Parser reads one review after the other, and uses its memory again. It is not
// safe for concurrent use.
type Parser struct {
	scanner
	Request

	// These must hold of the review for it to be one of a pod.
	apiVersion, kind      string
	operation, sub        string
	requestKind, resource kind
	podAPIVersion         string
	podKind               string
	metadata              bool

	// What all containers and volumes together have, of which each has a part: one
	// list, so that memory for the next text is as much as one pod can ask for,
	// whatever container it came in.
	env     []mesh.EnvVar
	mounts  []mesh.Mount
	objects []mesh.Object
}

// Parse reads a review like the function Parse. The Request is good until the
// next call.
func (p *Parser) Parse(text string) (*Request, error) {
	p.forget()
	if err := p.reset(text); err != nil {
		return nil, err
	}
	if err := p.object(p.review); err != nil {
		return nil, err
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return p.result()
}

// forget makes the Parser as new, but for its memory.
func (p *Parser) forget() {
	clear(p.Pod.Labels)
	*p = Parser{
		scanner: p.scanner, env: p.env[:0], mounts: p.mounts[:0], objects: p.objects[:0],
		Request: Request{Pod: mesh.Pod{Labels: p.Pod.Labels, Containers: p.Pod.Containers[:0], Volumes: p.Pod.Volumes[:0]}},
	}
}

// kind is a group, a version and a kind or resource.
type kind struct{ group, version, name string }

func (p *Parser) result() (*Request, error) {
	for _, must := range [...]struct {
		hold      bool
		otherwise string
	}{
		{p.apiVersion == "admission.k8s.io/v1" && p.kind == "AdmissionReview", "it is not an AdmissionReview of admission.k8s.io/v1"},
		{p.UID != "" && len(p.UID) <= MaxUID, "it has no request with a uid, or one that is too long"},
		{p.operation == "CREATE" && p.sub == "", "the operation is not the creation of an object"},
		{p.requestKind == kind{"", "v1", "Pod"} && p.resource == kind{"", "v1", "pods"}, "the resource is not v1 pods"},
		{p.podKind == "Pod" && p.podAPIVersion == "v1", "the object is not a v1 Pod"},
		{p.metadata, "the object has no metadata"},
	} {
		if !must.hold {
			return nil, fmt.Errorf("%w: %s", ErrNotAPod, must.otherwise)
		}
	}
	return &p.Request, nil
}

func (p *Parser) review(name string) (err error) {
	switch name {
	case "apiVersion":
		p.apiVersion, err = p.optional()
	case "kind":
		p.kind, err = p.optional()
	case "request":
		return p.optionalObject(p.request)
	default:
		return p.skip()
	}
	return err
}

func (p *Parser) request(name string) (err error) {
	switch name {
	case "uid":
		p.UID, err = p.optional()
	case "kind":
		p.requestKind, err = p.groupVersion("kind")
	case "resource":
		p.resource, err = p.groupVersion("resource")
	case "subResource":
		p.sub, err = p.optional()
	case "namespace":
		p.Pod.Namespace, err = p.optional()
	case "operation":
		p.operation, err = p.optional()
	case "object":
		return p.optionalObject(p.pod)
	default:
		return p.skip()
	}
	return err
}

// groupVersion reads a GroupVersionKind or a GroupVersionResource.
func (p *Parser) groupVersion(last string) (k kind, err error) {
	err = p.optionalObject(func(name string) (err error) {
		switch name {
		case "group":
			k.group, err = p.optional()
		case "version":
			k.version, err = p.optional()
		case last:
			k.name, err = p.optional()
		default:
			return p.skip()
		}
		return err
	})
	return k, err
}

func (p *Parser) pod(name string) (err error) {
	switch name {
	case "apiVersion":
		p.podAPIVersion, err = p.optional()
	case "kind":
		p.podKind, err = p.optional()
	case "metadata":
		p.metadata = p.space() == '{'
		return p.optionalObject(p.objectMeta)
	case "spec":
		return p.optionalObject(p.spec)
	default:
		return p.skip()
	}
	return err
}

func (p *Parser) objectMeta(name string) error {
	switch name {
	case "labels":
		return p.optionalObject(p.label)
	case "annotations":
		p.Annotated = p.space() == '{'
		return p.optionalObject(p.annotation)
	default:
		return p.skip()
	}
}

func (p *Parser) label(name string) error {
	value, err := p.optional()
	if err != nil || !mesh.RelevantLabel(name) {
		return err
	}
	if p.Pod.Labels == nil {
		p.Pod.Labels = make(map[string]string, 2)
	}
	p.Pod.Labels[name] = value
	return nil
}

func (p *Parser) annotation(name string) error {
	value, err := p.optional()
	switch name {
	case v1alpha1.TrustBundleHashAnnotation:
		p.Claimed.Hash = Annotation{value, true}
	case v1alpha1.TrustBundleNotAfterAnnotation:
		p.Claimed.NotAfter = Annotation{value, true}
	case v1alpha1.StampedByAnnotation:
		p.Claimed.By = Annotation{value, true}
	case v1alpha1.OptOutAnnotation:
		p.OptOut = value
	}
	return err
}

// optionalObject reads an object or a null.
func (p *Parser) optionalObject(member func(name string) error) error {
	if p.null() {
		return nil
	}
	return p.object(member)
}
