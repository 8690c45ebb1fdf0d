package checker

// RuleID names a rule. Ids are a contract: dashboards, `--ignore` and scripts
// depend on them.
type RuleID string

// The rules, grouped as in docs/checker.md.
const (
	Expired             RuleID = "expired"
	NotYetValid         RuleID = "not_yet_valid"
	Expiring            RuleID = "expiring"
	CAExpiresBeforeLeaf RuleID = "ca_expires_before_leaf"
	ClockSkew           RuleID = "clock_skew"
	CRLStale            RuleID = "crl_stale"

	ChainBadSignature  RuleID = "chain_bad_signature"
	ChainUnknownIssuer RuleID = "chain_unknown_issuer"
	KeyMismatch        RuleID = "key_mismatch"
	KeyUnreadable      RuleID = "key_unreadable"
	KeyPermissions     RuleID = "key_permissions"
	EncryptedKey       RuleID = "encrypted_key"
	PassphraseMissing  RuleID = "passphrase_missing"
	BadPassphrase      RuleID = "bad_passphrase"
	PrivateKeyInBundle RuleID = "private_key_in_bundle"

	LiveMismatch       RuleID = "live_mismatch"
	LiveUnmapped       RuleID = "live_unmapped"
	LiveUnreachable    RuleID = "live_unreachable"
	LiveNotTLS         RuleID = "live_not_tls"
	SANMissingEndpoint RuleID = "san_missing_endpoint"
	RestartSuspected   RuleID = "restart_suspected"
	RestartDue         RuleID = "restart_due"

	Orphaned            RuleID = "orphaned"
	BundleDuplicate     RuleID = "bundle_duplicate"
	BundleExpiredMember RuleID = "bundle_expired_member"
	BundleUnusedCA      RuleID = "bundle_unused_ca"

	WeakKey      RuleID = "weak_key"
	WeakSig      RuleID = "weak_sig"
	LegacyCNOnly RuleID = "legacy_cn_only"
	NoSAN        RuleID = "no_san"
	EKUMissing   RuleID = "eku_missing"
	CAFlag       RuleID = "ca_flag"
	KeyUsage     RuleID = "keyusage"

	NoCertificate   RuleID = "no_certificate"
	TruncatedPEM    RuleID = "truncated_pem"
	BadPEM          RuleID = "bad_pem"
	BadDER          RuleID = "bad_der"
	TrailingGarbage RuleID = "trailing_garbage"
	CSROnly         RuleID = "csr_only"
	CSRPending      RuleID = "csr_pending"

	Unreadable        RuleID = "unreadable"
	NotFound          RuleID = "not_found"
	BrokenSymlink     RuleID = "broken_symlink"
	SymlinkLoop       RuleID = "symlink_loop"
	OutOfScopeSymlink RuleID = "out_of_scope_symlink"
	TooLarge          RuleID = "too_large"
	NotRegular        RuleID = "not_regular"

	KubeconfigInvalid          RuleID = "kubeconfig_invalid"
	KubeconfigReferenceMissing RuleID = "kubeconfig_reference_missing"

	NothingFound RuleID = "nothing_found"
)

// Rule says what a finding means and what to do about it.
type Rule struct {
	ID RuleID
	// Severity is the usual one. Escalates says in words when it differs;
	// WhenNamed is the severity for a path named on the command line, if that
	// is what makes it differ.
	Severity  Severity
	Escalates string
	WhenNamed Severity
	// Group is the heading in docs/checker.md.
	Group   string
	Meaning string
	// Remedy is the advice when the profile has none that is more exact.
	Remedy string
}

// Rules returns every rule in the order of docs/checker.md.
func Rules() []Rule {
	var all []Rule
	for _, group := range [][]Rule{timeRules(), trustRules(), liveRules(), bundleRules(), shapeRules(), contentRules(), accessRules()} {
		all = append(all, group...)
	}
	return all
}

