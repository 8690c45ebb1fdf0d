package bundle_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

func TestWhatMayBeARenewal(t *testing.T) {
	anchor := func(ca *bundletest.CA) bundle.Anchor { return bundle.Of(ca.Cert).Anchors()[0] }
	root := bundletest.NewRoot(t, "root", bundletest.From(now, time.Hour))
	renewed := anchor(root.Renew(bundletest.From(now, 2*time.Hour)))
	namesake := anchor(bundletest.NewRoot(t, "root", bundletest.From(now, time.Hour)))
	other := anchor(bundletest.NewRoot(t, "other", bundletest.From(now, time.Hour)))
	summary := func(a bundle.Anchor) bundle.Anchor {
		return bundle.Anchor{Fingerprint: a.Fingerprint, Subject: a.Subject, Key: a.Key}
	}
	keyless := func(a bundle.Anchor) bundle.Anchor {
		return bundle.Anchor{Fingerprint: a.Fingerprint, Subject: a.Subject}
	}
	renamed := func(a bundle.Anchor, subject string) bundle.Anchor { a.Subject = subject; return a }
	for name, tc := range map[string]struct {
		other bundle.Anchor
		want  bool
	}{
		"a renewal with the same key":              {renewed, true},
		"a summary of it":                          {summary(renewed), true},
		"a summary without its key":                {keyless(renewed), true},
		"a new root of the name":                   {namesake, false},
		"a summary of that":                        {summary(namesake), false},
		"a summary of that without its key":        {keyless(namesake), true},
		"a root of another name":                   {other, false},
		"a summary of that, too, without its key":  {keyless(other), false},
		"the same key under another name":          {renamed(renewed, "CN=other"), false},
		"the same key under a name that was cut":   {renamed(renewed, "CN=r..."), true},
		"another key under a name that was cut":    {renamed(namesake, "CN=r..."), false},
		"an anchor known by its fingerprint alone": {bundle.Anchor{Fingerprint: renewed.Fingerprint}, true},
		"the same key, and no name":                {renamed(renewed, ""), true},
		"another key, and no name":                 {renamed(namesake, ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := anchor(root)
			if a.MayBeRenewalOf(tc.other) != tc.want || tc.other.MayBeRenewalOf(a) != tc.want {
				t.Errorf("want %v, both ways", tc.want)
			}
		})
	}
	if want := bundle.Fingerprint(sha256.Sum256(root.Cert.RawSubjectPublicKeyInfo)); anchor(root).Key != want || want == anchor(root).Fingerprint {
		t.Errorf("the key of a certificate is %s, want %s", anchor(root).Key, want)
	}
}
