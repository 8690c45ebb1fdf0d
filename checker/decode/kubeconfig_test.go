package decode_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/reanchor/reanchor/checker/decode"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestKubeconfig(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		want    []decode.Entry
		wantErr string
	}{
		"embedded data": {
			text: "clusters: [{name: c, cluster: {certificate-authority-data: " + b64("CA") + "}}]\nusers: [{name: u, user: {client-certificate-data: " + b64("CERT") + ", client-key-data: " + b64("KEY") + "}}]",
			want: []decode.Entry{
				{Key: "clusters/c/certificate-authority-data", CA: true, Data: []byte("CA")},
				{Key: "users/u/client-certificate-data", Data: []byte("CERT"), KeyData: []byte("KEY")},
			},
		},
		"references": {
			text: "clusters: [{name: c, cluster: {certificate-authority: pki/ca.crt}}]\nusers: [{name: u, user: {client-certificate: u.crt, client-key: u.key}}]",
			want: []decode.Entry{
				{Key: "clusters/c/certificate-authority", CA: true, Ref: "pki/ca.crt"},
				{Key: "users/u/client-certificate", Ref: "u.crt", KeyRef: "u.key"},
			},
		},
		"embedded data goes before a reference": {
			text: "users: [{name: u, user: {client-certificate-data: " + b64("CERT") + ", client-certificate: u.crt}}]",
			want: []decode.Entry{{Key: "users/u/client-certificate-data", Data: []byte("CERT")}},
		},
		"tokens and plugins have no certificate": {
			text: "users: [{name: a, user: {token: x}}, {name: b, user: {exec: {command: y}}}]",
		},
		"a context that does not exist": {
			text:    "current-context: gone\nusers: [{name: u, user: {client-certificate: u.crt}}]",
			want:    []decode.Entry{{Key: "users/u/client-certificate", Ref: "u.crt"}},
			wantErr: `current-context "gone" does not exist`,
		},
		"what the current-context uses comes first, the rest is marked": {
			text: "current-context: two\ncontexts: [{name: one, context: {cluster: a, user: a}}, {name: two, context: {cluster: b, user: b}}]\n" +
				"clusters: [{name: a, cluster: {certificate-authority: a-ca.crt}}, {name: b, cluster: {certificate-authority: b-ca.crt}}]\n" +
				"users: [{name: a, user: {client-certificate: a.crt}}, {name: b, user: {client-certificate: b.crt}}]",
			want: []decode.Entry{
				{Key: "clusters/b/certificate-authority", CA: true, Ref: "b-ca.crt"},
				{Key: "users/b/client-certificate", Ref: "b.crt"},
				{Key: "clusters/a/certificate-authority", CA: true, Ref: "a-ca.crt", OtherContext: true},
				{Key: "users/a/client-certificate", Ref: "a.crt", OtherContext: true},
			},
		},
		"without a current-context nobody knows which is used": {
			text: "contexts: [{name: one, context: {cluster: a, user: b}}]\nusers: [{name: a, user: {client-certificate: a.crt}}, {name: b, user: {client-certificate: b.crt}}]",
			want: []decode.Entry{{Key: "users/a/client-certificate", Ref: "a.crt"}, {Key: "users/b/client-certificate", Ref: "b.crt"}},
		},
		"data that is not base64 does not hide the rest": {
			text:    "clusters: [{name: c, cluster: {certificate-authority-data: '***'}}]\nusers: [{name: u, user: {client-certificate: u.crt}}]",
			want:    []decode.Entry{{Key: "users/u/client-certificate", Ref: "u.crt"}},
			wantErr: "clusters/c/certificate-authority-data is not base64",
		},
		"not YAML":           {text: "{", wantErr: "not a kubeconfig"},
		"another document":   {text: "kind: Pod", wantErr: "neither clusters nor users"},
		"a list of the kind": {text: "users: 3", wantErr: "not a kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode.Kubeconfig([]byte(c.text))
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if (err == nil) != (c.wantErr == "") || (err != nil && !strings.Contains(err.Error(), c.wantErr)) {
				t.Errorf("error %v, want %q", err, c.wantErr)
			}
		})
	}
}

func TestAnErrorNeverQuotesTheKubeconfig(t *testing.T) {
	secret := "U0VDUkVULUtFWS1NQVRFUklBTA"
	for _, text := range []string{
		"users:\n- name: u\n  user:\n    client-key-data: \"" + secret,
		"users: [{name: u, user: {client-certificate-data: QQ==, client-key-data: '" + secret + "!'}}]",
		"users: {client-key-data: [" + secret + "}",
	} {
		if _, err := decode.Kubeconfig([]byte(text)); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v: want one without the key", err)
		}
	}
}