func timeRules() []Rule {
	const g = "Time"
	return []Rule{
		{Expired, Critical, "", OK, g, "The certificate's notAfter has passed.", "Renew the certificate and restart what uses it."},
		{NotYetValid, Critical, "warning within 5 minutes (clock skew)", OK, g, "The certificate's notBefore is still ahead.", "Check the clocks of this node and of the signer; reissue if the date is wrong."},
		{Expiring, Warning, "critical below the critical threshold (14 days; CA 90 days; a tenth of a short life)", OK, g, "The certificate ends within the warning threshold (leaf 30 days; CA 365 days, but at most a third of its life, and a CA that lives no longer than that is judged like a leaf; certificates that live less than 30 days: a third of their life).", "Renew the certificate before it ends."},
		{CAExpiresBeforeLeaf, Warning, "critical when the CA is below its critical threshold", OK, g, "The CA ends more than an hour before a certificate it signed: the leaf dies with its CA, earlier than its own date says.", "Rotate the CA first, then reissue the leaf."},
		{ClockSkew, Warning, "", OK, g, "The certificate's notBefore is later than the time its file was last written or changed: the signer's clock is ahead of this node's. Times of 1980 and before, as in reproducible images, are not believed.", "Compare the clocks (NTP) of this node and of the signer."},
		{CRLStale, Warning, "", OK, g, "A certificate revocation list is past its nextUpdate.", "Publish a new CRL."},
	}
}

func trustRules() []Rule {
	const g = "Chains and keys"
	return []Rule{
		{ChainBadSignature, Critical, "", OK, g, "A CA with the issuer's name lies beside the certificate, but it did not sign it: usually the CA was replaced and the leaf was not.", "Reissue the certificate from the CA that lies beside it, or put the CA that signed it back into the bundle."},
		{ChainUnknownIssuer, Warning, "information when no CA at all was in scope", OK, g, "No CA found in this scan signed the certificate.", "Add the CA's path to the scan, or reissue the certificate from a CA that its peers trust."},
		{KeyMismatch, Critical, "", OK, g, "The private key beside the certificate belongs to another certificate.", "Restore the matching pair, or reissue both files together."},
		{KeyUnreadable, Info, "", OK, g, "The private key could not be read, so the pair was not compared.", "Run as root, or grant CAP_DAC_READ_SEARCH, or pass --no-check-keys."},
		{KeyPermissions, Warning, "", OK, g, "Group or others may read a private key.", "chmod 0600 the key file."},
		{EncryptedKey, Warning, "", OK, g, "The private key is encrypted; no Kubernetes component can load it.", "Replace it with an unencrypted key with mode 0600."},
		{PassphraseMissing, Warning, "", OK, g, "The encrypted key was not compared with its certificate because no passphrase was given.", "Pass --passphrase-file."},
		{BadPassphrase, Warning, "", OK, g, "The passphrase given does not decrypt the key.", "Pass the right --passphrase-file."},
		{PrivateKeyInBundle, Info, "warning when group or others may read the file", OK, g, "One file holds a certificate and a private key.", "Keep the file's mode at 0600; mount the certificate alone where only trust is needed."},
	}
}

func liveRules() []Rule {
	const g = "Running processes"
	return []Rule{
		{LiveMismatch, Warning, "critical when the certificate in memory is expired or expiring", OK, g, "The endpoint serves a certificate that is in none of the files it loads: the process still holds an old one.", "Restart the process that serves this endpoint."},
		{LiveUnmapped, Info, "", OK, g, "The endpoint serves a certificate that is not on disk (made in memory).", "Nothing, as long as it is not expiring; a restart makes a new one."},
		{LiveUnreachable, Warning, "information for ports that may not listen on loopback", OK, g, "Nothing answers at the endpoint.", "Start the component if it should run here; otherwise nothing."},
		{LiveNotTLS, Info, "", OK, g, "The port answers, but not with TLS.", "Nothing if plain HTTP is intended here."},
		{SANMissingEndpoint, Warning, "", OK, g, "The served certificate does not name the address that was dialled, so verifying clients refuse it.", "Reissue the certificate with this address in its subject alternative names."},
		{RestartSuspected, Warning, "", OK, g, "A file is newer than the process that loaded it, and the process does not reload that kind of file.", "Restart the process."},
		{RestartDue, Warning, "", OK, g, "The process holds a certificate that exists only in memory and that ends soon; only a restart renews it.", "Restart the process."},
	}
}

func bundleRules() []Rule {
	const g = "Bundles and leftovers"
	return []Rule{
		{Orphaned, Info, "", OK, g, "Nothing uses the file any more (a token directory without data, a rotation backup, an old dated kubelet certificate, a copy named *.bak, *.old, *~, *.rpmsave or *.orig). Its other findings do not count.", "Delete it when convenient."},
		{BundleDuplicate, Warning, "", OK, g, "The same certificate is in the file twice.", "Remove the duplicate."},
		{BundleExpiredMember, Warning, "", OK, g, "An expired CA lies in a bundle beside a valid one with the same name; nothing depends on it.", "Remove the expired CA from the bundle."},
		{BundleUnusedCA, Info, "", OK, g, "A CA in a bundle signed nothing that was found, while another in the same file did.", "Remove it once nothing on other nodes uses it."},
	}
}

