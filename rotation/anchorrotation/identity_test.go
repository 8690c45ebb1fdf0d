package anchorrotation

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestTheLifetimeOfLeavesIsReadFromTheCommandLine(t *testing.T) {
	for line, c := range map[string]struct {
		command, args []string
		want          time.Duration
	}{
		"as Linkerd writes it":       {nil, []string{"identity", "-log-level=info", "-identity-issuance-lifetime=24h0m0s"}, 24 * time.Hour},
		"two dashes":                 {nil, []string{"--identity-issuance-lifetime=1h"}, time.Hour},
		"the value apart":            {nil, []string{"-identity-issuance-lifetime", "2h"}, 2 * time.Hour},
		"in the command":             {[]string{"/identity", "-identity-issuance-lifetime=3h"}, nil, 3 * time.Hour},
		"the last one counts":        {nil, []string{"-identity-issuance-lifetime=1h", "-identity-issuance-lifetime=4h"}, 4 * time.Hour},
		"not there":                  {nil, []string{"identity"}, 0},
		"from a variable":            {nil, []string{"-identity-issuance-lifetime=$(LIFETIME)"}, 0},
		"the value is missing":       {nil, []string{"-identity-issuance-lifetime"}, 0},
		"negative":                   {nil, []string{"-identity-issuance-lifetime=-1h"}, 0},
		"another flag of that start": {nil, []string{"-identity-issuance-lifetime-max=1h"}, 0},
	} {
		got := argument(&corev1.Container{Command: c.command, Args: c.args}, lifetimeArgument)
		if got != c.want {
			t.Errorf("%s: got %s, want %s", line, got, c.want)
		}
	}
}
