package checker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
)

const day = 24 * time.Hour

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// pki issues what the cases need.
type pki struct {
	t  *testing.T
	ca *checkertest.Pair
}

func newPKI(t *testing.T) *pki {
	p := &pki{t: t}
	p.ca = p.issue(root("kubernetes"), nil)
	return p
}

func root(cn string) checkertest.Spec {
	return checkertest.Spec{CN: cn, CA: true, NotBefore: now().Add(-100 * day), NotAfter: now().Add(3000 * day)}
}

func (p *pki) issue(s checkertest.Spec, parent *checkertest.Pair) *checkertest.Pair {
	p.t.Helper()
	if s.NotBefore.IsZero() {
		s.NotBefore = now().Add(-100 * day)
	}
	if s.NotAfter.IsZero() {
		s.NotAfter = now().Add(200 * day)
	}
	issued, err := checkertest.Issue(s, parent)
	if err != nil {
		p.t.Fatal(err)
	}
	return issued
}

// leaf is signed by the CA.
func (p *pki) leaf(s checkertest.Spec) *checkertest.Pair {
	p.t.Helper()
	if s.CN == "" {
		s.CN = "leaf"
	}
	if s.DNS == nil {
		s.DNS = []string{"leaf.example.com"}
	}
	return p.issue(s, p.ca)
}

func file(path string, pairs ...*checkertest.Pair) checker.File {
	f := checker.File{Source: checker.SourceFile, Path: path, Mode: 0o644}
	for _, p := range pairs {
		f.Certs = append(f.Certs, p.Checked())
	}
	return f
}

func keyOf(p *checkertest.Pair) checker.Fingerprint { return p.Checked().SPKI }

// with applies changes to a file.
func with(f checker.File, change func(*checker.File)) checker.File {
	change(&f)
	return f
}

// said are the findings of a report as "severity id path".
func said(r checker.Report) []string {
	var all []string
	for f := range r.All() {
		all = append(all, fmt.Sprintf("%s %s %s", f.Severity, f.ID, f.Path))
	}
	slices.Sort(all)
	return all
}

// ruleCase is one situation and everything that should be said about it.
type ruleCase struct {
	facts  func(p *pki) checker.Facts
	policy func(*checker.Policy)
	want   []string
}

func files(all ...checker.File) checker.Facts { return checker.Facts{Files: all} }

// ca is the healthy CA's file.
func (p *pki) caFile() checker.File { return file("/pki/ca.crt", p.ca) }

func TestEveryRuleHasACaseInWhichItSpeaks(t *testing.T) {
	spoken := map[checker.RuleID]bool{}
	for _, cases := range []map[string]ruleCase{timeCases(), chainCases(), keyCases(), bundleCases(), shapeCases(), faultCases(), liveCases(), processCases(), contextCases()} {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				policy := checker.DefaultPolicy()
				if c.policy != nil {
					c.policy(&policy)
				}
				report := checker.Check(c.facts(newPKI(t)), now(), policy)
				if diff := cmp.Diff(c.want, said(report)); diff != "" {
					t.Errorf("findings (-want +got):\n%s", diff)
				}
				for f := range report.All() {
					spoken[f.ID] = true
					if f.Message == "" || f.Remedy == "" {
						t.Errorf("%s has message %q and remedy %q; both must say something", f.ID, f.Message, f.Remedy)
					}
				}
			})
		}
	}
	for _, rule := range checker.Rules() {
		if !spoken[rule.ID] {
			t.Errorf("no case makes %s speak", rule.ID)
		}
	}
}

// TestTheIdsOfRulesAreAContract: dashboards, --ignore and scripts depend on
// them, and exit codes on their severities.
func TestTheIdsOfRulesAreAContract(t *testing.T) {
	want := map[checker.Severity]string{
		checker.Critical: "chain_bad_signature expired key_mismatch not_yet_valid",
		checker.Unknown:  "nothing_found",
		checker.Warning: "bad_der bad_passphrase bad_pem broken_symlink bundle_duplicate bundle_expired_member ca_expires_before_leaf ca_flag " +
			"chain_unknown_issuer clock_skew crl_stale eku_missing encrypted_key expiring key_permissions keyusage kubeconfig_invalid " +
			"kubeconfig_reference_missing legacy_cn_only live_mismatch live_unreachable no_certificate no_san not_found not_regular " +
			"out_of_scope_symlink passphrase_missing restart_due restart_suspected san_missing_endpoint symlink_loop too_large " +
			"trailing_garbage truncated_pem unreadable weak_key weak_sig",
		checker.Info: "bundle_unused_ca csr_only csr_pending key_unreadable live_not_tls live_unmapped orphaned private_key_in_bundle",
	}
	got := map[checker.Severity][]string{}
	for _, r := range checker.Rules() {
		got[r.Severity] = append(got[r.Severity], string(r.ID))
	}
	for severity, ids := range want {
		slices.Sort(got[severity])
		if diff := cmp.Diff(strings.Fields(ids), got[severity]); diff != "" {
			t.Errorf("%s (-contract +code):\n%s", severity, diff)
		}
	}
}