func shapeRules() []Rule {
	const g = "Shape of the certificate"
	return []Rule{
		{WeakKey, Warning, "", OK, g, "RSA below 2048 bits, or an elliptic curve below 224.", "Reissue with RSA 2048 or ECDSA P-256."},
		{WeakSig, Warning, "", OK, g, "Signed with MD5 or SHA-1, which Go refuses to verify.", "Reissue with SHA-256."},
		{LegacyCNOnly, Warning, "", OK, g, "A server certificate names its host only in the common name; clients built with Go 1.15 or later refuse it.", "Reissue with subject alternative names."},
		{NoSAN, Warning, "", OK, g, "A server certificate names no host at all.", "Reissue with subject alternative names."},
		{EKUMissing, Warning, "", OK, g, "The certificate lacks the extended key usage of its role (an etcd server or peer certificate needs client authentication too).", "Reissue with the missing usage."},
		{CAFlag, Warning, "", OK, g, "A file that should hold a CA holds a certificate that is none.", "Put the CA certificate there."},
		{KeyUsage, Warning, "", OK, g, "A CA certificate may not sign certificates (key usage without certSign).", "Reissue the CA with key usage certSign."},
	}
}

func contentRules() []Rule {
	const g = "Contents of files"
	const broken = "critical for a file named on the command line"
	return []Rule{
		{NoCertificate, Warning, broken, Critical, g, "The file holds no certificate.", "Restore the file."},
		{TruncatedPEM, Warning, broken, Critical, g, "A PEM block begins and does not end; it was read twice, so it is not just being written.", "Restore the file; what loads it now sees fewer certificates than you do."},
		{BadPEM, Warning, broken, Critical, g, "A PEM block is not valid base64.", "Restore the file."},
		{BadDER, Warning, broken, Critical, g, "A block is PEM but not a certificate that Go can parse.", "Reissue the certificate."},
		{TrailingGarbage, Warning, broken, Critical, g, "Bytes that are neither comment nor PEM follow the last block (often zeros after a crash).", "Rewrite the file."},
		{CSROnly, Info, "", OK, g, "The file holds a certificate request; a certificate for its key exists.", "Nothing."},
		{CSRPending, Info, "", OK, g, "The file holds a certificate request for whose key no certificate was found.", "Have it signed, or delete it."},
		{KubeconfigInvalid, Warning, broken, Critical, g, "The file is not a kubeconfig that can be read, or its current-context does not exist.", "Restore the kubeconfig."},
		{KubeconfigReferenceMissing, Warning, "", OK, g, "The kubeconfig refers to a file that cannot be read.", "Restore the file or embed its data."},
	}
}

func accessRules() []Rule {
	const g = "Access"
	const named = "unknown (exit 3) for a path named on the command line"
	return []Rule{
		{Unreadable, Warning, named, Unknown, g, "The file or directory exists and cannot be read.", "Run as root, or grant CAP_DAC_READ_SEARCH."},
		{NotFound, Warning, named, Unknown, g, "Something that must be there is not.", "Mount or restore it; a volume mounted after the pod started needs mountPropagation HostToContainer."},
		{BrokenSymlink, Warning, named, Unknown, g, "The symbolic link's target does not exist.", "Restore the target or remove the link."},
		{SymlinkLoop, Warning, named, Unknown, g, "The symbolic links go in a circle.", "Remove the loop."},
		{OutOfScopeSymlink, Warning, named, Unknown, g, "The symbolic link leads to a directory that is not below --rootfs (not mounted).", "Mount the target's directory too."},
		{TooLarge, Warning, named, Unknown, g, "The file is larger than --max-file-size and was not read.", "Check what it is; raise --max-file-size if it really holds certificates."},
		{NotRegular, Warning, named, Unknown, g, "The path is a FIFO, socket or device, not a file; it was not opened.", "Remove it or exclude it."},
		{NothingFound, Unknown, "", OK, g, "No certificate was found at all, or nothing matches --require. That is never green.", "Check the paths, the profile and the mounts."},
	}
}
