package api

import (
	"fmt"
	"strings"
)

// referenceCases give every reference of a MeshTrust names that no object has.
func referenceCases() map[string]validationCase {
	cases := trustBundleCases()
	for field, spec := range map[string]string{
		"bundle.configMapRef":              `{profile: Linkerd, bundle: {configMapRef: {namespace: %q, name: %q}}}`,
		"bundle.secretRef":                 `{profile: Linkerd, bundle: {secretRef: {namespace: %q, name: %q}}}`,
		"issuer.secretRef":                 `{profile: Linkerd, issuer: {secretRef: {namespace: %q, name: %q}}}`,
		"issuer.certificateRef":            `{profile: Linkerd, issuer: {certificateRef: {namespace: %q, name: %q}}}`,
		"rotation.anchorCertificateRef":    `{profile: Linkerd, rotation: {anchorCertificateRef: {namespace: %q, name: %q}}}`,
		"rotation.issuerCertificateRef":    `{profile: Linkerd, rotation: {issuerCertificateRef: {namespace: %q, name: %q}}}`,
		"rotation.previousAnchorSecretRef": `{profile: Linkerd, rotation: {layout: InPlace, previousAnchorSecretRef: {namespace: %q, name: %q}}}`,
	} {
		namespace, name := "spec."+field+".namespace: ", "spec."+field+".name: "
		cases[field] = validationCase{spec: fmt.Sprintf(spec, "team-1", "1.roots-v2.example")}
		cases[field+" that cannot be"] = validationCase{
			fmt.Sprintf(spec, "Linker_D", "Trust_Roots"), []string{namespace + "Invalid value", namespaceName, name + "Invalid value", objectName},
		}
		cases[field+" of nothing"] = validationCase{fmt.Sprintf(spec, "", ""), []string{namespace, namespaceName, name, objectName}}
		cases[field+" with dots where none may be"] = validationCase{fmt.Sprintf(spec, "a.b", "a..b"), []string{namespaceName, objectName}}
		cases[field+" that is too long"] = validationCase{
			fmt.Sprintf(spec, strings.Repeat("a", 64), strings.Repeat("a", 254)), []string{namespace + "Too long", name + "Too long"},
		}
	}
	for field, c := range map[string]struct{ spec, good, bad, says string }{
		"controlPlaneNamespace":                   {`{profile: Linkerd, controlPlaneNamespace: %q}`, "l5d", "Linker_D", namespaceName},
		"bundle.configMapRef.key":                 {`{profile: Linkerd, bundle: {configMapRef: {namespace: a, name: b, key: %q}}}`, "CA_bundle-2.crt", "ca/bundle", "write a key of the object's data, such as ca-bundle.crt"},
		"issuer.secretRef.key":                    {`{profile: Linkerd, issuer: {secretRef: {namespace: a, name: b, key: %q}}}`, "tls.crt", "tls crt", "write a key of the object's data"},
		"rotation.clusterIssuerName":              {`{profile: Linkerd, rotation: {clusterIssuerName: %q}}`, "ca.v2", "CA", objectName},
		"rotation.anchorTemplate.namespace":       {`{profile: Linkerd, rotation: {anchorTemplate: {namespace: %q}}}`, "pki", "pki.example", namespaceName},
		"rotation.anchorTemplate.issuerRef.name":  {`{profile: Linkerd, rotation: {anchorTemplate: {issuerRef: {name: %q}}}}`, "root", "root/ca", objectName},
		"rotation.anchorTemplate.issuerRef.kind":  {`{profile: Linkerd, rotation: {anchorTemplate: {issuerRef: {name: a, kind: %q}}}}`, "VaultIssuer", "clusterissuers", "write the kind of an issuer, such as Issuer or ClusterIssuer"},
		"rotation.anchorTemplate.issuerRef.group": {`{profile: Linkerd, rotation: {anchorTemplate: {issuerRef: {name: a, group: %q}}}}`, "pki.example.com", "cert-manager.io/v1", "write an API group without a version, such as cert-manager.io"},
	} {
		cases[field] = validationCase{spec: fmt.Sprintf(c.spec, c.good)}
		cases[field+" that cannot be"] = validationCase{fmt.Sprintf(c.spec, c.bad), []string{"spec." + field + ": Invalid value", c.says}}
		cases[field+" of nothing"] = validationCase{fmt.Sprintf(c.spec, ""), []string{"spec." + field + ": Invalid value", c.says}}
	}
	return cases
}

// trustBundleCases name ClusterTrustBundles as Kubernetes does: one with a signer
// is called by the signer, its slash a colon, another colon, and a DNS subdomain.
func trustBundleCases() map[string]validationCase {
	spec := func(name string) string {
		return fmt.Sprintf(`{profile: Linkerd, bundle: {clusterTrustBundleRef: {name: %q}}}`, name)
	}
	says := []string{
		"spec.bundle.clusterTrustBundleRef.name: Invalid value",
		"write the name of a ClusterTrustBundle, such as mesh-roots, or example.com:signer:mesh-roots for one with the signer example.com/signer",
	}
	dots := func(length int) string { return strings.Repeat("a.", length)[:length-1] + "a" }
	longest := dots(253) + ":" + dots(317) + ":" + dots(253)
	return map[string]validationCase{
		"a ClusterTrustBundle without a signer":    {spec: spec("mesh-roots.v1")},
		"a ClusterTrustBundle with one":            {spec: spec("issuers.cert-manager.io:team.ca-1:mesh-roots")},
		"the longest name of a ClusterTrustBundle": {spec: spec(longest)},
		"a longer one":                                   {spec(longest + "a"), []string{"spec.bundle.clusterTrustBundleRef.name: Too long"}},
		"a ClusterTrustBundle that cannot be":            {spec("Mesh_Roots"), says},
		"a ClusterTrustBundle with half a signer":        {spec("example.com:mesh-roots"), says},
		"a ClusterTrustBundle of a signer alone":         {spec("example.com:signer:"), says},
		"a ClusterTrustBundle with a slash":              {spec("example.com/signer:mesh-roots"), says},
		"a ClusterTrustBundle with a colon in its name":  {spec("example.com:signer:mesh:roots"), says},
		"a ClusterTrustBundle that has no name":          {spec(""), says},
		"a ClusterTrustBundle with a signer in capitals": {spec("example.com:Signer:mesh-roots"), says},
	}
}