func timeCases() map[string]ruleCase {
	leaf := func(s checkertest.Spec) func(*pki) checker.Facts {
		return func(p *pki) checker.Facts { return files(p.caFile(), file("/pki/a.crt", p.leaf(s))) }
	}
	return map[string]ruleCase{
		"a healthy pair says nothing":                             {facts: leaf(checkertest.Spec{})},
		"an expired leaf is critical":                             {facts: leaf(checkertest.Spec{NotAfter: now().Add(-time.Second)}), want: []string{"critical expired /pki/a.crt"}},
		"a leaf is valid in the second in which it ends":          {facts: leaf(checkertest.Spec{NotAfter: now()}), want: []string{"critical expiring /pki/a.crt"}},
		"a leaf with 31 days left is fine":                        {facts: leaf(checkertest.Spec{NotAfter: now().Add(31 * day)})},
		"a leaf with 29 days left is a warning":                   {facts: leaf(checkertest.Spec{NotAfter: now().Add(29 * day)}), want: []string{"warning expiring /pki/a.crt"}},
		"a leaf with 13 days left is critical":                    {facts: leaf(checkertest.Spec{NotAfter: now().Add(13 * day)}), want: []string{"critical expiring /pki/a.crt"}},
		"a leaf of a day is fine with half of its life left":      {facts: leaf(checkertest.Spec{NotBefore: now().Add(-12 * time.Hour), NotAfter: now().Add(12 * time.Hour)})},
		"a leaf of a day is a warning in its last third":          {facts: leaf(checkertest.Spec{NotBefore: now().Add(-18 * time.Hour), NotAfter: now().Add(6 * time.Hour)}), want: []string{"warning expiring /pki/a.crt"}},
		"a leaf of a day is critical in its last tenth":           {facts: leaf(checkertest.Spec{NotBefore: now().Add(-23 * time.Hour), NotAfter: now().Add(time.Hour)}), want: []string{"critical expiring /pki/a.crt"}},
		"a leaf from the future is critical":                      {facts: leaf(checkertest.Spec{NotBefore: now().Add(time.Hour)}), want: []string{"critical not_yet_valid /pki/a.crt"}},
		"a leaf three minutes from the future is a clock's fault": {facts: leaf(checkertest.Spec{NotBefore: now().Add(3 * time.Minute)}), want: []string{"warning not_yet_valid /pki/a.crt"}},
		"a CA with 300 days left is a warning": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/ca.crt", p.issue(checkertest.Spec{CN: "x", CA: true, NotBefore: now().Add(-3000 * day), NotAfter: now().Add(300 * day)}, nil)))
			},
			want: []string{"warning expiring /pki/ca.crt"},
		},
		"a CA with 80 days left is critical": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/ca.crt", p.issue(checkertest.Spec{CN: "x", CA: true, NotBefore: now().Add(-3000 * day), NotAfter: now().Add(80 * day)}, nil)))
			},
			want: []string{"critical expiring /pki/ca.crt"},
		},
		"the yearly CA of a kubelet is judged like a leaf": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/ca.crt", p.issue(checkertest.Spec{CN: "x", CA: true, NotBefore: now().Add(-300 * day), NotAfter: now().Add(65 * day)}, nil)))
			},
		},
		"a CA of two years with most of its life left is fine": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/ca.crt", p.issue(checkertest.Spec{CN: "x", CA: true, NotBefore: now().Add(-430 * day), NotAfter: now().Add(300 * day)}, nil)))
			},
		},
		"a CA of 400 days in its last third is a warning": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/ca.crt", p.issue(checkertest.Spec{CN: "x", CA: true, NotBefore: now().Add(-340 * day), NotAfter: now().Add(60 * day)}, nil)))
			},
			want: []string{"warning expiring /pki/ca.crt"},
		},
		"a keypair that only looks like a CA may be expired": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), with(file("/pki/sa.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(-day)})), func(f *checker.File) { f.Use.DatesDoNotMatter = true }))
			},
		},
		"a leaf that outlives its CA is a warning": {
			facts: func(p *pki) checker.Facts {
				p.ca = p.issue(checkertest.Spec{CN: "short", CA: true, NotBefore: now().Add(-3000 * day), NotAfter: now().Add(400 * day)}, nil)
				return files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(500 * day)})))
			},
			want: []string{"warning ca_expires_before_leaf /pki/a.crt"},
		},
		"one that was made two hours after its CA outlives it": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: p.ca.Cert.NotAfter.Add(2 * time.Hour)})))
			},
			want: []string{"warning ca_expires_before_leaf /pki/a.crt"},
		},
		"one that was made in the same hour ends with it": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: p.ca.Cert.NotAfter.Add(time.Minute)})))
			},
		},
		"a leaf that outlives a dying CA is critical": {
			facts: func(p *pki) checker.Facts {
				p.ca = p.issue(checkertest.Spec{CN: "short", CA: true, NotBefore: now().Add(-3000 * day), NotAfter: now().Add(40 * day)}, nil)
				return files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(500 * day)})))
			},
			want: []string{"critical ca_expires_before_leaf /pki/a.crt", "critical expiring /pki/ca.crt"},
		},
		"a certificate that begins after its file was written tells of a wrong clock": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), p.written(now().Add(-2*time.Hour), now().Add(-2*time.Hour)))
			},
			want: []string{"warning clock_skew /pki/a.crt"},
		},
		"one of a few minutes does not": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), p.written(now().Add(-64*time.Minute), now().Add(-64*time.Minute)))
			},
		},
		"an mtime that was set says nothing: the inode was changed later": {
			facts: func(p *pki) checker.Facts { return files(p.caFile(), p.written(now().AddDate(-1, 0, 0), now())) },
		},
		"neither does one of a reproducible image": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), p.written(time.Unix(0, 0), time.Unix(0, 0)), p.written(time.Unix(1, 0), time.Unix(1, 0)),
					p.written(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)))
			},
		},
		"a stale revocation list is a warning, an eternal one is not": {
			facts: func(p *pki) checker.Facts {
				f := p.caFile()
				f.CRLs = []time.Time{now().Add(-day), {}, now().Add(day)}
				return files(f)
			},
			want: []string{"warning crl_stale /pki/ca.crt"},
		},
	}
}

