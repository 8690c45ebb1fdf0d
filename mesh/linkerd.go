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

// linkerdTrust: the proxy's variable, and for the identity component also the
// mounted file, which it reads at start to verify its issuer.
func linkerdTrust(m *Mesh, p *Pod, w World) Trust {
	trust := linkerdProxyTrust(m, p, p.container(linkerdProxy), w)
	if p.Labels[LinkerdComponentLabel] != linkerdIdentity || p.Namespace != m.Namespace {
		return trust
	}
	identity := p.container(linkerdIdentity)
	if identity == nil || !m.mountsBundle(p, identity) {
		return unknown("its identity container does not mount the published bundle")
	}
	return trust.and(m.atStart(p, identity, w, file))
}

func linkerdProxyTrust(m *Mesh, p *Pod, proxy *Container, w World) Trust {
	if proxy == nil {
		return unknown("it has no container " + linkerdProxy)
	}
	anchors, ok := proxy.variable(linkerdAnchorsEnv)
	switch {
	case !ok:
		return unknown("its proxy has no variable " + linkerdAnchorsEnv)
	case anchors.From == nil && expands(anchors.Value):
		return unknown("its proxy's bundle refers to other variables")
	case anchors.From == nil:
		return w.literal(anchors.Value)
	case m.refersTo(*anchors.From, p.Namespace):
		return m.atStart(p, proxy, w, environment)
	default:
		return unknown("its proxy reads another object than the published bundle")
	}
}
