package mesh

// Names in the pods of Linkerd (facts, "What a pod carries").
const (
	linkerdProxy      = "linkerd-proxy"
	linkerdAnchorsEnv = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	linkerdNamespace  = "_l5d_ns"
	linkerdIdentity   = "identity"
)

// linkerdMember: the proxy is there, and it belongs to this control plane. The
// label says so; where a pod lacks it, the proxy's own environment does. A
// proxy that says neither is taken for a member, so that it blocks a gate
// rather than slips through.
func linkerdMember(m *Mesh, p *Pod) bool {
	proxy := p.container(linkerdProxy)
	if proxy == nil {
		return false
	}
	if label, ok := p.Labels[LinkerdControlPlaneLabel]; ok {
		return label == m.Namespace
	}
	namespace, ok := proxy.variable(linkerdNamespace)
	return !ok || namespace.From != nil || namespace.Value == m.Namespace
}

// linkerdEvidence: the proxy's variable, and for the identity component also
// the mounted file, which it reads at start to verify its issuer.
func linkerdEvidence(m *Mesh, p *Pod) Evidence {
	proxy := linkerdProxyEvidence(m, p, p.container(linkerdProxy))
	if p.Labels[LinkerdComponentLabel] != linkerdIdentity || p.Namespace != m.Namespace {
		return proxy
	}
	identity := p.container(linkerdIdentity)
	if identity == nil || !m.mountsBundle(p, identity) {
		return noEvidence("its identity container does not mount the published bundle")
	}
	return proxy.and(readAtStart(identity, true))
}

func linkerdProxyEvidence(m *Mesh, p *Pod, proxy *Container) Evidence {
	if proxy == nil {
		return noEvidence("it has no container " + linkerdProxy)
	}
	anchors, ok := proxy.variable(linkerdAnchorsEnv)
	switch {
	case !ok:
		return noEvidence("its proxy has no variable " + linkerdAnchorsEnv)
	case anchors.From == nil:
		return literal(anchors.Value)
	case m.refersTo(*anchors.From, p.Namespace):
		return readAtStart(proxy, false)
	default:
		return noEvidence("its proxy reads another object than the published bundle")
	}
}