// written is the file of a leaf that is valid since an hour.
func (p *pki) written(modified, changed time.Time) checker.File {
	f := file("/pki/a.crt", p.leaf(checkertest.Spec{NotBefore: now().Add(-time.Hour)}))
	f.Modified, f.Changed = modified, changed
	return f
}

func chainCases() map[string]ruleCase {
	return map[string]ruleCase{
		"a leaf of the replaced CA beside the new one is critical": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/a.crt", p.leaf(checkertest.Spec{})), file("/pki/ca.crt", p.issue(root("kubernetes"), nil)))
			},
			want: []string{"critical chain_bad_signature /pki/a.crt"},
		},
		"also when the CA that signed it lies elsewhere": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/a.crt", p.leaf(checkertest.Spec{})), file("/pki/ca.crt", p.issue(root("kubernetes"), nil)), file("/old/ca.crt", p.ca))
			},
			want: []string{"critical chain_bad_signature /pki/a.crt"},
		},
		"a leaf that names the key of a CA elsewhere and is not signed by it is critical": {
			facts: func(p *pki) checker.Facts {
				named := *p.ca.Cert
				named.PublicKey = nil
				other := p.issue(root("other"), nil)
				forged := p.issue(checkertest.Spec{CN: "forged", DNS: []string{"forged"}}, &checkertest.Pair{Cert: &named, Key: other.Key})
				return files(p.caFile(), file("/elsewhere/a.crt", forged))
			},
			want: []string{"critical chain_bad_signature /elsewhere/a.crt"},
		},
		"also when that CA has another name": {
			facts: func(p *pki) checker.Facts {
				named := *p.issue(root("other"), nil).Cert
				named.PublicKey, named.SubjectKeyId = nil, p.ca.Cert.SubjectKeyId
				forged := p.issue(checkertest.Spec{CN: "forged", DNS: []string{"forged"}}, &checkertest.Pair{Cert: &named, Key: p.issue(root("x"), nil).Key})
				return files(p.caFile(), file("/pki/a.crt", forged))
			},
			want: []string{"critical chain_bad_signature /pki/a.crt"},
		},
		"a bundle with the old and the new CA is fine for leaves of both": {
			facts: func(p *pki) checker.Facts {
				next := p.issue(root("kubernetes"), nil)
				return files(file("/pki/a.crt", p.leaf(checkertest.Spec{})), file("/pki/b.crt", p.issue(checkertest.Spec{CN: "b", DNS: []string{"b"}}, next)), file("/pki/ca.crt", p.ca, next))
			},
		},
		"a CA in another directory will do": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/etcd/a.crt", p.leaf(checkertest.Spec{})), p.caFile())
			},
		},
		"a leaf of a CA that nobody has seen is a warning": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), file("/pki/a.crt", p.issue(checkertest.Spec{CN: "a", DNS: []string{"a"}}, p.issue(root("other"), nil))))
			},
			want: []string{"warning chain_unknown_issuer /pki/a.crt"},
		},
		"without any CA in scope the same is information": {
			facts: func(p *pki) checker.Facts { return files(file("/pki/a.crt", p.leaf(checkertest.Spec{}))) },
			want:  []string{"info chain_unknown_issuer /pki/a.crt"},
		},
		"the CA of a kubeconfig verifies the server, not the client certificate beside it": {
			facts: func(p *pki) checker.Facts {
				user := file("/a.conf", p.leaf(checkertest.Spec{}))
				user.Source, user.Key = checker.SourceKubeconfig, "users/a/client-certificate-data"
				authority := file("/a.conf", p.issue(root("kubernetes"), nil))
				authority.Source, authority.Key = checker.SourceKubeconfig, "clusters/a/certificate-authority-data"
				return files(user, authority, p.caFile())
			},
		},
		"an intermediate in the leaf's own file completes the chain": {
			facts: func(p *pki) checker.Facts {
				middle := p.issue(checkertest.Spec{CN: "middle", CA: true, NotAfter: now().Add(2000 * day), NotBefore: now().Add(-day)}, p.ca)
				return files(file("/x/a.crt", p.issue(checkertest.Spec{CN: "a", DNS: []string{"a"}}, middle), middle), p.caFile())
			},
		},
		"an intermediate whose root is not here is the root of what is here": {
			facts: func(p *pki) checker.Facts {
				middle := p.issue(checkertest.Spec{CN: "middle", CA: true, NotAfter: now().Add(2000 * day), NotBefore: now().Add(-day)}, p.ca)
				return files(file("/x/ca.crt", middle), file("/x/a.crt", p.issue(checkertest.Spec{CN: "a", DNS: []string{"a"}}, middle)))
			},
		},
		"an orphan's CA verifies nothing that is in use": {
			facts: func(p *pki) checker.Facts {
				dead := p.caFile()
				dead.Orphan = "gone"
				return files(dead, file("/other/ca.crt", p.issue(root("z"), nil)), file("/pki/a.crt", p.leaf(checkertest.Spec{})))
			},
			want: []string{"info orphaned /pki/ca.crt", "warning chain_unknown_issuer /pki/a.crt"},
		},
	}
}

