package v1alpha1

import "testing"

func TestWhatAnOptOutCovers(t *testing.T) {
	for value, want := range map[string][2]bool{
		"":                     {false, false},
		"true":                 {true, true},
		" true ":               {true, true},
		"admission":            {true, false},
		"rollout":              {false, true},
		"admission, rollout":   {true, true},
		"rollout,true":         {true, true},
		" admission , rollout": {true, true},
		"rollout,admission":    {true, true},
		"True":                 {false, false},
		"false":                {false, false},
		"admissions,no,false":  {false, false},
	} {
		if got := [2]bool{OptsOut(value, OptOutAdmission), OptsOut(value, OptOutRollout)}; got != want {
			t.Errorf("%q covers admission and rollout: %v, want %v", value, got, want)
		}
	}
}