func keyCases() map[string]ruleCase {
	pair := func(change func(p *pki, f *checker.File)) func(*pki) checker.Facts {
		return func(p *pki) checker.Facts {
			leaf := p.leaf(checkertest.Spec{})
			f := file("/pki/a.crt", leaf)
			f.KeyFile = &checker.KeyFile{Path: "/pki/a.key", Mode: 0o600, Keys: []checker.Fingerprint{keyOf(leaf)}}
			change(p, &f)
			return files(p.caFile(), f)
		}
	}
	return map[string]ruleCase{
		"a key that belongs to its certificate is fine": {facts: pair(func(*pki, *checker.File) {})},
		"a key of another certificate is critical": {
			facts: pair(func(p *pki, f *checker.File) { f.KeyFile.Keys = []checker.Fingerprint{keyOf(p.ca)} }),
			want:  []string{"critical key_mismatch /pki/a.crt"},
		},
		"a key that others may read is a warning": {
			facts: pair(func(_ *pki, f *checker.File) { f.KeyFile.Mode = 0o640 }),
			want:  []string{"warning key_permissions /pki/a.key"},
		},
		"a key that could not be read is information": {
			facts: pair(func(_ *pki, f *checker.File) {
				f.KeyFile.Keys, f.KeyFile.Faults = nil, []checker.Fault{{ID: checker.KeyUnreadable, Detail: "permission denied"}}
			}),
			want: []string{"info key_unreadable /pki/a.key"},
		},
		"an encrypted key is a warning, and that it was not compared is another": {
			facts: pair(func(_ *pki, f *checker.File) {
				f.KeyFile.Keys, f.KeyFile.Faults = nil, []checker.Fault{{ID: checker.EncryptedKey, Detail: "encrypted"}, {ID: checker.PassphraseMissing, Detail: "none"}}
			}),
			want: []string{"warning encrypted_key /pki/a.key", "warning passphrase_missing /pki/a.key"},
		},
		"a wrong passphrase is a warning": {
			facts: pair(func(_ *pki, f *checker.File) {
				f.KeyFile.Keys, f.KeyFile.Faults = nil, []checker.Fault{{ID: checker.BadPassphrase, Detail: "no"}}
			}),
			want: []string{"warning bad_passphrase /pki/a.key"},
		},
		"the key of a CA bundle belongs to one of its members": {
			facts: func(p *pki) checker.Facts {
				next := p.issue(root("kubernetes"), nil)
				f := file("/pki/ca.crt", p.ca, next)
				f.KeyFile = &checker.KeyFile{Path: "/pki/ca.key", Mode: 0o600, Keys: []checker.Fingerprint{keyOf(next)}}
				return files(f)
			},
		},
		"a key in the certificate's own file is information": {
			facts: pair(func(_ *pki, f *checker.File) { f.Keys, f.KeyFile, f.Mode = f.KeyFile.Keys, nil, 0o600 }),
			want:  []string{"info private_key_in_bundle /pki/a.crt"},
		},
		"so is one in a file that holds its key by design": {
			facts: pair(func(_ *pki, f *checker.File) {
				f.Keys, f.KeyFile, f.Mode, f.Use.WithKey = f.KeyFile.Keys, nil, 0o600, true
			}),
			want: []string{"info private_key_in_bundle /pki/a.crt"},
		},
		"and under two names it is one": {
			facts: func(p *pki) checker.Facts {
				leaf := p.leaf(checkertest.Spec{})
				dated := with(file("/pki/dated.pem", leaf), func(f *checker.File) {
					f.ID, f.Keys, f.Mode = checker.FileID{Dev: 1, Ino: 2}, []checker.Fingerprint{keyOf(leaf)}, 0o600
				})
				return files(p.caFile(), dated, with(dated, func(f *checker.File) { f.Path = "/pki/current.pem" }))
			},
			want: []string{"info private_key_in_bundle /pki/dated.pem"},
		},
		"where others may read that file it is a warning": {
			facts: pair(func(_ *pki, f *checker.File) {
				f.Keys, f.KeyFile, f.Mode, f.Use.WithKey = f.KeyFile.Keys, nil, 0o644, true
			}),
			want: []string{"warning private_key_in_bundle /pki/a.crt"},
		},
		"a foreign key in the same file is critical": {
			facts: pair(func(p *pki, f *checker.File) {
				f.Keys, f.KeyFile, f.Mode, f.Use.WithKey = []checker.Fingerprint{keyOf(p.ca)}, nil, 0o600, true
			}),
			want: []string{"critical key_mismatch /pki/a.crt", "info private_key_in_bundle /pki/a.crt"},
		},
		"a lone key file is judged by its mode": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), checker.File{Source: checker.SourceFile, Path: "/pki/sa.key", Mode: 0o644, Keys: []checker.Fingerprint{keyOf(p.ca)}})
			},
			want: []string{"warning key_permissions /pki/sa.key"},
		},
	}
}

func bundleCases() map[string]ruleCase {
	return map[string]ruleCase{
		"the same certificate twice in a file is a warning": {
			facts: func(p *pki) checker.Facts { return files(file("/pki/ca.crt", p.ca, p.ca)) },
			want:  []string{"warning bundle_duplicate /pki/ca.crt"},
		},
		"an expired CA beside its renewal is a warning, and the leaf is fine": {
			facts: func(p *pki) checker.Facts {
				old := root("kubernetes")
				old.Key, old.NotBefore, old.NotAfter = p.ca.Key, now().Add(-4000*day), now().Add(-day)
				return files(file("/pki/ca.crt", p.issue(old, nil), p.ca), file("/pki/a.crt", p.leaf(checkertest.Spec{})))
			},
			want: []string{"warning bundle_expired_member /pki/ca.crt"},
		},
		"an expired CA beside one with another key is critical while a leaf depends on it": {
			facts: func(p *pki) checker.Facts {
				old := root("kubernetes")
				old.NotBefore, old.NotAfter = now().Add(-4000*day), now().Add(-day)
				dead := p.issue(old, nil)
				return files(file("/pki/ca.crt", dead, p.ca), file("/pki/a.crt", p.issue(checkertest.Spec{CN: "a", DNS: []string{"a"}}, dead)))
			},
			want: []string{"critical ca_expires_before_leaf /pki/a.crt", "critical expired /pki/ca.crt", "info bundle_unused_ca /pki/ca.crt"},
		},
		"an expired CA beside one with another key is a warning when nothing depends on it": {
			facts: func(p *pki) checker.Facts {
				old := root("kubernetes")
				old.NotBefore, old.NotAfter = now().Add(-4000*day), now().Add(-day)
				return files(file("/pki/ca.crt", p.issue(old, nil), p.ca), file("/pki/a.crt", p.leaf(checkertest.Spec{})))
			},
			want: []string{"info bundle_unused_ca /pki/ca.crt", "warning bundle_expired_member /pki/ca.crt"},
		},
		"an expired CA that is alone in another file is critical": {
			facts: func(p *pki) checker.Facts {
				old := root("kubernetes")
				old.Key, old.NotBefore, old.NotAfter = p.ca.Key, now().Add(-4000*day), now().Add(-day)
				dead := p.issue(old, nil)
				return files(file("/pki/ca.crt", dead, p.ca), file("/elsewhere/ca.crt", dead))
			},
			want: []string{"critical expired /pki/ca.crt"},
		},
		"a CA in a bundle that signed nothing is information": {
			facts: func(p *pki) checker.Facts {
				return files(file("/pki/ca.crt", p.ca, p.issue(root("next"), nil)), file("/pki/a.crt", p.leaf(checkertest.Spec{})))
			},
			want: []string{"info bundle_unused_ca /pki/ca.crt"},
		},
		"an expired orphan is information": {
			facts: func(p *pki) checker.Facts {
				f := file("/mnt/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(-day)}))
				f.Orphan = "no data"
				return files(p.caFile(), f)
			},
			want: []string{"info orphaned /mnt/a.crt"},
		},
		"and critical when leftovers are to be judged": {
			facts: func(p *pki) checker.Facts {
				f := file("/mnt/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(-day)}))
				f.Orphan = "no data"
				return files(p.caFile(), f)
			},
			policy: func(p *checker.Policy) { p.IncludeOrphaned = true },
			want:   []string{"critical expired /mnt/a.crt", "info orphaned /mnt/a.crt"},
		},
		"a certificate with one place in use is no orphan": {
			facts: func(p *pki) checker.Facts {
				dead := file("/old/ca.crt", p.ca)
				dead.Orphan = "no data"
				return files(dead, p.caFile())
			},
		},
	}
}

// entry is what a kubeconfig has under a key.
func (p *pki) entry(key string, otherContext bool, s checkertest.Spec) checker.File {
	f := file("/root/.kube/config", p.leaf(s))
	f.Source, f.Key, f.OtherContext = checker.SourceKubeconfig, key, otherContext
	return f
}

func contextCases() map[string]ruleCase {
	expired := checkertest.Spec{NotAfter: now().Add(-day)}
	return map[string]ruleCase{
		"what the current-context uses is critical when it has expired": {
			facts: func(p *pki) checker.Facts { return files(p.caFile(), p.entry("users/a", false, expired)) },
			want:  []string{"critical expired /root/.kube/config#users/a"},
		},
		"what another context uses is a warning": {
			facts: func(p *pki) checker.Facts { return files(p.caFile(), p.entry("users/a", true, expired)) },
			want:  []string{"warning expired /root/.kube/config#users/a"},
		},
		"what both use is named where the current-context uses it": {
			facts: func(p *pki) checker.Facts {
				other, current := p.entry("users/a", true, expired), p.entry("users/b", false, expired)
				current.Certs = other.Certs
				return files(p.caFile(), other, current)
			},
			want: []string{"critical expired /root/.kube/config#users/b"},
		},
		"a key of another context that does not match is a warning": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), with(p.entry("users/a", true, checkertest.Spec{}), func(f *checker.File) { f.Keys = []checker.Fingerprint{keyOf(p.ca)} }))
			},
			want: []string{"warning key_mismatch /root/.kube/config#users/a"},
		},
		"garbage of another context in a file that was named is a warning": {
			facts: func(p *pki) checker.Facts {
				f := p.entry("users/a", true, checkertest.Spec{})
				f.Certs, f.Named, f.Faults = nil, true, []checker.Fault{{ID: checker.BadPEM, Detail: "no"}}
				return files(p.caFile(), f)
			},
			want: []string{"warning bad_pem /root/.kube/config#users/a"},
		},
		"a leftover is one in any context": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), with(p.entry("users/a", true, expired), func(f *checker.File) { f.Orphan = "old" }))
			},
			want: []string{"info orphaned /root/.kube/config#users/a"},
		},
	}
}

func shapeCases() map[string]ruleCase {
	of := func(s checkertest.Spec, use checker.Use) func(*pki) checker.Facts {
		return func(p *pki) checker.Facts {
			f := file("/pki/a.crt", p.issue(s, p.ca))
			f.Use = use
			return files(p.caFile(), f)
		}
	}
	server := checker.Use{Role: "etcd-server", Purpose: checker.Server | checker.Client}
	return map[string]ruleCase{
		"an RSA key of 1024 bits is a warning": {
			facts: func(p *pki) checker.Facts {
				key, err := rsa.GenerateKey(rand.Reader, 1024)
				if err != nil {
					p.t.Fatal(err)
				}
				return files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{Key: key})))
			},
			want: []string{"warning weak_key /pki/a.crt"},
		},
		"P-224 is the weakest curve that is fine": {
			facts: func(p *pki) checker.Facts {
				key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
				if err != nil {
					p.t.Fatal(err)
				}
				return files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{Key: key})))
			},
		},
		"a SHA-1 signature is a warning, and not called forged": {
			facts: func(p *pki) checker.Facts {
				c := *p.leaf(checkertest.Spec{}).Checked()
				c.SignatureAlgorithm = x509.SHA1WithRSA
				return files(p.caFile(), checker.File{Source: checker.SourceFile, Path: "/pki/a.crt", Certs: []*checker.Cert{&c}})
			},
			want: []string{"warning weak_sig /pki/a.crt"},
		},
		"nobody verifies the signature of a root": {
			facts: func(p *pki) checker.Facts {
				c := *p.ca.Checked()
				c.SignatureAlgorithm = x509.SHA1WithRSA
				return files(checker.File{Source: checker.SourceFile, Path: "/pki/ca.crt", Certs: []*checker.Cert{&c}})
			},
		},
		"a server named only by its common name is a warning": {
			facts: of(checkertest.Spec{CN: "api.example.com", Usages: checkertest.ServerOnly()}, checker.Use{}),
			want:  []string{"warning legacy_cn_only /pki/a.crt"},
		},
		"a server without any name is a warning": {
			facts: of(checkertest.Spec{Organization: []string{"o"}, Usages: checkertest.ServerOnly()}, checker.Use{}),
			want:  []string{"warning no_san /pki/a.crt"},
		},
		"a client needs no name": {facts: of(checkertest.Spec{CN: "system:admin", Usages: checkertest.ClientOnly()}, checker.Use{})},
		"neither does one that could also serve": {
			facts: of(checkertest.Spec{CN: "system:admin", Usages: checkertest.Both()}, checker.Use{Purpose: checker.Client}),
		},
		"a server needs one although its certificate has no usages": {
			facts: of(checkertest.Spec{CN: "etcd-a"}, server),
			want:  []string{"warning legacy_cn_only /pki/a.crt"},
		},
		"an etcd certificate without clientAuth is a warning": {
			facts: of(checkertest.Spec{CN: "etcd-a", DNS: []string{"etcd-a"}, Usages: checkertest.ServerOnly()}, server),
			want:  []string{"warning eku_missing /pki/a.crt"},
		},
		"only the first certificate of a file is used for its role": {
			facts: func(p *pki) checker.Facts {
				f := file("/pki/a.crt", p.leaf(checkertest.Spec{Usages: checkertest.Both()}), p.leaf(checkertest.Spec{Usages: checkertest.ServerOnly()}))
				f.Use = server
				return files(p.caFile(), f)
			},
		},
		"a certificate without usages may do anything": {facts: of(checkertest.Spec{CN: "etcd-a", DNS: []string{"etcd-a"}}, server)},
		"one with usages that nobody knows may do nothing": {
			facts: func(p *pki) checker.Facts {
				odd := *p.leaf(checkertest.Spec{}).Cert
				odd.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}}
				return files(p.caFile(), checker.File{Source: checker.SourceFile, Path: "/pki/a.crt", Certs: []*checker.Cert{checker.NewCert(&odd)}, Use: server})
			},
			want: []string{"warning eku_missing /pki/a.crt"},
		},
		"one for any usage may do anything": {
			facts: of(checkertest.Spec{CN: "etcd-a", DNS: []string{"etcd-a"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, server),
		},
		"a leaf where a CA should be is a warning": {
			facts: of(checkertest.Spec{CN: "x", DNS: []string{"x"}}, checker.Use{Purpose: checker.CA}),
			want:  []string{"warning ca_flag /pki/a.crt"},
		},
		"a CA that may not sign is a warning": {
			facts: func(p *pki) checker.Facts {
				s := root("mute")
				s.KeyUsage = x509.KeyUsageDigitalSignature
				return files(file("/pki/ca.crt", p.issue(s, nil)))
			},
			want: []string{"warning keyusage /pki/ca.crt"},
		},
	}
}

func faultCases() map[string]ruleCase {
	cases := map[string]ruleCase{
		"a request whose certificate exists is information": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), checker.File{Source: checker.SourceFile, Path: "/pki/ca.csr", Requests: []checker.Fingerprint{keyOf(p.ca)}})
			},
			want: []string{"info csr_only /pki/ca.csr"},
		},
		"a request that nobody signed is pending": {
			facts: func(p *pki) checker.Facts {
				return files(p.caFile(), checker.File{Source: checker.SourceFile, Path: "/pki/a.csr", Requests: []checker.Fingerprint{keyOf(p.leaf(checkertest.Spec{}))}})
			},
			want: []string{"info csr_pending /pki/a.csr"},
		},
		"nothing at all is unknown, never green": {
			facts: func(*pki) checker.Facts { return checker.Facts{} },
			want:  []string{"unknown nothing_found "},
		},
		"only leftovers is nothing": {
			facts: func(p *pki) checker.Facts {
				return files(with(p.caFile(), func(f *checker.File) { f.Orphan = "old" }))
			},
			want: []string{"info orphaned /pki/ca.crt", "unknown nothing_found "},
		},
		"a requirement that matches nothing is unknown": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile()}, Requirements: []checker.Requirement{{Pattern: "/mnt/*/me.crt"}, {Pattern: "/pki/*", Matches: 1}}}
			},
			want: []string{"unknown nothing_found /mnt/*/me.crt"},
		},
		"a required root that is missing is a warning, another is not": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile()}, Roots: []checker.Root{
					{Path: "/mnt/master-*/pki", State: checker.RootMissing, Required: "no volume is visible"}, {Path: "/mnt/disks", State: checker.RootMissing},
				}}
			},
			want: []string{"warning not_found /mnt/master-*/pki"},
		},
		"an unreadable root is a warning": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile()}, Roots: []checker.Root{{Path: "/srv", State: checker.RootUnreadable}}}
			},
			want: []string{"warning unreadable /srv"},
		},
		"an ignored finding is not said where its pattern matches": {
			facts: func(p *pki) checker.Facts {
				expired := p.leaf(checkertest.Spec{NotAfter: now().Add(-day)})
				other := p.leaf(checkertest.Spec{NotAfter: now().Add(-day)})
				return files(p.caFile(), file("/pki/a.crt", expired), file("/pki/b.crt", other))
			},
			policy: func(p *checker.Policy) { p.Ignore = []checker.Ignore{{ID: checker.Expired, Glob: "/pki/a.*"}} },
			want:   []string{"critical expired /pki/b.crt"},
		},
	}
	// Every fault a reader can report, in a file found and in a file named.
	for _, rule := range checker.Rules() {
		fault := func(named bool) func(*pki) checker.Facts {
			return func(p *pki) checker.Facts {
				return files(p.caFile(), checker.File{Source: checker.SourceFile, Path: "/pki/x", Named: named, Faults: []checker.Fault{{ID: rule.ID, Detail: "detail"}}})
			}
		}
		if rule.Group == "Access" && rule.ID != checker.NothingFound || rule.Group == "Contents of files" && rule.Severity == checker.Warning {
			found := fmt.Sprintf("%s %s /pki/x", rule.Severity, rule.ID)
			cases[string(rule.ID)+" in a file that was found"] = ruleCase{facts: fault(false), want: []string{found}}
			if rule.WhenNamed != checker.OK {
				found = fmt.Sprintf("%s %s /pki/x", rule.WhenNamed, rule.ID)
			}
			cases[string(rule.ID)+" in a file that was named"] = ruleCase{facts: fault(true), want: []string{found}}
		}
	}
	return cases
}
